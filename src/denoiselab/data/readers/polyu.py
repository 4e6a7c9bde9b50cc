"""PolyU: real noisy photographs and their clean references (means of many shots), 512x512 crops.

All crops of a scene are in the same split. Scenes are identified by the scene name in the file name alone, as some
(classroom, toy, plant, waterhouse) were photographed with several cameras or settings.
"""

import re

from denoiselab.config.data import Polyu
from denoiselab.data.manifest import Source
from denoiselab.data.readers.sources import Sources
from denoiselab.data.readers.splits import by_share
from denoiselab.runtime.errors import UserError

NAME = re.compile(r"(?P<camera>\w+?)_[\d-]+_\d+_\d+_(?P<scene>[A-Za-z]+)_+\d+")


def images(data: Polyu, sources: Sources) -> list[Source]:
    """The 100 pairs, grouped by scene."""
    folder = sources.unpacked("polyu", data.polyu) / "CroppedImages"
    pairs = {path.name.removesuffix("_mean.JPG"): path for path in sorted(folder.glob("*_mean.JPG"))}
    scenes = {}
    for name in pairs:
        if not (match := NAME.fullmatch(name)):
            raise UserError(f"data polyu: {name}: the name contains no scene")
        scenes[name] = match["scene"]
    splits = by_share(scenes.values(), data.split, data.seed)
    return [
        Source(
            name,
            splits[scenes[name]],
            "",
            path,
            group=scenes[name],
            sets=("PolyU",) if splits[scenes[name]] == "test" else (),
            noisy=path.with_name(f"{name}_real.JPG"),
            source="polyu",
        )
        for name, path in pairs.items()
    ]
