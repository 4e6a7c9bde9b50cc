"""Diagram of the pipeline, drawn from dvc.yaml: stages with their inputs, outputs and parameters."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from docs.make.svg import BLUE, FAINT, Sheet

COLUMN, LEFT, TOP = 214, 24, 72
STAGE, PARAMS, LINE = 46, 15, 14  # heights of a stage, a parameter and a path
FILLS = {"DVC": "#fbe3b6", "Git": "#c9ebdf"}
KEPT = {"DVC": "stored in DVC's cache", "Git": "stored in Git"}
CODE = ("src/", "pipeline/", "${data.watch}")
NEEDS = "${item.needs}"  # the dependencies of an entry of params.yaml
ANY = "M"  # stands for a model in commands and paths


@dataclass
class Stage:
    name: str
    command: str
    reads: list[str]
    params: list[str]
    writes: dict[str, str] = field(default_factory=dict)  # storage ("DVC" or "Git") by path


def stages() -> list[Stage]:
    """The stages in the order of dvc.yaml."""
    tree, params = (yaml.safe_load(Path(name).read_text(encoding="utf-8")) for name in ("dvc.yaml", "params.yaml"))
    needs = sorted({entry["needs"] for entry in params["models"].values()})
    return [_stage(name, block, needs) for name, block in tree["stages"].items()]


def _stage(name: str, block: dict[str, Any], needs: list[str]) -> Stage:
    each, body = "foreach" in block, block.get("do", block)
    found = Stage(
        f"{name}@{ANY}" if each else name,
        _generic(body["cmd"]),
        [
            path
            for dep in body["deps"]
            if not dep.startswith(CODE)
            for path in (needs if dep == NEEDS else [_generic(dep)])
        ],
        [_generic(param) for param in body.get("params", [])],
    )
    for output in body.get("outs", []) + body.get("metrics", []) + body.get("plots", []):
        path, options = next(iter(output.items())) if isinstance(output, dict) else (output, {})
        found.writes[_generic(path)] = "Git" if options.get("cache") is False else "DVC"
    return found


def _generic(text: str) -> str:
    return text.replace("${key}", ANY).replace("${item.arch}", "ARCH")


def reads(stage: Stage, path: str) -> bool:
    """Whether the stage depends on `path` or on a folder that contains it."""
    return any(path == dep or path.startswith(f"{dep}/") for dep in stage.reads)


def picture() -> str:
    """The diagram as SVG: one column per stage, lanes for its outputs, and dots where later stages read them."""
    sheet, columns = Sheet(), stages()
    sheet.text(LEFT, 26, "The pipeline, as defined in dvc.yaml", size=17, bold=True)
    note = f"{ANY}: one stage per model of params.yaml. Gray: parameters that a stage depends on."
    sheet.text(LEFT, 48, note, colour=FAINT)
    for n, stage in enumerate(columns):
        _column(sheet, _x(n), stage)
    y = TOP + STAGE + PARAMS * max(len(stage.params) for stage in columns) + 30.0
    lowest: dict[int, float] = {}  # lower end of each stage's input line
    for n, stage in enumerate(columns):
        for paths, kept in _lanes(stage, columns[n + 1 :]):
            readers = [m for m, other in enumerate(columns) if m > n and reads(other, paths[0])]
            lines = _lines(paths)
            y += _lane(sheet, _x(n), y, lines, kept, [_bus(m) for m in readers]) + 12
            lowest |= {m: y - 12 - (LINE * len(lines) + 10) / 2 for m in readers}
    for n, end in lowest.items():
        sheet.line([(_bus(n), end), (_bus(n), TOP + STAGE)], BLUE)
    x = float(LEFT)
    for kept, text in KEPT.items():
        sheet.box(x, y + 12, 26, 14, FILLS[kept])
        sheet.text(x + 34, y + 19, text, size=11.5)
        x += 200
    sheet.line([(x, y + 19), (x + 26, y + 19)], BLUE, head=False)
    sheet.dot(x + 26, y + 19, BLUE)
    sheet.text(x + 36, y + 19, "read by the stage above the dot", size=11.5)
    return sheet.written(
        _x(len(columns)), round(y + 40), "The pipeline's stages from fetch to compare, with their inputs and outputs"
    )


def _x(column: int) -> float:
    return LEFT + COLUMN * column


def _bus(column: int) -> float:
    """x of a stage's input line."""
    return _x(column) + 8


def _column(sheet: Sheet, x: float, stage: Stage) -> None:
    width = COLUMN - 26
    sheet.box(x, TOP, width, STAGE, "#cfe3f2", title=stage.command)
    sheet.text(x + width / 2, TOP + 16, stage.name, size=14, anchor="middle", bold=True)
    sheet.text(x + width / 2, TOP + 34, stage.command, size=10, anchor="middle")
    for n, name in enumerate(stage.params):
        sheet.text(x + 18, TOP + STAGE + 16 + PARAMS * n, name, size=10.5, colour=FAINT)


def _lane(sheet: Sheet, x: float, y: float, lines: list[str], kept: str, dots: list[float]) -> float:
    """Draw a box of paths and a line to the stages that read them. Returns the height of the box."""
    height, width = LINE * len(lines) + 10, COLUMN - 26
    if dots:
        sheet.line([(x + width, y + height / 2), (dots[-1], y + height / 2)], BLUE, head=False)
    for dot in dots:
        sheet.dot(dot, y + height / 2, BLUE)
    sheet.box(x, y, width, height, FILLS[kept])
    for n, line in enumerate(lines):
        sheet.text(x + (16 if n else 7), y + 5 + LINE * (n + 0.5), line, size=10.5)
    return height


def _lines(paths: list[str]) -> list[str]:
    """A single path, or the folder of several paths followed by the names in it."""
    if len(paths) == 1:
        return paths
    folder = paths[0].rpartition("/")[0]
    return [f"{folder}/", *(path.removeprefix(f"{folder}/") for path in paths)]


def _lanes(stage: Stage, later: list[Stage]) -> list[tuple[list[str], str]]:
    """Outputs of a stage, grouped by storage, readers and folder."""
    groups: dict[tuple[str, tuple[bool, ...], str], list[str]] = {}
    for path, kept in stage.writes.items():
        readers = tuple(reads(other, path) for other in later)
        groups.setdefault((kept, readers, path.rpartition("/")[0]), []).append(path)
    return [(paths, kept) for (kept, _, _), paths in groups.items()]
