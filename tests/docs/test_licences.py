"""docs/licences.md: every data set and every package that is installed, with the licence it states."""

from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from denoiselab.data.readers.sources import ABOUT
from docs.make import licences
from tests.conftest import ROOT


@pytest.fixture(scope="module", autouse=True)
def root():
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        yield


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs/licences.md").read_text(encoding="utf-8")


def test_every_data_set_is_listed_with_its_licence(page):
    for name, about in ABOUT.items():
        assert f"| `{name}` | {about.title} | {about.licence} | {about.citation} |" in page, "python -m docs.make"


def test_every_installed_package_is_listed_with_its_licence(page):
    rows = [row for row in map(licences.row_of, licences.closure()) if row]
    assert len(rows) > 100
    assert not [row for row in rows if row not in page], "python -m docs.make"


def test_what_the_requirements_name_is_among_them(page):
    listed = {canonicalize_name(line.split(" ")[1]) for line in page.splitlines() if line.startswith("| ")}
    for file in licences.FILES:
        assert not licences.direct(file).keys() - listed, "python -m docs.make"


def test_optional_packages_are_listed_and_those_for_files_pinned(page):
    extras = [name for file in ("raw", "heic", "spandrel") for name in licences.direct(f"requirements/{file}.txt")]
    assert {*extras} == {*licences.OPTIONAL} and all(f"| {name} | " in page for name in extras), "python -m docs.make"
    pinned = {canonicalize_name(line.partition("==")[0]) for line in Path("constraints.txt").read_text().splitlines()}
    assert {"pillow-heif", "rawpy"} <= pinned


@pytest.mark.parametrize(("name", "stated"), [("pytest", "MIT"), ("dvc", "Apache-2.0"), ("scipy", "BSD")])
def test_licences_are_those_of_the_metadata(name, stated):
    assert licences.licence(licences.distribution(name)).startswith(stated)
