"""Shared fixtures: real photographs, small enough to be quick."""

import os
import tempfile

os.environ.setdefault("CI", "1")  # no progress bars

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from denoiselab import config
from denoiselab.config import Params

ROOT = Path(__file__).parent.parent


def photograph(name: str = "astronaut") -> np.ndarray:
    """One of scikit-image's photographs, (H, W, 3) or (H, W) uint8."""
    spec = find_spec("skimage")
    assert spec and spec.submodule_search_locations
    return np.asarray(Image.open(Path(spec.submodule_search_locations[0]) / "data" / f"{name}.png"))


def composed(*overrides: str) -> Params:
    """The parameters that `dvc exp run -S OVERRIDE...` would run with."""
    from dvc.utils.hydra import compose_and_dump

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        compose_and_dump(str(path), str(ROOT / "conf"), None, "config", None, list(overrides))
        return config.load(path)


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


@pytest.fixture
def tree() -> dict:
    """params.yaml as plain values, to be changed by a test."""
    return yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def params(tree: dict) -> Params:
    """The default parameters."""
    return Params.model_validate(tree)
