"""docs/own-data.md, followed literally: its commands in a fresh clone, and its messages."""

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from denoiselab.data import patches
from denoiselab.data.fetch import fetch
from denoiselab.runtime.errors import UserError
from tests.conftest import ROOT, composed, photograph
from tests.projects import TINY, make_project, mirrored, reproduce

PAGE = (ROOT / "docs/own-data.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^ *(dvc exp run .*)$", PAGE, flags=re.MULTILINE)
SMALL = [*TINY, "patches.size=48", "patches.stride=48", "patches.val_size=48"]


def folders(root: Path) -> None:
    """The page's three: /photos, /pairs and /noisy, of sixteen different pictures each."""
    rng = np.random.default_rng(0)
    for n, name in enumerate(("astronaut", "chelsea", "coffee", "motorcycle_left") * 4):
        y, x = 96 * (n // 8), 128 * (n % 4 // 2)
        clean = photograph(name)[y + 9 * n : y + 9 * n + 96, x + 7 * n : x + 7 * n + 128]
        noisy = (clean + rng.normal(0, 20, clean.shape)).clip(0, 255).round().astype(np.uint8)
        for folder, pixels in {"photos": clean, "noisy": noisy, "pairs/noisy": noisy, "pairs/clean": clean}.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / folder / f"{n:02d}.png")


def at(root: Path, command: str) -> list[str]:
    """The page's command with its folders in `root`."""
    return shlex.split(re.sub(r"data\.path=/", f"data.path={root}/", command))


def test_the_page_has_a_command_for_each_case():
    assert [re.findall("(?:data|recipe)=[a-z_]+", command) for command in COMMANDS] == [
        ["data=folder"],
        ["recipe=camera"],
        ["data=pairs"],
        ["data=noisy_folder"],
        ["data=folder"],
    ]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: "-".join(re.findall(r"=([a-z][a-z_0-9]*)", command)))
def test_every_command_composes_as_it_stands(command, tmp_path):
    _, _, _, *settings = at(tmp_path, command)
    composed(*settings[1::2])


@pytest.mark.slow
def test_every_command_runs_in_a_fresh_clone(tmp_path):
    """With a small network's few steps in place of the default ones."""
    folders(tmp_path)
    (tmp_path / "clone").mkdir()
    project = make_project(tmp_path / "clone")
    for command in COMMANDS:
        if "recipe=" in command:
            continue
        _, _, _, *settings = at(tmp_path, command)
        reproduce(project, *settings[1::2], *SMALL)
        table = pd.read_csv(project / "reports/comparison.csv").set_index("model")
        report = (project / "reports/report.md").read_text(encoding="utf-8")
        assert set(table.index) == {"noisy", "gaussian", "unet"}
        judged = "held_out_mean" if "noisy_folder" in command else "psnr_mean"
        assert table[judged]["gaussian"] > table[judged]["noisy"]
        assert ("psnr_mean" in table) == ("There are no clean images" not in report)
        assert ("self-supervised" in report) == ("noisy_folder" in command or "target=self" in command)


@mirrored
@pytest.mark.slow
def test_denoisers_are_ranked_under_a_cameras_noise(tmp_path):
    folders(tmp_path)
    (tmp_path / "clone").mkdir()
    project = make_project(tmp_path / "clone")
    (command,) = (one for one in COMMANDS if "recipe=camera" in one)
    _, _, _, *settings = at(tmp_path, command)
    reproduce(project, *settings[1::2], "model=[bilateral,released/real]", "evaluate.samples=1", *SMALL[len(TINY) :])
    table = pd.read_csv(project / "reports/comparison.csv")
    assert set(table.model) == {"noisy", "bilateral", "real"} and set(table.condition) == {"camera"}


def broken(root: Path, case: str) -> None:
    """Do what the page says a message is for."""
    root.mkdir()
    if case == "few":
        for n in range(2):
            Image.fromarray(photograph()[n * 100 : n * 100 + 99, :99]).save(root / f"{n}.png")
        fetch(composed("data=folder", f"data.path={root}").data, root / "raw")
    elif case in ("eight", "twelve"):
        for n in range(3):
            pixels = photograph()[100 * n : 100 * n + 99, :99]
            deep = np.interp(pixels, (pixels.min(), pixels.max()), (0, 4095)).astype(np.uint16)
            tifffile.imwrite(root / f"{n}.tif", pixels if case == "eight" else deep, photometric="rgb")
        fetch(composed("data=folder", f"data.path={root}", "data.depth=16").data, root / "raw")
    elif case == "small":
        for n in range(6):
            Image.fromarray(photograph()[70 * n : 70 * n + 64, 50 * n : 50 * n + 64]).save(root / f"photo{n}.png")
        params = composed("data=folder", f"data.path={root}")
        fetch(params.data, root / "raw")
        patches.cut(root / "raw", params.patches, 3, root / "patches")
    else:
        for folder, width in (("noisy", 64), ("clean", 65 if case == "sizes" else 64)):
            (root / folder).mkdir()
            for n in range(3 if case == "sizes" or folder == "noisy" else 2):
                Image.fromarray(photograph()[70 * n : 70 * n + 64, :width]).save(root / folder / f"{n}.png")
        fetch(composed("data=pairs", f"data.path={root}", "noise=real").data, root / "raw")


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("few", "only 2 to split; training, validation and test need at least one each"),
        ("small", r"64x64 is smaller than a patch \(patches.size: 96\)"),
        ("alone", "no clean image for"),
        ("sizes", "a pair of different sizes"),
        ("eight", "has 8 bits, but data.depth is 16"),
        ("twelve", "data.white: the highest value in the images is 4095; set data.white to the value of white"),
    ],
)
def test_the_pages_messages_are_what_is_said(case, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said.replace("\\", "") in PAGE
    with pytest.raises(UserError, match=said):
        broken(tmp_path / "photos", case)


@pytest.mark.parametrize(
    "overrides",
    [["data=folder"], ["data=folder", "data.path=/x", "noise=real"], ["data=noisy_folder", "train.target=clean"]],
)
def test_the_pages_messages_on_settings_are_what_is_said(overrides):
    if overrides[0] == "data=noisy_folder":
        overrides = [*overrides, "data.path=/x"]
    with pytest.raises(UserError) as error:
        composed(*overrides)
    said = str(error.value).split(": ", 1)[1]  # behind the file's name
    assert said in PAGE
