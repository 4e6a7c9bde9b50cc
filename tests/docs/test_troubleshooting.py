"""docs/troubleshooting.md: every message that it quotes is provoked here, and is what it quotes."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from denoiselab import config
from denoiselab.config import Params
from denoiselab.data import patches
from denoiselab.data.fetch import fetch
from denoiselab.imaging import dataset_images
from denoiselab.models import model_store
from denoiselab.runtime import devices, files
from denoiselab.runtime.download import obtain
from denoiselab.tracking import TRAINED, worker
from denoiselab.training import jobs
from pipeline import doctor
from tests.conftest import ROOT, composed, photograph

PAGE = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"^```text\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)


def compose(*overrides: str) -> Params:
    """As `dvc exp run -S OVERRIDE ...` and then a stage."""
    from dvc.utils.hydra import compose_and_dump

    compose_and_dump("params.yaml", str(ROOT / "conf"), None, "config", str(ROOT / "conf"), list(overrides))
    return config.load(Path("params.yaml"))


def save(name: str, pixels: np.ndarray, mode: str | None = None) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(name)


def folder(*overrides: str) -> None:
    fetch(composed("data=folder", "data.path=photos", *overrides).data, Path("data/raw"))


def no_folder() -> None:
    folder()


def two_photos() -> None:
    for n in range(2):
        save(f"photos/{n}.png", photograph()[32 * n :][:64, :64])
    folder()


def transparent() -> None:
    pixels = np.dstack([photograph()[:64, :64], np.full((64, 64), 100, np.uint8)])
    save("photos/logo.png", pixels)
    dataset_images.read(Path("photos/logo.png"), 3)


def print_colours() -> None:
    save("photos/print.tif", photograph()[:64, :64], "CMYK")
    dataset_images.read(Path("photos/print.tif"), 3)


def empty() -> None:
    files.write_text(Path("photos/cut.jpg"), "")
    dataset_images.read(Path("photos/cut.jpg"), 3)


def too_small() -> None:
    for n in range(6):
        save(f"photos/small{n}.png", photograph()[60 * n :][:80, :60])
    params = composed("data=folder", "data.path=photos", "data.drop_leaks=true")
    fetch(params.data, Path("data/raw"))
    patches.cut(Path("data/raw"), params.patches, 3, Path("data/patches"))


def leak() -> None:
    for n in range(6):
        save(f"photos/{n}.png", photograph()[:96, :96])
    folder()


def lonely() -> None:
    for name in ("clean/a.png", "clean/b.png", "noisy/a.png"):
        save(f"pairs/{name}", photograph()[:64, :64])
    fetch(composed("data=pairs", "data.path=pairs", "noise=real").data, Path("data/raw"))


def no_mirror() -> None:
    obtain("cifar10_4k", "cifar10_4k.tar", sha256=None, folder=Path(), root=Path())


def no_cuda() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        devices.choose("cuda")


def changed_noise() -> None:
    from denoiselab.data.manifest import Row
    from denoiselab.data.noisy_sets import Stored

    files.write_text(Path("data/noisy/sigma25/test-0-0.npy"), "changed")
    row = Row("a", "test", "", "a", "", "a.png", "", "", "", "", 16, 16, "")
    Stored(row, 0, Path(), Path("data/noisy/sigma25/test-0-0.npy"), "0" * 64, 20.0).read(3)


def other_weights() -> None:
    files.write_json(Path("models/unet/model.json"), {"format": 4})
    model_store.load(Path("models/unet"))


def no_repository() -> str | None:
    return doctor._git()


def no_commit() -> str | None:
    subprocess.run(["git", "init", "-q"], check=True)
    return doctor._git()


def lost_store() -> None:
    worker.warn("the store did not answer in time", TRAINED)


def unknown_model() -> None:
    jobs.is_trained(compose(), "unett")


PROVOKED: list[Callable[[], object]] = [
    no_repository,
    no_commit,
    lambda: compose("models.unet.lr=fast"),
    lambda: jobs.resolve_all(compose("+models.unet.dept=3"), "unet"),
    unknown_model,
    lambda: compose("model=cnn_unet"),
    lambda: compose("noise=real"),
    lambda: compose("noise.test.sigma25.sigma_255=[0,50]"),
    lambda: compose("train.epochs=3"),
    no_folder,
    two_photos,
    transparent,
    print_colours,
    empty,
    too_small,
    leak,
    lonely,
    no_mirror,
    no_cuda,
    changed_noise,
    other_weights,
    lost_store,
]


def said(provoke: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> str:
    """The line that the user sees."""
    try:
        answer = provoke()
    except ValueError as error:
        return f"error: {error}"
    return f"doctor: {answer}" if answer else capsys.readouterr().err.strip()


@pytest.mark.parametrize("number", range(len(PROVOKED)))
def test_a_message_is_what_the_page_quotes(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DENOISELAB_MIRROR", raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert said(PROVOKED[number], capsys).replace(f"{tmp_path}/", "") in QUOTED


def test_every_quoted_message_is_provoked():
    assert len(QUOTED) == len(set(QUOTED)) == len(PROVOKED)


@pytest.mark.parametrize("mistake", ["model=[unett]", "train.stepz=3"])
def test_the_messages_of_hydra_are_quoted(mistake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match="Could not") as caught:
        compose(mistake)
    assert f"**`{str(caught.value).splitlines()[0].rstrip('.')}`.**" in PAGE
