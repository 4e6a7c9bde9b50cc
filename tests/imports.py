"""Which files of the project a module imports, found by reading them: for the test of dvc.yaml's deps."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
PLACES = {"denoiselab": ROOT / "src" / "denoiselab", "pipeline": ROOT / "pipeline"}


def walk(start: Path) -> set[str]:
    """Paths, relative to the root, of `start` and every project file it imports, at whatever depth."""
    found: set[Path] = set()
    left = [start]
    while left:
        path = left.pop()
        if path not in found:
            found.add(path)
            left += _imported(path)
    return {path.relative_to(ROOT).as_posix() for path in found}


def _imported(path: Path) -> list[Path]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    files = []
    for name in names:
        parts = name.split(".")
        if parts[0] in PLACES:
            for depth in range(1, len(parts) + 1):  # importing a.b.c runs a/__init__.py, too
                files += _file(parts[:depth])
    return files


def _file(parts: list[str]) -> list[Path]:
    stem = PLACES[parts[0]].joinpath(*parts[1:])
    return [path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()]
