"""`make docs`: the site is built without a warning, holds every page, and asks for nothing outside itself."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from docs.make import docstrings, hooks
from tests.conftest import ROOT

LOADING = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "object": "data"}


class Loaded(HTMLParser):
    """What a page loads by itself, and where it leads."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if address := found.get(LOADING.get(tag, "")):
            self.loaded.append(address)
        if tag == "a" and (address := found.get("href")):
            self.links.append(address)


def read(page: Path) -> Loaded:
    parser = Loaded()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_every_page_is_in_the_site_and_in_its_navigation(site):
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert (site / f"{page.stem}.html").is_file()
        assert f": {page.name}\n" in navigation
    assert (site / "CONTRIBUTING.html").is_file() and (site / "reports/report.html").is_file()


@pytest.mark.slow
def test_no_page_asks_for_anything_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        loaded = read(page).loaded
        assert not [address for address in loaded if re.match(r"(https?:)?//", address)], page
    for style in site.rglob("*.css"):
        assert not re.findall(r"url\(\s*['\"]?(?:https?:)?//", style.read_text(encoding="utf-8")), style


@pytest.mark.slow
def test_what_pages_load_and_lead_to_is_there(site):
    for page in site.rglob("*.html"):
        if page.name == "404.html":  # its addresses are those of the server's root
            continue
        found = read(page)
        for address in found.loaded + found.links:
            path = unquote(address.partition("#")[0].partition("?")[0])
            if path and not re.match(r"[a-z]+:", path):
                assert (page.parent / path).resolve().exists(), (page, address)


@pytest.mark.slow
def test_the_api_page_has_signatures_and_docstrings(site):
    text = (site / "api.html").read_text(encoding="utf-8")
    assert (
        'id="denoiselab.models.tiled_inference.restore"' in text
        and 'id="denoiselab.metrics.image_quality.psnr"' in text
    )
    assert "models/&lt;name&gt;/" in text  # not a tag


@pytest.mark.parametrize(
    ("text", "shown"),
    [("models/<name>/", "models/&lt;name>/"), ("`a < b` < c", "`a < b` &lt; c"), ("plain", "plain")],
)
def test_angles_in_docstrings_are_text(text, shown):
    assert docstrings.escaped(text) == shown


def test_links_out_of_docs_lead_to_the_files_place_in_the_site():
    assert hooks.site_path("docs/scaling.md") == "scaling.md"
    assert hooks.site_path("reports/report.md") == "reports/report.md"
    assert hooks.site_path("src/denoiselab/noise/synthesis.py") == "src/denoiselab/noise/synthesis.py.md"
    assert hooks.site_path("README.md") == "readme.md"


def test_links_between_files_are_found_in_every_form(tmp_path):
    (tmp_path / "docs").mkdir()
    for name in ("a.png", "b.md", "c.csv"):
        (tmp_path / name).touch()
    page = '![x](../a.png) [y](../b.md#part) <img src="../c.csv"> [z](https://example.org/d.md) [gone](../e.md) [f](#g)'
    (tmp_path / "docs/p.md").write_text(page, encoding="utf-8")
    assert hooks.linked_files(tmp_path, "docs/p.md") == ["a.png", "b.md", "c.csv"]
