"""Write docs/commands.md with the output of every command: python -m docs.make.transcripts

The commands run in a temporary folder, on a photo from scikit-image. Local paths are replaced; images go to
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
LARGEST = 150_000  # bytes of an image
WIDTH = 100  # characters of the terminal
PHOTO = "photo.png"
HOME, PROJECT = "/home/me/pictures", "/home/me/denoiselab"  # replace the temporary folder and the project
SILENT = ("DENOISELAB_MIRROR", "MLFLOW_TRACKING_URI", "DVC_ROOT", "CI")  # they would change the output


@dataclass(frozen=True)
class Step:
    """A command without `denoiselab`, the text above it, and the resulting image to show below it."""

    text: str
    command: str
    picture: str = ""
    crop: tuple[int, int, int, int] | None = None  # left, upper, right, lower
    in_project: bool = False


CHAPTERS: dict[str, list[Step]] = {
    "noise": [
        Step("The available noise:", "noise --list"),
        Step(
            "A test condition of the project, added to a clean photo:",
            f"noise {PHOTO} noisy.png --noise gaussian25",
            "noisy.png",
            (96, 32, 352, 288),
        ),
        Step(
            "Any kind at any level; `--float` avoids the clipping of 8 bits:",
            f"noise {PHOTO} dark.tif --kind poisson --level 20 --float",
        ),
        Step("JSON, for programs:", f"noise {PHOTO} blocks.png --kind jpeg --level 10 --json"),
        Step("Existing files are not overwritten:", f"noise {PHOTO} noisy.png --noise gaussian50"),
    ],
    "estimate": [
        Step("The noise in an image, and the model for it:", "estimate noisy.png"),
        Step("JSON, for programs:", "estimate noisy.png --json"),
    ],
    "denoise": [
        Step(
            "One image:",
            "denoise noisy.png restored.png",
            "restored.png",
            (96, 32, 352, 288),
        ),
        Step("A folder, with a given model:", "denoise folder restored --model colour"),
        Step("Files that cannot be read are reported and set the exit code:", "denoise mixed mixed-restored"),
    ],
    "compare": [
        Step(
            "All shipped models for such images, compared with the clean image:",
            f"compare noisy.png side-by-side.png --clean {PHOTO}",
            "side-by-side.png",
        ),
        Step("Two models, as JSON:", "compare noisy.png two.png --models colour,gray --json"),
    ],
    "models": [
        Step("The available models; `models --json` adds all measured scores:", "models"),
    ],
    "weights": [
        Step(
            "The entry that imports a file:",
            "weights models/released/gray_fast/best_psnr.safetensors",
            in_project=True,
        ),
    ],
    "explain": [
        Step(
            "A number that the model misses by almost 1 dB is that of the luma channel:",
            "explain colour_fast --psnr 33.5 --set clean --sigma 25",
        ),
    ],
    "export": [Step("A released network as an ONNX file:", "export gray gray.onnx")],
    "doctor": [
        Step("In the project folder:", "doctor", in_project=True),
        Step("In any other folder, where images can still be denoised:", "doctor"),
    ],
}
ORDER = [
    "denoise",
    "estimate",
    "compare",
    "models",
    "noise",
    "weights",
    "explain",
    "export",
    "serve",
    "doctor",
]  # other commands follow

HEAD = """# Commands

<!-- Written by `python -m docs.make.transcripts`, which runs what is shown here. -->

The help text and example output of every `denoiselab` command. The examples use a photo of 512x512 pixels from
scikit-image; folder names are replaced (`{home}`). Times, memory and versions are those of the machine that made this
page ({machine}).

In a clone, after `make install`, run `. .venv/bin/activate` once per shell to put `denoiselab` on the path.
`denoiselab --install-completion` installs shell completion of commands, options, models and kinds of noise. The exit
code is 0 for success, 1 for an error, 2 for a command that is not understood, and 3 where `denoise` or `noise` left
something out.
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
    """Names of all commands."""
    return [str(command.name) for command in cli.app.registered_commands]


def helped(command: str) -> str:
    """Output of `denoiselab COMMAND --help` as on the page; `command` may be empty."""
    return _output(f"{command} --help".strip(), ROOT)


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
    output = _output(step.command, ROOT if step.in_project else here, here)
    text = f"{step.text}\n\n```console\n$ denoiselab {step.command}\n{output}\n```\n"
    if not step.picture:
        return text
    picture = Image.open(here / step.picture).convert("RGB")
    target = PICTURES / f"{step.command.split()[0]}.webp"
    _save(picture.crop(step.crop) if step.crop else picture, target)
    return f"{text}\n![{step.picture}](pictures/{target.name})\n"


def _output(command: str, folder: Path, temporary: Path | None = None) -> str:
    """Output of a command on both streams, with local paths replaced."""
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
    """Write the photo, a folder with two clean photos, a folder with three noisy crops, and a folder with a file that
    is not an image."""
    photo = Image.open(_bundled("astronaut.png"))
    photo.save(here / PHOTO)
    (here / "clean").mkdir()
    for name in ("astronaut", "chelsea"):
        Image.open(_bundled(f"{name}.png")).save(here / "clean" / f"{name}.png")
    noise = 20 * np.random.default_rng(0).standard_normal((photo.height, photo.width, 3))
    noisy = Image.fromarray(np.clip(np.asarray(photo) + noise, 0, 255).astype(np.uint8))
    for folder, sides in (("folder", (256, 200, 144)), ("mixed", (128,))):
        (here / folder).mkdir()
        for n, side in enumerate(sides):
            noisy.crop((40 * n, 30 * n, 40 * n + side, 30 * n + side)).save(here / folder / f"part-{n + 1}.png")
    (here / "mixed/notes.png").write_text("This is not an image.\n")


def _bundled(name: str) -> Path:
    spec = find_spec("skimage")
    assert spec and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "data" / name


def _save(picture: Image.Image, path: Path) -> None:
    with files.atomic_write(path) as temporary:
        temporary.write_bytes(webp(picture, LARGEST))


def webp(picture: Image.Image, largest: int) -> bytes:
    """The picture as WebP, in the best quality within `largest` bytes."""
    return next(found for found in _encoded(picture) if len(found) <= largest)


def _encoded(picture: Image.Image) -> Iterator[bytes]:
    for quality in range(90, 0, -10):
        stream = BytesIO()
        picture.save(stream, "WEBP", quality=quality, method=6)
        yield stream.getvalue()


if __name__ == "__main__":
    main()
