"""The wheel, built from the sdist, works outside the clone with only the packages that it requires."""

import json
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
from packaging.utils import canonicalize_name
from PIL import Image

from docs.make import licences
from tests.conftest import ROOT, photograph

pytestmark = pytest.mark.slow

BUILD = "import setuptools.build_meta as b; b.{}(r'{}')"
RUN = "import sys; sys.modules.update(dict.fromkeys({blocked})); from denoiselab.app.cli import main; main()"
REFUSED = {  # commands that need an extra
    "page": ["serve"],
    "onnx": ["export", "colour_fast", "out.onnx"],
    "experiments": ["denoise", "noisy.png", "out.png", "--model", "models:/denoiselab@champion"],
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the package as the wheel installs it."""
    root = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(["git", "ls-files", "-cz"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("reports/", "tests/", "docs/")):
            (root / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, root / "tree" / name)

    def python(folder: Path, code: str) -> None:
        subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, check=True)

    python(root / "tree", BUILD.format("build_sdist", root))
    (archive,) = root.glob("*.tar.gz")
    shutil.unpack_archive(archive, root / "sdist", filter="data")
    (unpacked,) = (root / "sdist").iterdir()
    python(unpacked, BUILD.format("build_wheel", root))
    (wheel,) = root.glob("*.whl")
    shutil.unpack_archive(wheel, root / "installed", "zip")
    return root / "installed"


@pytest.fixture(scope="module")
def blocked() -> list[str]:
    """The modules of the development environment that a plain installation lacks."""
    kept = licences.closure(["requirements/denoise.txt"])
    return [
        module
        for module, names in packages_distributions().items()
        if not {canonicalize_name(name) for name in names} & (kept | {"denoiselab", "pip", "setuptools"})
    ]


def denoiselab(installed: Path, blocked: list[str], cwd: Path, *words: str) -> subprocess.CompletedProcess:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(cwd), "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", RUN.format(blocked=blocked), *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_images_are_denoised_and_every_command_starts(installed, blocked, tmp_path):
    clean = photograph()[:128, :128]
    noisy = clean + np.random.default_rng(0).normal(0, 25, clean.shape)
    Image.fromarray(clean).save(tmp_path / "clean.png")
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(tmp_path / "noisy.png")
    commands = [
        ["denoise", "noisy.png", "out.png"],
        ["compare", "noisy.png", "side.png", "--models", "colour_fast,nlm", "--clean", "clean.png"],
        ["estimate", "noisy.png"],
        ["noise", "clean.png", "made.png", "--kind", "gaussian", "--sigma", "25"],
        ["noise", "--list"],
        ["models"],
        ["weights", str(installed / "denoiselab/released/colour_fast/best_psnr.safetensors")],
        ["explain", "colour_fast", "--psnr", "30", "--set", ".", "--sigma", "25", "--images", "1"],
        ["doctor", "--json"],
    ]
    for words in commands:
        done = denoiselab(installed, blocked, tmp_path, *words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
    left = np.asarray(Image.open(tmp_path / "out.png")).astype(float) - clean
    assert np.square(left).mean() < 0.3 * np.square(noisy.clip(0, 255) - clean).mean()
    found = {finding["subject"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert found["weights"]["state"] == "ok" and "colour_best" in found["weights"]["said"]


@pytest.mark.parametrize("extra", REFUSED)
def test_a_missing_extra_is_named(installed, blocked, tmp_path, extra):
    Image.fromarray(photograph()[:64, :64]).save(tmp_path / "noisy.png")
    done = denoiselab(installed, blocked, tmp_path, *REFUSED[extra])
    assert done.returncode == 1 and f"denoiselab[{extra}]" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
