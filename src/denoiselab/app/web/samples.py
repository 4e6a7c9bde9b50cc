"""Sample photos from scikit-image and scikit-learn; no released model was trained on them."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from denoiselab.runtime.errors import UserError


@dataclass(frozen=True)
class Sample:
    """A photo and its place in its package."""

    title: str
    package: str
    inside: str
    credit: str  # public domain or CC0 unless stated

    @property
    def path(self) -> Path:
        """UserError if the file is missing."""
        spec = find_spec(self.package)
        file = Path((spec.submodule_search_locations or [""])[0] if spec else "") / self.inside
        if not file.is_file():
            raise UserError(f"{self.inside} is missing from the package {self.package}; reinstall {self.package}")
        return file


SAMPLES: dict[str, Sample] = {
    "astronaut": Sample("Astronaut", "skimage", "data/astronaut.png", "NASA"),
    "cat": Sample("Cat", "skimage", "data/chelsea.png", "Stefan van der Walt"),
    "temple": Sample("Temple", "sklearn", "datasets/images/china.jpg", "danielbuechele, CC BY 2.0"),
    "rocket": Sample("Rocket", "skimage", "data/rocket.jpg", "SpaceX"),
    "galaxies": Sample("Galaxies", "skimage", "data/hubble_deep_field.jpg", "NASA"),
    "camera": Sample("Camera, gray", "skimage", "data/camera.png", "Lav Varshney"),
    "cell": Sample("Cell, gray", "skimage", "data/cell.png", "Paul Müller and others"),
}
