"""Shared fixtures: real photographs, small enough to be quick."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

os.environ.setdefault("CI", "1")  # no progress bars
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):  # each has its share of the cores
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from denoiselab import config, report
from denoiselab.config import Params
from denoiselab.data import noise_sampling, patches
from denoiselab.data.fetch import fetch
from denoiselab.evaluation import scoring
from denoiselab.runtime import paths
from denoiselab.training import jobs, runner
from tests import postgres, projects

ROOT = projects.ROOT
# By measured seconds, most first: a long file that starts last would run alone on one core.
LONGEST_FIRST = [
    "system/test_end_to_end.py",
    "system/test_recipes.py",
    "report/test_leaderboard.py",
    "runtime/test_distributed.py",
    "tracking/test_tracking_server.py",
    "training/test_search.py",
    "data/test_mirror.py",
    "system/test_faults.py",
    "system/test_bench.py",
    "docs/test_pages.py",
    "app/test_web_browser.py",
    "system/test_load.py",
    "architectures/test_architectures.py",
    "app/test_onnx_export.py",
    "system/test_speedrun.py",
    "runtime/test_devices.py",
    "docs/test_own_data.py",
    "runtime/test_parallel.py",
    "report/test_report_page.py",
    "system/test_pipeline.py",
    "system/test_remote.py",
    "tracking/test_packaging.py",
    "system/test_secrets.py",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests are slow ones, too; and the longest files come first."""
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker("slow")
    rank = {ROOT / "tests" / name: n for n, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


@pytest.fixture(scope="session", autouse=True)
def elsewhere(tmp_path_factory) -> Iterator[None]:
    """An empty folder as the working directory: what a `make repro` left in the project's root is not to be found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        patch.delenv("DVC_ROOT", raising=False)
        yield


def photograph(name: str = "astronaut") -> np.ndarray:
    """One of scikit-image's photographs, (H, W, 3) or (H, W) uint8."""
    spec = find_spec("skimage")
    assert spec and spec.submodule_search_locations
    return np.asarray(Image.open(Path(spec.submodule_search_locations[0]) / "data" / f"{name}.png"))


def committed(path: str) -> str:
    """The text of a tracked file as it is in Git's index: `make repro` writes reports/ anew in the working tree."""
    done = subprocess.run(["git", "show", f":{path}"], cwd=ROOT, capture_output=True, check=True)
    return done.stdout.decode("utf-8")


def composed(*overrides: str) -> Params:
    """The parameters that `dvc exp run -S OVERRIDE...` would run with."""
    from dvc.utils.hydra import compose_and_dump

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        compose_and_dump(str(path), str(ROOT / "conf"), None, "config", str(ROOT / "conf"), list(overrides))
        return config.load(path)


def many_photos(folder: Path) -> None:
    """Sixteen crops of four photographs into `folder`."""
    folder.mkdir()
    for n, name in enumerate(("astronaut", "chelsea", "coffee", "motorcycle_left") * 4):
        crop = photograph(name)[8 * n : 8 * n + 96, 10 * n : 10 * n + 128]
        Image.fromarray(crop).save(folder / f"{name}-{n}.png")


def of_two_classes(folder: Path, side: int) -> None:
    """Sixteen square crops of each of two photographs, whose names are the classes, into `folder`."""
    for name in ("astronaut", "chelsea"):
        pixels = photograph(name)
        (folder / name).mkdir(parents=True)
        for n in range(16):
            y, x = 20 + n // 4 * side, 20 + n % 4 * side
            Image.fromarray(pixels[y : y + side, x : x + side]).save(folder / name / f"{n}.png")


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    return photograph()


@pytest.fixture
def photos(tmp_path: Path, astronaut: np.ndarray) -> Path:
    """A folder of six different crops, in different formats."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for n, suffix in enumerate(("png", "jpg", "tif", "bmp", "webp", "png")):
        Image.fromarray(astronaut[60 * n : 60 * n + 96, 70 * n : 70 * n + 112]).save(folder / f"photo{n}.{suffix}")
    return folder


def trained(params: Params, name: str) -> None:
    """Write what stage train writes, without tracking."""
    all_jobs = jobs.resolve_all(params, name)
    runner.record(all_jobs, [runner.run(job, lambda step, row: None) for job in all_jobs])


def small(photos: Path, *overrides: str) -> Params:
    """Parameters of a run on small crops that trains nothing."""
    sizes = ["patches.size=48", "patches.stride=48", "patches.val_size=48", "patches.scales=[1.0]"]
    models = ["model=[gaussian,median]", "noise=blind55", "evaluate.samples=2", "evaluate.resamples=100"]
    tree = composed("data=folder", f"data.path={photos}", *sizes, *models, *overrides).model_dump(
        mode="json", exclude_unset=True
    )
    tree["train"] |= {"val_patches": 2}
    tree["evaluate"]["curve"] |= {"levels": [10, 50], "images": 1, "crop": 48}
    for name in ("gaussian", "median"):
        tree["models"][name]["strengths"] = [1.0]
    return config.Params.model_validate(tree)


def run_stages(root: Path, params: Params) -> None:
    """Every stage but compare, by the stages' own functions, in the folder `root`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("DVC_ROOT", str(root))
        fetch(params.data, paths.RAW)
        patches.cut(paths.RAW, params.patches, params.data.channels, paths.PATCHES)
        noise_sampling.write(paths.RAW, paths.PATCHES, params, paths.NOISY)
        for name in params.models:
            trained(params, name)
            scoring.evaluate(params, name)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> tuple[Path, Params]:
    """A folder in which every stage but compare was run."""
    root = tmp_path_factory.mktemp("finished")
    many_photos(root / "photos")
    params = small(root / "photos", "data.drop_leaks=true")
    run_stages(root, params)
    return root, params


@pytest.fixture(scope="session")
def written(finished) -> str:
    """report.html of the project."""
    root, params = finished
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        report.write(params)
    return (root / paths.REPORT_HTML).read_text(encoding="utf-8")


@pytest.fixture
def postgresql() -> Iterator[str]:
    """The address of a PostgreSQL server with an empty database."""
    with postgres.server() as address:
        yield address


@pytest.fixture(scope="session")
def migrated() -> Path:
    """MLflow's database with its tables and nothing in it."""
    return projects.empty_store()


@pytest.fixture
def store(migrated, tmp_path, monkeypatch) -> Path:
    """A project root of its own with an empty MLflow store, as DVC would name it to its stages."""
    shutil.copyfile(migrated, tmp_path / "mlflow.db")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    return tmp_path


@pytest.fixture
def tree() -> dict:
    """params.yaml as plain values, to be changed by a test."""
    return yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def params(tree: dict) -> Params:
    """The default parameters."""
    return Params.model_validate(tree)
