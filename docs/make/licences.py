"""docs/licences.md: what the data sets and packages are licensed under, from the code and the installed packages."""

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from denoiselab.data.readers.sources import ABOUT

FILES = sorted(path.name for path in Path().glob("requirements*.txt"))[::-1]  # the pipeline's own first
CUDA = ("nvidia-", "cuda-", "triton")  # what torch brings on a machine with a GPU
OSI = "License :: OSI Approved :: "
NAMES = {  # of classifiers and long fields, as SPDX has them
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
GRANTS = {"Permission is hereby granted, free of charge": "MIT", "Apache License": "Apache-2.0"}  # in a licence's text


def page() -> str:
    """The whole of docs/licences.md."""
    data = [f"| `{name}` | {a.title} | {a.licence} | {a.citation} |" for name, a in ABOUT.items()]
    packages = [row for row in map(row_of, sorted(closure())) if row]
    return TEXT.format(data="\n".join(data), packages="\n".join(packages))


def row_of(name: str) -> str:
    """The line of an installed package; empty for what torch brings for a GPU."""
    if name.startswith(CUDA):
        return ""
    found = distribution(name)
    asked = [file for file in FILES if name in direct(file)]
    return f"| {found.metadata['Name']} | {licence(found)} | {asked[0] if asked else ''} |"


def licence(found: Distribution) -> str:
    """What a package's metadata says, in a few words. ValueError where it says nothing."""
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
        raise ValueError(f"{found.metadata['Name']}: its metadata name no licence")
    return granted[0]


def closure(files: list[str] | None = None) -> set[str]:
    """The names of all installed packages that the requirements bring."""
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
    """The packages that a requirements file names, with their extras."""
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    needs = [Requirement(line) for line in lines if line and not line.startswith(("#", "-r"))]
    return {canonicalize_name(need.name): frozenset(need.extras) for need in needs}


def _file(found: Distribution) -> str:
    """The text of its licence file."""
    listed = [file for file in found.files or [] if re.search(r"dist-info/(licenses/)?(LICEN[SC]E|COPYING)", str(file))]
    return listed[0].read_text() if listed else ""


TEXT = """# Licences

denoiselab is under the [MIT licence](../LICENSE), and so are [the weights that come with
it](models.md#released-weights). What it fetches and what it is built on has terms of its own. `python -m docs.make`
writes this page, from [data/readers/sources.py](../src/denoiselab/data/readers/sources.py) and the metadata of the
installed packages.

## Data

Nothing of this is in the repository; `fetch` prints the licence, and the report repeats it. Whether a licence of the
data reaches weights that were trained on it is not settled law: ask before you sell them.

| `data` | what | licence | cite |
|:--|:--|:--|:--|
{data}

Weights that an entry names by address, such as KAIR's `dncnn_25.pth` for `recipe=published_dncnn` (MIT, as its
repository), are fetched when it is run.

## Packages

All that the requirements bring, at the versions of [constraints.txt](../constraints.txt); the last column says which
file names a package itself. A torch built for CUDA also brings NVIDIA's libraries, under NVIDIA's terms.
albumentations stays at 2.0.8, the last version under the MIT licence: its successor is under the AGPL. Those under
the GPL or LGPL are used as they are, installed by you; nothing of them is in this repository.

| package | licence | named in |
|:--|:--|:--|
{packages}
"""
