"""PolyU's real pairs: a noisy photograph and the mean of many of the same scene, 512x512 crops.

Crops of one scene are in one split. A scene is what the file name calls it, whatever the camera and its settings,
because some (classroom, toy, plant, waterhouse) were photographed with several.
"""

import re

from denoiselab.config.data import Polyu
from denoiselab.data.manifest import Source
from denoiselab.data.readers.sources import Sources
from denoiselab.data.readers.splits import by_share
from denoiselab.runtime.errors import UserError

NAME = re.compile(r"(?P<camera>\w+?)_[\d-]+_\d+_\d+_(?P<scene>[A-Za-z]+)_+\d+")


def images(data: Polyu, sources: Sources) -> list[Source]:
    """The 100 pairs; the scene is their group."""
    folder = sources.unpacked("polyu", data.polyu) / "CroppedImages"
    pairs = {path.name.removesuffix("_mean.JPG"): path for path in sorted(folder.glob("*_mean.JPG"))}
    scenes = {}
    for name in pairs:
        if not (match := NAME.fullmatch(name)):
            raise UserError(f"data polyu: {name}: no scene in the name")
        scenes[name] = match["scene"]
    places = by_share(scenes.values(), data.split, data.seed)
    return [
        Source(
            name,
            places[scenes[name]],
            "",
            path,
            group=scenes[name],
            sets=("PolyU",) if places[scenes[name]] == "test" else (),
            noisy=path.with_name(f"{name}_real.JPG"),
            source="polyu",
        )
        for name, path in pairs.items()
    ]
