"""Writes docs/commands.md: `python -m docs.make.transcripts` runs every command and shows what it said.

In a temporary folder, on a photograph that comes with scikit-image. Machine paths are replaced; pictures go to
docs/pictures/.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from denoiselab.app import cli
from denoiselab.runtime import files

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/commands.md"
PICTURES = ROOT / "docs/pictures"
LARGEST = 100_000  # bytes, of a picture
WIDTH = 100  # characters of the terminal
PHOTO = "photo.png"
HOME, PROJECT = "/home/me/pictures", "/home/me/denoiselab"  # what the page calls the temporary folder and the project
SILENT = ("DENOISELAB_MIRROR", "MLFLOW_TRACKING_URI", "DVC_ROOT", "CI")  # would show in what commands say


@dataclass(frozen=True)
class Step:
    """What is done, the command without `denoiselab`, and the picture of its results that the page shows."""

    text: str
    command: str
    picture: str = ""
    crop: tuple[int, int, int, int] | None = None  # left, upper, right, lower
    in_project: bool = False


CHAPTERS: dict[str, list[Step]] = {
    "noise": [
        Step("What can be added:", "noise --list"),
        Step(
            "A condition that the project tests with, on a clean photograph:",
            f"noise {PHOTO} noisy.png --noise gaussian25",
            "noisy.png",
            (96, 32, 352, 288),
        ),
        Step(
            "Any kind at any level; `--float` keeps what 8 bits would clip:",
            f"noise {PHOTO} dark.tif --kind poisson --level 20 --float",
        ),
        Step("For programs:", f"noise {PHOTO} blocks.png --kind jpeg --level 10 --json"),
        Step("Nothing is overwritten unasked:", f"noise {PHOTO} noisy.png --noise gaussian50"),
    ],
    "estimate": [
        Step("What noise a picture has, and which model is for it:", "estimate noisy.png"),
        Step("For programs:", "estimate noisy.png --json"),
    ],
    "denoise": [
        Step(
            "One picture:",
            "denoise noisy.png restored.png",
            "restored.png",
            (96, 32, 352, 288),
        ),
        Step("A folder, with a model that is named:", "denoise folder restored --model colour"),
        Step("What is no picture stops nothing but itself, and the exit code says so:", "denoise mixed mixed-restored"),
    ],
    "compare": [
        Step(
            "All models for such pictures, measured against the clean one:",
            f"compare noisy.png side-by-side.png --clean {PHOTO}",
            "side-by-side.png",
        ),
        Step("The numbers of some of them:", "compare noisy.png two.png --models colour,gray --json"),
    ],
    "models": [
        Step("What there is; `models --json` says it to programs, with all that was measured of each:", "models"),
    ],
    "export": [Step("A released network as a file for any runtime:", "export gray gray.onnx")],
    "doctor": [
        Step("In the project:", "doctor", in_project=True),
        Step("In another folder, where pictures can still be denoised:", "doctor"),
    ],
}
ORDER = ["denoise", "estimate", "compare", "models", "noise", "export", "serve", "doctor"]  # others follow

HEAD = """# Commands

<!-- Written by `python -m docs.make.transcripts`, which runs what is shown here. -->

What every command of `denoiselab` says of itself, and what it answered when this page was made, on a photograph of
512x512 pixels that comes with scikit-image. Folders have other names here (`{home}`). Seconds, memory and versions are
those of the machine that made the page ({machine}); yours will differ.

Inside a clone, after `make install`, activate the environment once (`. .venv/bin/activate`); `denoiselab` is then on
the path.
`denoiselab --install-completion` teaches your shell to complete commands, options, models and kinds of noise. The exit
code is 0 where all went well, 1 where something did not, 2 where the command was not understood.
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder).resolve()
        _prepare(here)
        sections = {name: _section(name, here) for name in ("noise", *_others("noise"))}  # noise makes noisy.png
    pages = [_head(), _help("", "## All commands"), *(sections[name] for name in sorted(sections, key=_place))]
    files.write_text(PAGE, "\n".join(pages))
    print(PAGE)


def commands() -> list[str]:
    """The commands that there are."""
    return [str(command.name) for command in cli.app.registered_commands]


def helped(command: str) -> str:
    """What `denoiselab COMMAND --help` says, as the page has it; of all for an empty name."""
    return _said(f"{command} --help".strip(), ROOT)


def _others(first: str) -> list[str]:
    return sorted((name for name in commands() if name != first), key=lambda name: [*CHAPTERS, name].index(name))


def _place(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def _head() -> str:
    return HEAD.format(home=HOME, machine=f"{os.cpu_count()} cores, no GPU")


def _help(command: str, title: str) -> str:
    called = " ".join(filter(None, ["denoiselab", command, "--help"]))
    return f"{title}\n\n```console\n$ {called}\n{helped(command)}\n```\n"


def _section(name: str, here: Path) -> str:
    print(name, file=sys.stderr)
    return "\n".join([_help(name, f"## {name}"), *(_shown(step, here) for step in CHAPTERS.get(name, []))])


def _shown(step: Step, here: Path) -> str:
    said = _said(step.command, ROOT if step.in_project else here, here)
    text = f"{step.text}\n\n```console\n$ denoiselab {step.command}\n{said}\n```\n"
    if not step.picture:
        return text
    picture = Image.open(here / step.picture).convert("RGB")
    target = PICTURES / f"{step.command.split()[0]}.webp"
    _save(picture.crop(step.crop) if step.crop else picture, target)
    return f"{text}\n![{step.picture}](pictures/{target.name})\n"


def _said(command: str, folder: Path, temporary: Path | None = None) -> str:
    """What a command says on both streams, without the paths of this machine."""
    environment = {key: value for key, value in os.environ.items() if key not in SILENT}
    environment |= {"COLUMNS": str(WIDTH), "TERMINAL_WIDTH": str(WIDTH), "NO_COLOR": "1", "TERM": "dumb"}
    environment["PYTHONPATH"] = str(ROOT / "src")
    done = subprocess.run(
        [sys.executable, "-m", "denoiselab.app.cli", *shlex.split(command)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    text = done.stdout.rstrip()
    for path, name in ((temporary, HOME), (ROOT, PROJECT), (Path.home(), "/home/me")):
        text = text.replace(str(path), name) if path else text
    ending = [f"$ echo $?\n{done.returncode}"] if done.returncode else []
    return "\n".join([re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE), *ending])


def _prepare(here: Path) -> None:
    """The photograph, a folder of three parts of it with noise, and one with a file that is no picture."""
    photo = Image.open(_bundled("astronaut.png"))
    photo.save(here / PHOTO)
    noise = 20 * np.random.default_rng(0).standard_normal((photo.height, photo.width, 3))
    noisy = Image.fromarray(np.clip(np.asarray(photo) + noise, 0, 255).astype(np.uint8))
    for folder, sides in (("folder", (256, 200, 144)), ("mixed", (128,))):
        (here / folder).mkdir()
        for n, side in enumerate(sides):
            noisy.crop((40 * n, 30 * n, 40 * n + side, 30 * n + side)).save(here / folder / f"part-{n + 1}.png")
    (here / "mixed/notes.png").write_text("This is no picture.\n")


def _bundled(name: str) -> Path:
    spec = find_spec("skimage")
    assert spec and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "data" / name


def _save(picture: Image.Image, path: Path) -> None:
    """As WebP, as good as LARGEST allows."""
    content = next(found for found in _encoded(picture) if len(found) <= LARGEST)
    with files.replacing(path) as temporary:
        temporary.write_bytes(content)


def _encoded(picture: Image.Image) -> Iterator[bytes]:
    for quality in range(90, 0, -10):
        stream = BytesIO()
        picture.save(stream, "WEBP", quality=quality, method=6)
        yield stream.getvalue()


if __name__ == "__main__":
    main()
