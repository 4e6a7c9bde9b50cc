"""MkDocs' hooks: links from a page to files of the repository outside docs/ work in the site, too.

Pages link as a reader of the repository needs it, `../reports/report.md` say. What is linked or shown outside docs/
becomes part of the site under its own path: pages as pages, pictures and tables as files, code and settings as pages
that show them.
"""

import posixpath
import re
from collections.abc import Iterable
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# [text](target#anchor), ![text](target), src="target", href="target"
LINK = re.compile(r"""(?P<before>\]\(|\b(?:src|href)=")(?P<target>[^)"\s#:]+)(?P<anchor>#[^)"\s]*)?(?P<after>[)"])""")
CODE = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".txt": "text", ".toml": "toml", "": "text"}
DOCS = "docs/"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what pages outside docs/ there are in the navigation, what all pages link to, and what these link to."""
    root = Path(config.config_file_path).parent
    waiting = [f"{DOCS}{file.src_uri}" for file in files.documentation_pages()]
    waiting += [path for path in _listed(config.nav or []) if not (root / DOCS / path).exists()]
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        if not path.startswith(DOCS):
            files.append(_file(root, path, config))
        if path.endswith(".md"):
            linked = {place for place in linked_files(root, path) if not place.startswith(DOCS)}
            waiting += sorted(linked - seen)
            seen |= linked
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with its links between files of the repository as links between pages of the site."""
    root, own = Path(config.config_file_path).parent, _repository_path(page.file)
    if own is None:
        return markdown

    def moved(match: re.Match[str]) -> str:
        path = _resolved(own, match["target"])
        if not (root / path).is_file():
            return match[0]
        relative = posixpath.relpath(site_path(path), posixpath.dirname(page.file.src_uri) or ".")
        return f"{match['before']}{relative}{match['anchor'] or ''}{match['after']}"

    return LINK.sub(moved, markdown)


def linked_files(root: Path, path: str) -> Iterable[str]:
    """The files, as paths in the repository, that a page of it links to or shows."""
    text = (root / path).read_text(encoding="utf-8")
    found = (_resolved(path, match["target"]) for match in LINK.finditer(text))
    return [place for place in found if (root / place).is_file()]


def site_path(path: str) -> str:
    """Where a file of the repository is in the site, as MkDocs' source path."""
    if path.startswith(DOCS):
        return path.removeprefix(DOCS)
    if path == "README.md":  # which MkDocs would take for the start page
        return "readme.md"
    return f"{path}.md" if Path(path).suffix in CODE else path


def _file(root: Path, path: str, config: MkDocsConfig) -> File:
    place, source = site_path(path), root / path
    if place == f"{path}.md":
        language = CODE[source.suffix]
        text = f"# {path}\n\n`````{language}\n{source.read_text(encoding='utf-8')}\n`````\n"
        file = File.generated(config, place, content=text)
    else:
        file = File.generated(config, place, abs_src_path=str(source))
    file.repository_path = path  # type: ignore[attr-defined]
    return file


def _repository_path(file: File) -> str | None:
    """None for what is no file of the repository as it stands."""
    if file.generated_by is None:
        return f"{DOCS}{file.src_uri}"
    path = str(getattr(file, "repository_path", ""))
    return path if path.endswith(".md") else None


def _resolved(page: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), target))


def _listed(nav: object) -> list[str]:
    """The paths in the navigation."""
    if isinstance(nav, str):
        return [nav]
    values = nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else []
    return [path for value in values for path in _listed(value)]
