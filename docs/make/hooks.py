"""MkDocs hooks that make links to files outside docs/ work on the site.

Pages use links relative to the repository, such as `../reports/report.md`. Linked files outside docs/ are added to the
site under their paths: pages as pages, images and tables as files, code and settings as pages that show them.
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
    """Add the pages outside docs/ that are in the navigation, and all files that pages link to, recursively."""
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
    """Rewrite links between files of the repository to links between pages of the site."""
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
    """The files, as paths in the repository, that a page links to or shows."""
    text = (root / path).read_text(encoding="utf-8")
    found = (_resolved(path, match["target"]) for match in LINK.finditer(text))
    return [place for place in found if (root / place).is_file()]


def site_path(path: str) -> str:
    """MkDocs source path of a file of the repository."""
    if path.startswith(DOCS):
        return path.removeprefix(DOCS)
    if path == "README.md":  # MkDocs would use it as the start page
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
    """Path of a page in the repository; None for generated pages."""
    if file.generated_by is None:
        return f"{DOCS}{file.src_uri}"
    path = str(getattr(file, "repository_path", ""))
    return path if path.endswith(".md") else None


def _resolved(page: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), target))


def _listed(nav: object) -> list[str]:
    """All paths in the navigation."""
    if isinstance(nav, str):
        return [nav]
    values = nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else []
    return [path for value in values for path in _listed(value)]
