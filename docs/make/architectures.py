"""Which entry of conf/model/ stands for each architecture in the pictures."""

import tempfile
from functools import cache
from pathlib import Path

from torch import nn

from denoiselab import config, models
from denoiselab.config import Params
from docs.make import nets

ENTRIES = {  # arch: entries that compose its experiment, the one that is drawn last; then what else is set
    "resunet": (["unet"], []),
    "dncnn": (["dncnn_paper"], []),
    "ffdnet": (["ffdnet"], []),
    "drunet": (["drunet"], []),
    "nafnet": (["nafnet"], []),
    "unet": (["unet_classic"], ["recipe=animals", "train=paper"]),
    "pixelshuffle_unet": (["pixelshuffle_unet"], []),
    "cae": (["cae"], []),
    "cnn": (["cnn"], []),
    "guided_unet": (["classifier_cnn", "cnn_unet"], ["train=paper"]),
    "classifier_cnn": (["classifier_cnn"], ["train=paper"]),
    "classifier_resnet": (["classifier_resnet"], ["train=paper"]),
}


def pictures() -> dict[str, str]:
    """The SVG of every architecture, by its name."""
    return {arch: picture(arch) for arch in ENTRIES}


def picture(arch: str) -> str:
    entries, settings = ENTRIES[arch]
    params = composed(f"model=[{','.join(entries)}]", *settings)
    blocks = {name: params.models[name].architecture() for name in entries}
    said = ", ".join(
        f"{key} {_said(value)}" for key, value in blocks[entries[-1]].items() if key not in ("arch", "channels")
    )
    return nets.draw(_built(*blocks.values()), arch, f"entry {entries[-1]}: {said}", blocks[entries[-1]]["channels"])


@cache
def composed(*overrides: str) -> Params:
    """The parameters that `dvc exp run -S OVERRIDE ...` would run with."""
    from dvc.utils.hydra import compose_and_dump

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        compose_and_dump(str(path), str(Path("conf").resolve()), None, "config", None, list(overrides))
        return config.load(path)


def _built(*blocks: dict) -> nn.Module:
    """The last block's net, which adopts the first's where it guides one."""
    net = models.outline(blocks[-1])
    if getattr(net, "adopts", False):
        net.adopt(models.outline(blocks[0]))  # type: ignore[operator]
    return net


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
