"""FFHQ from a zip file or folder that the user provides: it has no direct download address."""

import zipfile
from pathlib import Path

from denoiselab.config.data import Archive, Ffhq
from denoiselab.data.manifest import Source
from denoiselab.data.readers.folder import split
from denoiselab.data.readers.sources import Sources
from denoiselab.runtime.errors import UserError

HOW = (
    "FFHQ has no direct download address. Get images1024x1024 or thumbnails128x128 from "
    "github.com/NVlabs/ffhq-dataset (licence CC BY-NC-SA 4.0), then set -S data.path=FOLDER or FILE.zip"
)


def images(data: Ffhq, sources: Sources) -> list[Source]:
    """All images of the zip or folder `data.path`. UserError with instructions if it does not exist."""
    path = Path(data.path)
    if not path.exists():
        raise UserError(f"data.path: {path} does not exist. {HOW}")
    if zipfile.is_zipfile(path):
        path = sources.unpacked("ffhq", Archive(url=str(path.resolve()), sha256=None))
    else:
        sources.own("ffhq")
    return split(data, path, "ffhq", where=f"data.path: {data.path}: ")
