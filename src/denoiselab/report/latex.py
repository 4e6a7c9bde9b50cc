"""The report's tables as LaTeX, for papers: booktabs, best value bold, second best underlined, intervals, citations."""

import re
from collections.abc import Iterable, Sequence

import pandas as pd

from denoiselab.comparison.published_results import Published
from denoiselab.config import Params
from denoiselab.data import manifest, noisy_sets
from denoiselab.data.noisy_sets import Condition
from denoiselab.noise.describe import in_words
from denoiselab.report import references
from denoiselab.report.rendering import UNITS
from denoiselab.runtime import files, paths
from denoiselab.runtime.sanitize import printable

COLUMNS = {  # score: heading, whether higher is better
    "psnr": ("PSNR (dB)", True),
    "held_out": ("held-out pixels (dB)", True),
    "ssim": ("SSIM", True),
    "lpips": ("LPIPS", False),
}
SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}


def escape(text: object) -> str:
    """Text in which LaTeX sees no commands."""
    return "".join(SPECIAL.get(letter, letter) for letter in printable(text))


def write(params: Params, table: pd.DataFrame, published: Iterable[Published] = ()) -> None:
    """Write comparison.tex and references.bib; `published`: the published results that the report shows."""
    conditions = {name: noisy_sets.read(paths.NOISY, name) for name in noisy_sets.names(paths.NOISY)}
    sources = [*manifest.dataset(paths.RAW)["sources"]]
    files.write_text(paths.COMPARISON_TEX, tables(params, table, conditions, sources))
    files.write_text(paths.REFERENCES, references.used(params, sources, published))


def tables(params: Params, table: pd.DataFrame, conditions: dict[str, Condition], sources: Sequence[str]) -> str:
    """One `table` environment per test set and condition of comparison.csv, to be included in a paper."""
    head = [
        r"% Needs \usepackage{booktabs}; cite from references.bib.",
        f"% Data: {_cite(references.keys(*sources)) or 'no reference'}; program: {_cite([references.PROJECT])}",
    ]
    parts = [
        _table(params, own, conditions[str(condition)])
        for (_, condition), own in table.groupby(["set", "condition"], sort=False)
    ]
    return "\n\n".join(["\n".join(head), *parts]) + "\n"


def _table(params: Params, rows: pd.DataFrame, condition: Condition) -> str:
    scores = [score for score in COLUMNS if f"{score}_mean" in rows]
    rows = rows.sort_values(f"{scores[0]}_mean", ascending=False)
    marked = {score: _ranked(rows[f"{score}_mean"], COLUMNS[score][1]) for score in scores}
    set_name, images = str(rows.set.iloc[0]), int(rows.n_images.iloc[0])
    groups = "" if (n := int(rows.n_groups.iloc[0])) == images else f" of {n} groups"
    noise = in_words(condition.spec, params.data.depth)
    caption = (
        f"{escape(set_name)} ({images} image{'s' if images > 1 else ''}{groups}), {escape(noise)}: "
        f"means with bootstrap {100 * params.evaluate.confidence:g}\\,\\% intervals over "
        f"{'groups' if groups else 'images'}, best in bold, second best underlined. Protocol "
        f"\\texttt{{{escape(condition.protocol.name)}}} (\\texttt{{{condition.protocol.sha256}}})."
    )
    heads = ["model", *(COLUMNS[score][0] for score in scores), "parameters"]
    lines = [
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{caption}}}",
        f"  \\label{{tab:{re.sub('[^A-Za-z0-9]+', '-', f'{set_name}-{condition.name}')}}}",
        f"  \\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
        r"    \toprule",
        f"    {' & '.join(heads)} \\\\",
        r"    \midrule",
    ]
    for row in rows.to_dict("records"):
        cited = _cite(references.of_model(params, str(row["model"])))
        cells = [_cell(row, score, marked[score]) for score in scores]
        model = "~".join(filter(None, [escape(row["model"]), cited]))
        lines.append(f"    {' & '.join([model, *cells, format(row['parameters'], ',')])} \\\\")
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}"])


def _ranked(means: pd.Series, high: bool) -> list[float]:
    """The best and the second best value."""
    return sorted({*means.dropna()}, reverse=high)[:2]


def _cell(row: dict[str, float], score: str, ranked: list[float]) -> str:
    """A mean in the units of the tables, marked, with its interval (none for a single image)."""
    digits, scale = UNITS[score]
    mean, low, high = (scale * row[f"{score}_{part}"] for part in ("mean", "low", "high"))
    if mean != mean:
        return "--"
    text = f"{mean:.{digits}f}"
    for command, value in zip(("textbf", "underline"), ranked, strict=False):
        if row[f"{score}_mean"] == value:
            text = f"\\{command}{{{text}}}"
    return text if low != low else f"{text} {{\\scriptsize [{low:.{digits}f}, {high:.{digits}f}]}}"


def _cite(keys: Sequence[str]) -> str:
    return f"\\cite{{{','.join(keys)}}}" if keys else ""
