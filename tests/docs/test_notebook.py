"""notebooks/quickstart.ipynb: runs from top to bottom in a clone, and is committed with what it shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from PIL import Image
from skimage import data

from denoiselab.app import denoisers
from docs.make import notebook
from tests.conftest import ROOT
from tests.projects import call, make_project

NOTEBOOK = ROOT / notebook.NOTEBOOK


def shown(found) -> str:
    """All texts that its cells put out."""
    outputs = [output for cell in found.cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join(output.get("text") or str(output.get("data", {}).values()) for output in outputs)


def check(found) -> None:
    """It ran in order without an error, restored the picture, and shows the report and its figures."""
    code = [cell for cell in found.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert sum(bool({"image/jpeg", "image/svg+xml"} & {*output.get("data", {})}) for output in outputs) == 5
    text = shown(found)
    psnr = {what: float(value) for what, value in re.findall(r"(noisy|restored) +PSNR ([\d.]+) dB", text)}
    assert psnr["restored"] > psnr["noisy"] + 8
    assert "Running stage 'train@unet'" in text
    assert "| unet |" in text and "| nlm |" in text and "psnr_difference_low" in text


def test_it_is_committed_with_its_pictures():
    check(nbformat.read(NOTEBOOK, as_version=4))
    assert NOTEBOOK.stat().st_size < 600_000


def test_it_was_run_with_the_denoisers_of_today():
    text = shown(nbformat.read(NOTEBOOK, as_version=4))
    for entry in denoisers.known():
        assert re.search(rf"^{entry.name} +{entry.parameters:,} parameters", text, re.MULTILINE), entry.name


def test_nothing_in_it_names_a_machine():
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert not re.findall(r"/(?:home|root|tmp|work|Users)/\w+", text)


@pytest.mark.long
def test_it_runs_in_a_clone_and_leaves_it_as_it_was(tmp_path, monkeypatch):
    clone = make_project(tmp_path / "clone")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    check(notebook.run(clone / notebook.NOTEBOOK))
    assert call(clone, "git", "status", "--short") == ""


@pytest.mark.slow
def test_a_photo_of_ones_own_is_restored_without_scores(tmp_path, monkeypatch):
    clone = make_project(tmp_path / "clone")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    Image.fromarray(data.camera()[:200, :300]).save(tmp_path / "photo.png")
    found = nbformat.read(clone / notebook.NOTEBOOK, as_version=4)
    (cell,) = [cell for cell in found.cells if "PHOTO = None" in cell.source]
    cell.source = re.sub(r"(?m)^PHOTO = .*", f"PHOTO = {str(tmp_path / 'photo.png')!r}", cell.source)
    last = next(number for number, cell in enumerate(found.cells) if 'images["restored"] =' in cell.source)
    found.cells = found.cells[: last + 1]
    nbformat.write(found, clone / notebook.NOTEBOOK)
    ran = notebook.run(clone / notebook.NOTEBOOK)
    outputs = [output for cell in ran.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/jpeg" in output.get("data", {}) for output in outputs) == 2
    assert "gray" in shown(ran) and "PSNR" not in shown(ran)


def test_its_address_is_that_of_the_citation():
    address = yaml.safe_load((ROOT / notebook.CITATION).read_text(encoding="utf-8"))["repository-code"]
    found = nbformat.read(NOTEBOOK, as_version=4)
    before = nbformat.writes(found)
    notebook.set_address(found, address)
    assert nbformat.writes(found) == before
    for _ in range(2):
        notebook.set_address(found, "https://github.com/us/denoiselab.git")
    link = "https://colab.research.google.com/github/us/denoiselab/blob/main/notebooks/quickstart.ipynb"
    assert found.cells[0].source.count("Colab](") == 1 and f"[Open in Colab]({link})" in found.cells[0].source


@pytest.mark.slow
def test_outside_of_a_clone_the_first_cell_fetches_one_and_installs(tmp_path):
    """As in Colab: `pip` finds all there is; only that it is asked for the right file is tested."""
    source = next(cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code")
    origin = make_project(tmp_path / "origin")
    cell = re.sub(r'REPOSITORY = "[^"]+"', f'REPOSITORY = "{origin.as_uri()}"', source)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    cell += "\nimport denoiselab\nprint(denoiselab.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", cell],
        cwd=elsewhere,
        env=os.environ | {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).parts[-4:] == ("denoiselab", "src", "denoiselab", "__init__.py")
    assert origin.as_posix() not in done.stdout
