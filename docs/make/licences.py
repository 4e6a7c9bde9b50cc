"""docs/licences.md: licences of the data sets and packages, from the code and the metadata of installed packages."""

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from denoiselab.data.readers.sources import ABOUT

ROOT = Path(__file__).parents[2]
INSTALLED = ("denoise", "experiments", "page", "onnx", "scale", "raw", "heic", "dev")  # spandrel is not
FILES = [*(f"requirements/{name}.txt" for name in INSTALLED), "requirements.txt"]
CUDA = ("nvidia-", "cuda-", "triton")  # dependencies of torch on a machine with a GPU
OSI = "License :: OSI Approved :: "
NAMES = {  # SPDX identifiers of classifiers and of texts in the field License
    "MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "Historical Permission Notice and Disclaimer (HPND)": "HPND",
    "The Unlicense (Unlicense)": "Unlicense",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL",
    "Apache License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
    "MIT License (MIT)": "MIT",
}
OPTIONAL = {  # extras of pyproject.toml: licence, and what it is for; they need not be installed
    "pillow-heif": ("BSD-3-Clause; its wheels contain libheif and libde265 (LGPL-3.0) and x265 (GPL-2.0)", "HEIC"),
    "rawpy": ("MIT; its wheels contain LibRaw (LGPL-2.1 or CDDL-1.0)", "camera raw files"),
    "spandrel": ("MIT", "networks of `arch: spandrel`"),
    "torchvision": ("BSD-3-Clause", "spandrel"),
}
GRANTS = {"Permission is hereby granted, free of charge": "MIT", "Apache License": "Apache-2.0"}  # by phrase


def page() -> str:
    """The text of docs/licences.md."""
    data = [f"| `{name}` | {a.title} | {a.licence} | {a.citation} |" for name, a in ABOUT.items()]
    packages = [row for row in map(row_of, sorted(closure())) if row]
    optional = [f"| {name} | {stated} | {use} |" for name, (stated, use) in OPTIONAL.items()]
    return TEXT.format(data="\n".join(data), packages="\n".join(packages), optional="\n".join(optional))


def row_of(name: str) -> str:
    """Table row of an installed package; empty for torch's GPU dependencies."""
    if name.startswith(CUDA):
        return ""
    found = distribution(name)
    asked = [file for file in FILES if name in direct(file)]
    return f"| {found.metadata['Name']} | {licence(found)} | {asked[0] if asked else ''} |"


def licence(found: Distribution) -> str:
    """Licence of a package according to its metadata or licence file. ValueError if neither states one."""
    if expression := found.metadata.get_all("License-Expression"):
        return str(expression[0])
    classified = [c.removeprefix(OSI) for c in found.metadata.get_all("Classifier") or [] if c.startswith(OSI)]
    if classified:
        return " or ".join(NAMES.get(name, name) for name in classified)
    written = (found.metadata.get_all("License") or [""])[0].strip()
    if written and "\n" not in written:
        return NAMES.get(written, written)
    granted = [name for phrase, name in GRANTS.items() if phrase in " ".join((written or _file(found)).split())]
    if not granted:
        raise ValueError(f"{found.metadata['Name']}: no licence in its metadata")
    return granted[0]


def closure(files: list[str] | None = None) -> set[str]:
    """Names of all installed packages that the requirements need, directly or indirectly."""
    waiting = [(name, extras) for file in files or FILES for name, extras in direct(file).items()]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        seen.add((name, extras))
        for need in map(Requirement, needs):
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in extras | {""}):
                waiting.append((canonicalize_name(need.name), frozenset(need.extras)))
    return {name for name, _ in seen}


def direct(file: str) -> dict[str, frozenset[str]]:
    """The packages listed in a requirements file, with their extras."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    needs = [Requirement(line) for line in lines if line and not line.startswith(("#", "-r"))]
    return {canonicalize_name(need.name): frozenset(need.extras) for need in needs}


def _file(found: Distribution) -> str:
    """Text of the licence file of a package; empty if there is none."""
    listed = [file for file in found.files or [] if re.search(r"dist-info/(licenses/)?(LICEN[SC]E|COPYING)", str(file))]
    return listed[0].read_text() if listed else ""


TEXT = """# Licences

denoiselab and its [released weights](models.md#released-weights) are under the [MIT licence](../LICENSE), except
those of `real`, which are for non-commercial research only. The data sets it fetches and the packages it uses have
their own licences. `python -m docs.make` generates this page from
[data/readers/sources.py](../src/denoiselab/data/readers/sources.py) and the metadata of the installed packages.

## Data

The repository contains none of these data sets. `fetch` prints the licence, and the report repeats it. It is legally
unsettled whether the licence of a data set also applies to weights trained on it: seek advice before you sell weights.

| `data` | data set | licence | citation |
|:--|:--|:--|:--|
{data}

The table of cameras that `noise.camera` and `denoiselab noise --camera` use is in a repository under the GPL-3.0
(aurelienpierreeng/ansel-denoise, from the darktable project). It is downloaded when a camera is named.

Pre-trained weights that a model entry gives by URL are downloaded when the entry is used. Those of KAIR, BUIFD and
WINNet are under the MIT licence, like their repositories.

## Packages

All direct and indirect dependencies, at the versions of [constraints.txt](../constraints.txt); the last column gives
the file that lists a direct dependency. CUDA builds of torch also install NVIDIA's libraries, under NVIDIA's terms.
albumentations is pinned to 2.0.8, the last version under the MIT licence; its successor is under the AGPL. Packages
under the GPL or LGPL are used unmodified and installed by you; this repository contains none of their code.

| package | licence | listed in |
|:--|:--|:--|
{packages}

Optional packages (requirements/raw.txt, heic.txt and spandrel.txt):

| package | licence | for |
|:--|:--|:--|
{optional}
"""
