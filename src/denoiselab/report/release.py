"""Released weights: models/released/<name>/ in Git, taken from the experiment in the workspace.

A family such as colour has the sizes colour_fast and colour_best, or only one under its own name. `publish` writes the
weights in float16, model.json and a block of conf/; `describe` writes the measured part of the model card, README.md,
and `examine` that of the invention test. The rest of the card is written by hand.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from denoiselab.comparison import aggregate
from denoiselab.config import Params, yaml_files
from denoiselab.data import manifest, noisy_sets
from denoiselab.evaluation import invention
from denoiselab.models import metadata, model_store
from denoiselab.report import facts
from denoiselab.report.rendering import render
from denoiselab.runtime import files, paths
from denoiselab.runtime.errors import UserError

KEPT = "best_psnr"
QUALITY = 85  # of WebP
LICENCE = "MIT"  # of weights published with this project
BEGIN, END = "<!-- measured: `python -m pipeline.release --card` -->\n", "<!-- /measured -->\n"
EXAMINED = "<!-- invention: `python -m pipeline.release --invention` -->\n", "<!-- /invention -->\n"
FIGURE = "invention.webp"
NEW_CARD = """---
license: not stated
---
# {name}: {arch}

```sh
denoiselab denoise photo.png restored.png --model {name}
```

"""


def publish(params: Params, family: str) -> list[Path]:
    """Publish the networks that the experiment trained, fast and best as sizes of the family; returns their folders.

    UserError unless it trained one network, or only networks named fast and best.
    """
    cards = {m: model_store.read_card(paths.model(m)) for m in params.models}
    trained = [m for m, card in cards.items() if card["parameters"] and not card["imported"]]
    if trained and set(trained) <= set(paths.QUALITIES):
        names = paths.sizes(family)
    elif len(trained) == 1:
        names = {trained[0]: family}
    else:
        raise UserError(
            f"an experiment must have one trained network to publish, or {' and '.join(paths.QUALITIES)}; "
            f"found: {', '.join(trained) or 'none'}"
        )
    images = "; ".join(f"{source['title']} ({source['licence']})" for source in _training_sources())
    origin = {"recipe": params.recipe} | ({} if params.data.depth == 8 else {"depth": params.data.depth})
    return [_publish(paths.model(m), cards[m] | {"name": names[m]} | origin, images) for m in trained]


def _training_sources() -> list[dict[str, Any]]:
    """The data set sources of the training images."""
    used = {row.source for row in manifest.read(paths.RAW, "train")}
    return [source for name, source in facts.data()["sources"].items() if name in used]


def _publish(source: Path, card: dict[str, Any], trained_on: str) -> Path:
    name = card["name"]
    folder = paths.released(name)
    own = {key: value for key, value in card.items() if key not in ("format", "weights")}
    own["best"] = {"psnr": card["best"]["psnr"]}
    trained = load_file(metadata.weights(source, card, KEPT))
    model_store.save(folder, {KEPT: {name: _half(tensor) for name, tensor in trained.items()}}, own)
    _write_block(name, card, trained_on)
    if not (folder / "README.md").exists():
        head = NEW_CARD.format(name=name, arch=card["architecture"]["arch"])
        files.write_text(folder / "README.md", f"{head}{BEGIN}{END}\n{''.join(EXAMINED)}")
    return folder


def _half(tensor: torch.Tensor) -> torch.Tensor:
    """Floating-point values in float16, at half the size, except where one would overflow."""
    half = tensor.half()
    return half if tensor.is_floating_point() and half.isfinite().all() else tensor


def describe(params: Params, family: str) -> list[Path]:
    """Write the measured part of the cards of the released weights of a family that the experiment evaluated.

    Returns the cards. UserError if it evaluated none of them or other weights, or if a card lacks the markers.
    """
    names = [name for name in (family, *paths.sizes(family).values()) if name in params.models]
    if not names:
        raise UserError(f"no released weights of {family} were evaluated; run {_evaluation(family)} first")
    return [_describe(params, family, name) for name in names]


def _describe(params: Params, family: str, name: str) -> Path:
    folder = paths.released(name)
    card, release = folder / "README.md", model_store.read_card(folder)
    if params.models[name].sha256 != files.sha256(folder / f"{KEPT}.safetensors"):
        raise UserError(f"models.{name}: does not import {folder}; run {_evaluation(family)} first")
    _replace(card, BEGIN, END, _measured(params, name, release))
    return card


def examine(family: str) -> list[Path]:
    """Write the invention test and its figure into the cards of the released weights of a family; returns the cards.

    UserError if there are none, or a card lacks the markers.
    """
    folders = [paths.released(name) for name in (family, *paths.sizes(family).values())]
    folders = [folder for folder in folders if (folder / metadata.CARD).exists()]
    if not folders:
        raise UserError(f"no released weights of {family} in {paths.released('')}")
    return [_examine(folder) for folder in folders]


def _examine(folder: Path) -> Path:
    card = model_store.read_card(folder)
    channels, trained = card["architecture"]["channels"], card["noise"]["train"]
    cases = invention.examine(model_store.load(folder), channels, trained)
    with files.atomic_write(folder / FIGURE) as temporary:
        image = np.concatenate([case.figure for case in cases])
        Image.fromarray(image).save(temporary, "WEBP", quality=QUALITY)
    context = {"cases": cases, "cell": invention.CELL, "amplified": invention.AMPLIFIED, "figure": FIGURE}
    _replace(folder / "README.md", *EXAMINED, render("invention.md.j2", context) + "\n")
    return folder / "README.md"


def _replace(card: Path, begin: str, end: str, text: str) -> None:
    """Replace what is between two lines of a card."""
    head, found, rest = card.read_text(encoding="utf-8").partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise UserError(f"{card}: lacks the lines {begin.strip()} and {end.strip()} around the results")
    files.write_text(card, f"{head}{begin}{text}{end}{tail}")


def _evaluation(family: str) -> str:
    return f"`dvc exp run -S recipe=released_{family}`"


def _measured(params: Params, name: str, release: dict[str, Any]) -> str:
    table = aggregate.table(aggregate.read(params), params)
    stored = {key: noisy_sets.read(paths.NOISY, key) for key in noisy_sets.names(paths.NOISY)}
    data = facts.data()
    context = {
        "name": name,
        "recipe": params.recipe,
        "release": release,
        "rows": table[table.model != "noisy"].sort_values(["set", "condition"], kind="stable").to_dict("records"),
        "conditions": stored,
        "depth": params.data.depth,
        "splits": data["splits"],
        "sources": _training_sources(),
        "confidence": params.evaluate.confidence,
        "megabytes": (paths.released(name) / f"{KEPT}.safetensors").stat().st_size / 1e6,
    }
    return render("card.md.j2", context) + "\n"


def _write_block(name: str, card: dict[str, Any], trained_on: str) -> None:
    """Write conf/model/released/<name>.yaml, the entry that imports the published weights."""
    file = paths.released(name) / f"{KEPT}.safetensors"
    block = {"arch": card["architecture"]["arch"], "needs": str(paths.PATCHES), **card["architecture"]}
    block |= {"weights": str(file), "sha256": files.sha256(file), "licence": LICENCE, "trained_on": trained_on}
    if card["noise"]["train"]["kind"] != "real":  # not a noise that an entry can set
        block["noise"] = card["noise"]["train"]
    comment = f"Released weights, see {paths.released(name) / 'README.md'}. Not trained here."
    yaml_files.write(paths.released_block(name), name, comment, block)
