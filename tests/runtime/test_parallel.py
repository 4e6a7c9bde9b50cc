"""Parallel per-image work on threads and a real Dask cluster: same bytes, bounded memory, one-line errors."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from denoiselab.config import Parallel as Settings
from denoiselab.config import Params
from denoiselab.data import noise_sampling, patches
from denoiselab.data.fetch import fetch
from denoiselab.evaluation import scoring
from denoiselab.models import model_store
from denoiselab.runtime import files, parallel, paths
from denoiselab.runtime.errors import UserError
from tests.conftest import ROOT, photograph, small, trained

PLACES = ("one", "threads", "cluster")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[str]:
    """Address of a scheduler with two worker processes that run outside the project's folder."""
    distributed = pytest.importorskip("distributed")
    folder = tmp_path_factory.mktemp("cluster")
    places = {"cwd": folder, "env": environment()}
    dask = [sys.executable, "-m", "dask"]
    file = folder / "scheduler.json"
    listen = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    with (folder / "log").open("wb") as log:
        places |= {"stdout": log, "stderr": log}
        processes = [subprocess.Popen([*dask, "scheduler", *listen], **places)]
        try:
            await_file(file)
            work = ["worker", "--nthreads", "1", "--no-dashboard", "--scheduler-file", str(file)]
            processes += [subprocess.Popen([*dask, *work], **places) for _ in range(2)]
            address = files.read_json(file)["address"]
            with distributed.Client(address, timeout=60, set_as_default=False) as client:
                client.wait_for_workers(2, timeout=120)
            yield address
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}


def await_file(path: Path) -> None:
    for _ in range(600):
        if path.exists() and path.read_text().endswith("}"):
            return
        time.sleep(0.1)
    raise TimeoutError(path)


def settings(place: str, address: str) -> Settings:
    return Settings(
        jobs={"one": 1, "threads": 2, "cluster": 1}[place], scheduler=address if place == "cluster" else None
    )


def doubled(n: int) -> int:
    if n == 13:
        raise ValueError("thirteen")
    return 2 * n


@pytest.mark.parametrize("place", PLACES)
def test_results_come_in_order(cluster, place):
    assert list(parallel.each(settings(place, cluster), doubled, range(13))) == list(range(0, 26, 2))


@pytest.mark.parametrize("place", PLACES)
def test_an_exception_in_a_worker_is_raised_in_the_caller(cluster, place):
    results = parallel.each(settings(place, cluster), doubled, range(20))
    with pytest.raises(ValueError, match="thirteen"):
        list(results)


@pytest.mark.parametrize("place", PLACES)
def test_few_items_are_submitted_ahead_of_a_slow_consumer(cluster, place):
    drawn: list[int] = []

    def items() -> Iterator[int]:
        for n in range(100, 200):
            assert threading.current_thread() is threading.main_thread()
            drawn.append(n)
            yield n

    for taken, _ in enumerate(parallel.each(settings(place, cluster), doubled, items()), start=1):
        assert len(drawn) - taken < parallel.AHEAD * 2
        if taken == 20:
            time.sleep(0.3)
        if taken == 40:
            break
    assert len(drawn) < 50


def test_workers_use_one_thread_and_the_caller_all():
    """In a new process, where torch has not computed before."""
    code = """
import threading, cv2, torch
from denoiselab.runtime import parallel
from denoiselab.config import Parallel
torch.set_num_threads(3), cv2.setNumThreads(3)
count = lambda item=None: (torch.get_num_threads(), cv2.getNumThreads())
found = []
def caller():
    found.extend(parallel.each(Parallel(jobs=2, scheduler=None), count, range(8)))
    found.append(count())
thread = threading.Thread(target=caller)
thread.start(), thread.join()
print(found)
"""
    run = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str([(1, 1)] * 8 + [(3, 3)])


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(parallel, "TIMEOUT_S", 0.5)
    nobody = Settings(jobs=-1, scheduler="tcp://127.0.0.1:9")
    with pytest.raises(
        ValueError, match=r"^parallel.scheduler: no Dask scheduler answers at tcp://127.0.0.1:9 \(.*\)$"
    ):
        list(parallel.each(nobody, doubled, range(3)))


class Silent:
    """Client of a scheduler that never answers, or has no worker."""

    def __init__(self, address: str, **options: object):
        if address.endswith(":1"):
            raise TimeoutError

    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def wait_for_workers(self, number: int, timeout: float) -> None:
        raise TimeoutError


@pytest.mark.parametrize(
    ("port", "message"), [(1, "no Dask scheduler answers at"), (2, "at tcp://nobody:2 has no worker")]
)
def test_a_timeout_is_reported_in_one_line(monkeypatch, port, message):
    monkeypatch.setattr(pytest.importorskip("distributed"), "Client", Silent)
    with pytest.raises(UserError, match=f"^parallel.scheduler: .*{message}"):
        list(parallel.each(Settings(jobs=-1, scheduler=f"tcp://nobody:{port}"), doubled, range(3)))


def test_without_dask_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"^parallel.scheduler: needs Dask: `pip install -r requirements/scale.txt`"):
        list(parallel.each(Settings(jobs=-1, scheduler="tcp://127.0.0.1:9"), doubled, range(3)))


@pytest.mark.parametrize("jobs", [0, -2])
def test_invalid_numbers_of_jobs_are_refused(jobs):
    with pytest.raises(ValueError, match="jobs"):
        Settings(jobs=jobs, scheduler=None)


def test_minus_one_uses_every_core():
    assert parallel.cores(Settings(jobs=3, scheduler=None)) == 3
    assert parallel.cores(Settings(jobs=-1, scheduler=None)) >= 1


@pytest.mark.parametrize(("jobs", "processes", "threads"), [(8, 2, 4), (3, 2, 1), (2, 4, 1)])
def test_torchrun_processes_share_the_jobs_of_a_machine(monkeypatch, jobs, processes, threads):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert parallel.cores(Settings(jobs=jobs, scheduler=None)) == threads


NET = {"arch": "dncnn", "needs": "data/patches", "channels": 3, "depth": 3, "features": 4, "batch_norm": False}


def experiment(root: Path, workers: Settings) -> Params:
    """Eight photographs, a classical method, and a network with its initial weights."""
    for n in range(8):
        crop = photograph(("astronaut", "chelsea")[n % 2])[10 * n : 10 * n + 96, 14 * n : 14 * n + 64 + 8 * n]
        (root / "photos").mkdir(exist_ok=True)
        Image.fromarray(crop).save(root / "photos" / f"{n}.png")
    tree = small(root / "photos", "data.drop_leaks=true", "protocol.draws=2").model_dump(
        mode="json", exclude_unset=True
    )
    tree["parallel"] = workers.model_dump()
    tree["patches"]["scales"] = [1.0, 0.75]
    tree["models"]["net"] = NET
    tree["models"]["gaussian"]["strengths"] = [0.5, 1.0]
    tree["train"] |= {"steps": 2, "validate_every": 1, "crop": 32, "warmup_steps": 0}
    return Params.model_validate(tree)


def outputs(root: Path, workers: Settings) -> dict[str, str]:
    """SHA-256 of all outputs of the stages by path, without measured times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("DVC_ROOT", str(root))
        params = experiment(root, workers)
        fetch(params.data, paths.RAW)
        patches.cut(paths.RAW, params.patches, params.data.channels, paths.PATCHES, params.parallel)
        noise_sampling.write(paths.RAW, paths.PATCHES, params, paths.NOISY)
        for name in params.models:
            trained(params, name)
            scoring.evaluate(params, name)
    made = [
        p for folder in ("data/patches", "data/noisy", "reports") for p in (root / folder).rglob("*") if p.is_file()
    ]
    digests = {p.relative_to(root).as_posix(): files.sha256(p) for p in made if "cost" not in p.parts}
    return digests | {f"models/{name}": model_store.digest(root / paths.model(name)) for name in params.models}


@pytest.fixture(scope="module")
def serial(tmp_path_factory) -> dict[str, str]:
    return outputs(tmp_path_factory.mktemp("one"), settings("one", ""))


@pytest.mark.parametrize("place", PLACES[1:])
def test_every_stage_writes_the_same_bytes_on_threads_and_cluster(cluster, serial, tmp_path, place):
    assert {"data/patches/train-00000.npy", "reports/evaluate/net/per_image.csv"} <= serial.keys()
    assert sum(path.startswith("data/noisy/") for path in serial) > 8
    assert outputs(tmp_path, settings(place, cluster)) == serial
