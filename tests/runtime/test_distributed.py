"""Several processes reproduce the results of one, in the real stages: on one machine, after a kill, on two machines."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from denoiselab import config
from denoiselab.config import Params
from denoiselab.data import noise_sampling, patches
from denoiselab.data.fetch import fetch
from denoiselab.evaluation import scoring
from denoiselab.models import model_store
from denoiselab.runtime import distributed, files, paths
from denoiselab.runtime.errors import UserError
from denoiselab.training import jobs, loop, runner
from denoiselab.training.batches import ResidentBatches, TrainingPatches
from pipeline import launcher
from tests import distributed_worker
from tests.conftest import ROOT, composed, of_two_classes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch was built without gloo"),
]

TWO = "torchrun --nproc-per-node=2"
TOLERANCE = 1e-5  # relative, of losses and scores: sums over several processes round differently
SIDE = 48
TRAIN = {
    "device": "cpu",
    "precision": "float32",
    "steps": 12,
    "validate_every": 4,
    "val_patches": 5,
    "batch": 4,
    "crop": 24,
    "lr": 0.002,
}
UNET = {
    "arch": "unet_classic",
    "channels": 3,
    "widths": [4, 6],
    "batch_norm": True,
    "sigmoid": True,
    "head_bias": False,
}
CLASSIFIER = {"arch": "classifier_cnn", "channels": 3, "widths": [4, 8], "batch_norm": True, "classes": 2, "side": 4}
EVERYTHING = {"batch": 5, "ema": 0.9, "grad_clip": 0.05, "loss": {"l1": 1.0, "ssim": 0.1}}
MODELS = {
    "plain": {"arch": "dncnn", "channels": 3, "depth": 3, "features": 8, "batch_norm": False, "needs": "data/patches"},
    "everything": UNET | EVERYTHING | {"needs": "data/patches"},
    "frozen": UNET | {"needs": "data/patches", "freeze": {"layers": ["down_stages", "bottom"], "patience": 1}},
    "aware": {"arch": "ffdnet", "channels": 3, "depth": 3, "features": 8, "batch_norm": True, "needs": "data/patches"},
    "dropout": {"arch": "pixelshuffle_unet", "channels": 3, "widths": [4, 8], "dropout": 0.3, "needs": "data/patches"},
    "classifier": CLASSIFIER | {"needs": "data/patches"},
    "guided": UNET
    | {"arch": "guided_unet", "guidance": "classifier", "classes": 2, "guide_features": 4, "guide_side": 4}
    | {"batch": 3, "loss": {"mse": 1.0, "perceptual": 0.1}, "needs": "models/classifier"}
    | {"perceptual": {"kind": "classifier", "model": "models/classifier"}},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project folder with params.yaml, data of two classes and models/classifier."""
    root = tmp_path_factory.mktemp("distributed")
    of_two_classes(root / "photos", SIDE)
    overrides = ["data=folder", f"data.path={root / 'photos'}", "noise=normal", "model=noisy", "data.drop_leaks=true"]
    small = [f"patches.{key}={SIDE}" for key in ("size", "stride", "val_size")]
    tree = composed(*overrides, *small, "patches.scales=[1.0]").model_dump(mode="json", exclude_unset=True)
    tree["train"] |= TRAIN | {"warmup_steps": 2}
    tree["protocol"]["draws"] = 2
    tree["evaluate"] |= {"samples": 1, "curve": {"levels": [25], "images": 2, "crop": 32}}
    tree["models"] |= MODELS
    (root / "params.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    with working_in(root) as params:
        fetch(params.data, paths.RAW)
        patches.cut(paths.RAW, params.patches, 3, paths.PATCHES)
        noise_sampling.write(paths.RAW, paths.PATCHES, params, paths.NOISY)
        for job in jobs.resolve_all(params, "classifier"):
            runner.run(job, lambda step, row: None)
    return root


class working_in:  # noqa: N801
    """Makes `root` the working directory and DVC's root; returns its parameters."""

    def __init__(self, root: Path):
        self.root, self.patch = root, pytest.MonkeyPatch()

    def __enter__(self) -> Params:
        self.patch.chdir(self.root)
        self.patch.setenv("DVC_ROOT", str(self.root))
        return config.load()

    def __exit__(self, *error: object) -> None:
        self.patch.undo()


def copied(project: Path, root: Path, **train: object) -> Path:
    """A copy of the project with changed settings of the block `train`."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "data").symlink_to(project / "data")
    shutil.copytree(project / "models/classifier", root / "models/classifier")
    tree = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    tree["train"] |= train
    (root / "params.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    return root


def start(root: Path, *words: str, prefix: tuple[str, ...] = (), **environ: str) -> subprocess.Popen[str]:
    """Start `python -m words...` in `root`, in its own process group."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_TRACKING", "OMP_", "MALLOC_"))}
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", *words],
        cwd=root,
        env=clean | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", "DVC_ROOT": str(root), "CI": "1"} | environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def call(root: Path, *words: str, rc: int = 0, **environ: str) -> str:
    process = start(root, *words, **environ)
    output, _ = process.communicate(timeout=900)
    assert process.returncode == rc, output
    return output


def wait_for_checkpoint(root: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 600
    while not list(root.glob(".ckpt/*/state.pt")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def alone(project: Path, entry: str) -> distributed_worker.Trained:
    """History and best weights of training in this process only."""
    with working_in(project):
        return distributed_worker.trained(entry)


def difference(a: list[dict[str, float]], b: list[dict[str, float]]) -> float:
    """Largest relative difference between two histories."""
    assert [[*row] for row in a] == [[*row] for row in b]
    pairs = [(row[key], other[key]) for row, other in zip(a, b, strict=True) for key in row]
    return max(abs(x - y) / max(abs(x), 1e-9) for x, y in pairs)


def history(root: Path, entry: str) -> list[dict[str, float]]:
    rows = ({key: float(value) for key, value in row.items()} for row in files.read_csv(root / paths.history(entry)))
    return [{key: value for key, value in row.items() if key != "seed"} for row in rows]


KINDS = [*MODELS, "plain:augmented", "plain:streamed"]


@pytest.fixture(scope="module")
def shared(project) -> dict:
    """{entry: (history, weights)} of training by three processes; `plain:wrong` shares items out incorrectly."""
    worker = [str(ROOT / "tests/distributed_worker.py"), str(project / "results.pt"), *KINDS, "plain:wrong"]
    call(project, "torch.distributed.run", "--nproc-per-node=3", *worker)
    return torch.load(project / "results.pt", weights_only=True)


@pytest.mark.parametrize("entry", KINDS)
def test_three_processes_train_like_one(project, shared, entry):
    rows, weights = shared[entry]
    expected, kept = alone(project, entry)
    assert difference(expected, rows) < TOLERANCE
    assert weights.keys() == kept.keys()
    assert all((weights[key] - kept[key]).float().norm() <= 1e-3 * kept[key].float().norm() for key in kept)


def test_a_wrong_share_changes_the_result(project, shared):
    assert difference(alone(project, "plain")[0], shared["plain:wrong"][0]) > 100 * TOLERANCE


def weights(root: Path, entry: str) -> str:
    return files.sha256(root / paths.model(entry))


@pytest.fixture(scope="module")
def two(project, tmp_path_factory) -> Path:
    """A project in which stage train trained `everything` in two processes."""
    root = copied(project, tmp_path_factory.mktemp("two"), launcher=TWO)
    temporary = root / "temporary"
    temporary.mkdir()
    output = call(root, "pipeline.train", "everything", TMPDIR=str(temporary))
    assert output.count("everything: seed 0, on 2 processes, each on CPU") == 1, output
    assert not list(temporary.iterdir())
    return root


def test_stage_train_in_two_processes_agrees_with_one(project, two):
    rows, kept = alone(project, "everything")
    assert difference(rows, history(two, "everything")) < TOLERANCE
    assert files.read_json(two / paths.training_cost("everything"))["device"].startswith("2 processes, each on CPU")
    assert model_store.load(two / paths.model("everything")).state_dict().keys() == kept.keys()


def test_only_the_first_process_tracks(two):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{two / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("denoiselab").experiment_id])
    assert run.info.status == "FINISHED"
    assert len(client.get_metric_history(run.info.run_id, "val/psnr")) == 3


@pytest.mark.long
def test_killed_training_resumes_to_the_same_bytes(project, two, tmp_path):
    root = copied(project, tmp_path, launcher=TWO)
    process = start(root, "pipeline.train", "everything")
    wait_for_checkpoint(root, process)
    os.killpg(process.pid, signal.SIGKILL)  # torchrun only: its workers have their own groups and end with it
    process.communicate()  # until all workers have closed the pipe
    assert not (root / paths.history("everything")).exists()
    assert "resuming at step" in call(root, "pipeline.train", "everything")
    assert weights(root, "everything") == weights(two, "everything")
    assert history(root, "everything") == history(two, "everything")


def test_stage_evaluate_in_two_processes_writes_the_bytes_of_one(project, two, tmp_path):
    one = copied(project, tmp_path)
    shutil.copytree(two / paths.model("everything"), one / paths.model("everything"))
    for root in (one, two):
        call(root, "pipeline.evaluate", "everything")
    for name in ("per_image.csv", "curve.csv", "metrics.json", "alarms.json"):
        path = paths.evaluation("everything") / name
        assert (two / path).read_bytes() == (one / path).read_bytes(), name
    assert len(list(files.read_csv(two / paths.evaluation("everything") / "per_image.csv"))) > scoring.ALONE + 2
    assert files.sha256(two / paths.samples("everything")) == files.sha256(one / paths.samples("everything"))


def test_methods_without_weights_use_one_process(project, tmp_path):
    root = copied(project, tmp_path, launcher="torchrun --nproc-per-node=2 --rdzv-endpoint=nowhere.invalid:1")
    assert "noisy: seed 0, on CPU" in call(root, "pipeline.train", "noisy")


def test_an_invalid_launcher_is_reported_in_one_line(project, tmp_path):
    root = copied(project, tmp_path, launcher="torchrun --processes=2")
    output = call(root, "pipeline.train", "plain", rc=1)
    assert output == "error: train.launcher: 'torchrun --processes=2': unrecognized arguments: --processes=2\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("torchrun --nproc-per-node=two", "Unsupported nproc_per_node value: two"),
        ("torchrun --nnodes=many", "invalid literal for int"),
        ("torchrun train.py", "unknown argument: train.py"),
    ],
)
def test_arguments_that_torchrun_rejects_are_named(words, message):
    settings = composed().train.model_copy(update={"launcher": words})
    with pytest.raises(UserError, match=f"train.launcher: '{words}': .*{message}"):
        launcher.launch(settings, "pipeline.train", "plain")


def test_every_process_needs_patches(project, monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 6)
    with working_in(project) as params:
        job = jobs.resolve(params, "plain")
        with pytest.raises(UserError, match=r"train.val_patches: 5 patches for 6 processes"):
            runner.train(job, lambda step, row: None)
        stock = TrainingPatches(patches.load(paths.PATCHES, "train"))
        source = ResidentBatches(stock, 5, 24, True, 0, job.device)
        with pytest.raises(UserError, match=r"train.batch: 5 patches for 6 processes"):
            loop.fit(None, source, None, job.settings, job.noise, None, device=job.device)


HOSTS = {f"denoiselab{n}-{os.getpid()}": f"10.77.0.{n}" for n in (1, 2)}


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """Two network namespaces connected only to each other, like two machines."""

    def ip(*words: str) -> None:
        try:
            subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"this machine allows no network namespaces: {getattr(error, 'stderr', '') or error}")

    try:
        for name in HOSTS:
            ip("netns", "add", name)
        first, second = HOSTS
        ip("link", "add", "wire", "netns", first, "type", "veth", "peer", "name", "wire", "netns", second)
        for name, address in HOSTS.items():
            ip("-n", name, "address", "add", f"{address}/24", "dev", "wire")
            ip("-n", name, "link", "set", "wire", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield [*HOSTS]
    finally:
        for name in HOSTS:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


@pytest.mark.long
def test_two_machines_work_like_one_and_resume_after_a_kill(project, two, hosts, tmp_path):
    """Each has its own disk: checkpoint, weights and outputs are written on the first only."""
    words = "torchrun --nnodes=2 --nproc-per-node=1 --master-addr=10.77.0.1 --master-port=29577"
    roots = [copied(project, tmp_path / name, launcher=words) for name in hosts]

    def begin(stage: str) -> list[subprocess.Popen[str]]:
        environ = {"GLOO_SOCKET_IFNAME": "wire", "OMP_NUM_THREADS": "1"}
        return [
            start(
                root,
                stage,
                "everything",
                prefix=("ip", "netns", "exec", name),
                PET_NODE_RANK=str(n),
                PET_LOCAL_ADDR=HOSTS[name],
                **environ,
            )
            for n, (name, root) in enumerate(zip(hosts, roots, strict=True))
        ]

    killed = begin("pipeline.train")
    wait_for_checkpoint(roots[0], killed[0])
    for process in killed:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    for stage in ("pipeline.train", "pipeline.evaluate"):
        processes = begin(stage)
        outputs = [process.communicate(timeout=900)[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0], outputs
        assert "resuming at step" in outputs[0] or stage == "pipeline.evaluate"
    assert weights(roots[0], "everything") == weights(two, "everything")
    assert (roots[0] / paths.evaluation("everything") / "per_image.csv").exists()
    assert {path.name for path in roots[1].iterdir()} == {"data", "models", "params.yaml"}
    assert not (roots[1] / paths.model("everything")).exists()
