"""Released weights: models/released/<name>/ in Git, taken from the experiment in the workspace.

`publish` writes the weights, model.json and a block of conf/; `describe` writes the measured part of the model card,
README.md. The rest of the card is written by hand.
"""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from denoiselab.comparison import aggregate
from denoiselab.config import Params, yaml_files
from denoiselab.data import noisy_sets
from denoiselab.models import metadata, model_store
from denoiselab.report import facts
from denoiselab.report.rendering import render
from denoiselab.runtime import files, paths
from denoiselab.runtime.errors import UserError

KEPT = "best_psnr"
BEGIN, END = "<!-- measured: `python -m pipeline.release --card` -->\n", "<!-- /measured -->\n"


def publish(params: Params, name: str) -> Path:
    """Publish the network that the experiment trained as `name`; returns its folder.

    ValueError unless it trained exactly one.
    """
    found = {m: model_store.read_card(paths.model(m)) for m in params.models}
    trained = [m for m, card in found.items() if card["parameters"] and not card["imported"]]
    if len(trained) != 1:
        raise UserError(
            f"an experiment must have exactly one trained network to publish; found: {', '.join(trained) or 'none'}"
        )
    source, folder = paths.model(trained[0]), paths.released(name)
    card = found[trained[0]]
    card |= {"name": name, "recipe": params.recipe, "best": {"psnr": card["best"]["psnr"]}}
    own = {key: value for key, value in card.items() if key not in ("format", "weights")}
    model_store.save(folder, {KEPT: load_file(metadata.weights(source, card, KEPT))}, own)
    _write_block(name, card)
    return folder


def describe(params: Params, name: str) -> Path:
    """Write the measured part of the card of models/released/<name>, which the experiment must have evaluated.

    Returns the card. UserError if the entry does not import these weights, or the card lacks the markers.
    """
    folder = paths.released(name)
    card, release = folder / "README.md", model_store.read_card(folder)
    if name not in params.models or params.models[name].sha256 != files.sha256(folder / f"{KEPT}.safetensors"):
        raise UserError(f"models.{name}: does not import {folder}; run `dvc exp run -S recipe=released_{name}` first")
    head, begin, rest = card.read_text(encoding="utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise UserError(f"{card}: lacks the lines {BEGIN.strip()} and {END.strip()} around the results")
    files.write_text(card, f"{head}{BEGIN}{_measured(params, name, release)}{END}{tail}")
    return card


def _measured(params: Params, name: str, release: dict[str, Any]) -> str:
    table = aggregate.table(aggregate.read(params), params)
    stored = {key: noisy_sets.read(paths.NOISY, key) for key in noisy_sets.names(paths.NOISY)}
    context = {
        "name": name,
        "release": release,
        "rows": table[table.model != "noisy"].sort_values(["set", "condition"], kind="stable").to_dict("records"),
        "conditions": stored,
        "data": facts.data(),
        "confidence": params.evaluate.confidence,
        "megabytes": (paths.released(name) / f"{KEPT}.safetensors").stat().st_size / 1e6,
    }
    return render("card.md.j2", context) + "\n"


def _write_block(name: str, card: dict[str, Any]) -> None:
    """Write conf/model/released/<name>.yaml, the entry that imports the published weights."""
    file = paths.released(name) / f"{KEPT}.safetensors"
    block = {"arch": card["architecture"]["arch"], "needs": str(paths.PATCHES), **card["architecture"]}
    block |= {"weights": str(file), "sha256": files.sha256(file)}
    if card["noise"]["train"]["kind"] != "real":  # not a noise that an entry can set
        block["noise"] = card["noise"]["train"]
    comment = f"Released weights, see {paths.released(name) / 'README.md'}. Not trained here."
    yaml_files.write(paths.released_block(name), name, comment, block)
