"""The report for papers: the table in LaTeX, the references in BibTeX, the plots as vector graphics."""

import re
import shutil
import subprocess
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
import yaml

from denoiselab import architectures, report
from denoiselab.architectures import classical
from denoiselab.comparison import published_results
from denoiselab.data import noisy_sets
from denoiselab.data.readers.sources import ABOUT
from denoiselab.report import latex, references
from denoiselab.runtime import paths
from denoiselab.runtime.errors import UserError
from pipeline import figures
from tests.conftest import ROOT

YEAR = re.compile(r"\b(?:19|20)\d\d\b")
BIB = references.FILE.read_text(encoding="utf-8")
SET = "my_photos 100% & {x} $1 #2 ~^\\"


def braces(text: str) -> int:
    """Depth at the end; fails where a brace closes that was not opened."""
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if brace == "{" else -1
        assert depth >= 0, text
    return depth


@pytest.fixture
def written(finished, monkeypatch):
    """Working directory with the report of two classical methods on photos."""
    root, params = finished
    monkeypatch.chdir(root)
    if not paths.COMPARISON_TEX.exists():
        report.write(params)
    return params


@pytest.fixture
def tex(written) -> str:
    """comparison.tex of the rows of comparison.csv, with a name full of special characters and a failed output."""
    table = pd.read_csv(paths.COMPARISON)
    table.loc[table.model == "noisy", "psnr_mean"] = np.nan
    conditions = {name: noisy_sets.read(paths.NOISY, name) for name in noisy_sets.names(paths.NOISY)}
    return latex.tables(written, table.assign(set=SET), conditions, ["bsds500"])


def test_every_table_is_balanced_and_its_names_are_escaped(tex):
    assert braces(tex) == 0
    begun, ended = (re.findall(rf"\\{word}\{{(\w+)\}}", tex) for word in ("begin", "end"))
    assert begun == ["table", "tabular"] * 3 and ended == ["tabular", "table"] * 3
    assert r"my\_photos 100\% \& \{x\} \$1 \#2 \textasciitilde{}\textasciicircum{}\textbackslash{}" in tex
    for line in tex.splitlines()[2:]:
        plain = re.sub(r"\\label\{[A-Za-z0-9:-]+\}|\\cite\{[\w,]+\}", "", line)
        assert not re.search(r"(?<!\\)[_%$#^]|[^\x20-\x7e]", plain), line
    for row in re.findall(r"\\midrule\n(.*?)\\bottomrule", tex, re.DOTALL):
        assert {len(re.findall(r"(?<!\\)&", line)) for line in row.strip().splitlines()} == {3}
    assert tex.count(r"noisy & -- &") == 3


def test_the_cells_are_those_of_the_table(written):
    text, table = paths.COMPARISON_TEX.read_text(encoding="utf-8"), pd.read_csv(paths.COMPARISON)
    for (_, condition), own in table.groupby(["set", "condition"]):
        (part,) = (part for part in text.split(r"\begin{table}") if f"folder-{condition}}}" in part)
        first, second = own.sort_values("psnr_mean").iloc[[-1, -2]].itertuples()
        for row, mark in ((first, "textbf"), (second, "underline")):
            interval = f"[{row.psnr_low:.2f}, {row.psnr_high:.2f}]"
            assert re.search(
                rf"\n    {row.model} & \\{mark}\{{{row.psnr_mean:.2f}\}} \{{\\scriptsize {re.escape(interval)}\}}", part
            )
        assert len(re.findall(r"\\textbf", part)) == len(re.findall(r"\\underline", part)) == 2, "PSNR and SSIM"
        assert first.protocol_sha256 in part and f"({first.n_images} images)" in part


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_the_table_compiles(tex, tmp_path):
    (tmp_path / "references.bib").write_text(BIB, encoding="utf-8")
    head = r"\documentclass{article}\usepackage{booktabs}\begin{document}"
    end = r"\bibliographystyle{plain}\bibliography{references}\end{document}"
    (tmp_path / "paper.tex").write_text(f"{head}\n{tex}\n{end}\n", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    for words in (command, ["bibtex", "paper"], command):
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_every_entry_of_the_bibliography_is_well_formed():
    entries = BIB.split("\n\n")[1:]
    assert len(entries) == BIB.count("\n@") == len(references._entries())
    keys = []
    for entry in entries:
        first, *fields, last = entry.strip().splitlines()
        assert re.fullmatch(r"@(article|inproceedings|misc|techreport)\{[a-z0-9]+,", first) and last == "}"
        assert all(re.fullmatch(r"  [a-z]+ = \{.+\},", field) and braces(field) == 0 for field in fields), entry
        names = [field.split(" = ")[0].strip() for field in fields]
        assert len({*names}) == len(names) and {"author", "title", "keywords"} <= {*names}
        assert entry.isascii(), "BibTeX sorts bytes"
        keys.append(first)
    assert len({*keys}) == len(keys)


def surnames(name: str) -> list[str]:
    """First authors of the entries for a name."""
    found = [match[0] for match in references._entries() if name in references._named(match)]
    authors = (re.search(r"author = \{(.*)\},\n", entry)[1].partition(",")[0] for entry in found)
    return [re.sub(r"\{\\.|[{}]", "", author) for author in authors]


def cited() -> dict[str, str]:
    """Text with a citation, by name: data sources, architectures, classical methods, published methods."""
    data = {name: about.citation for name, about in ABOUT.items() if about.citation != "none"}
    nets = {name: import_module(f"denoiselab.architectures.{name}").__doc__ for name in architectures.known()}
    return data | {name: text for name, text in nets.items() if YEAR.search(text)}


@pytest.mark.parametrize("name", cited())
def test_what_cites_a_paper_has_it_in_the_bibliography(name):
    found = surnames(name)
    assert found, f"references.bib has no entry with the keyword {name}"
    assert all(author in cited()[name] for author in found)


def test_published_and_classical_methods_are_in_the_bibliography():
    papers = {"bilateral": "Tomasi", "nlm": "Buades", "tv": "Chambolle", "wavelet": "Chang"}
    assert papers.keys() <= {*classical.METHODS}
    for name, author in papers.items():
        assert surnames(name) == [author]
    assert all(references.keys(one.method) for one in published_results.read())


def test_every_keyword_stands_for_something():
    known = {*ABOUT, *architectures.known(), *classical.METHODS, *(one.method for one in published_results.read())}
    used = {name for match in references._entries() for name in references._named(match)}
    assert used - {references.PROJECT} <= known


def test_the_project_is_cited_as_in_its_citation_file(params):
    stated = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    entry = references.used(params, [], []).split("\n\n")[0]
    assert f"title = {{{stated['title']}}}" in entry and f"Version {stated['version']}}}" in entry
    assert f"{{{{{stated['authors'][0]['name']}}}}}" in entry and "keywords" not in entry


def test_the_references_are_those_of_the_run(params):
    (swinir, *_) = (one for one in published_results.read() if one.method == "SwinIR")
    text = references.used(params, ["embedded"], [swinir])
    found = set(re.findall(r"^@\w+\{(\w+),", text, re.MULTILINE))
    nets = {"zhang2017dncnn", "ronneberger2015unet", "zhang2021dpir", "zhang2018ffdnet"}
    classics = {"tomasi1998bilateral", "buades2005nlm", "chambolle2004tv", "chang2000wavelet"}
    assert found == {"denoiselab", "scharstein2014middlebury", "liang2021swinir"} | nets | classics


@pytest.mark.parametrize(("form", "begins"), [("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_plots_are_drawn_as_vector_graphics_and_always_the_same(form, begins, written, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in paths.FIGURES.iterdir()}
    monkeypatch.setattr("sys.argv", ["figures", form])
    monkeypatch.setattr("denoiselab.config.load", lambda: written)
    contents = []
    for _ in range(2):
        figures.main()
        contents.append({path.name: path.read_bytes() for path in paths.VECTOR_FIGURES.iterdir()})
    assert contents[0] == contents[1] and all(content.startswith(begins) for content in contents[0].values())
    plots = {path.stem for path in paths.FIGURES.iterdir()} - {path.stem for path in paths.FIGURES.glob("pairs-*")}
    plots |= {path.stem for path in paths.TRADEOFFS.glob("*.svg")}
    assert {*contents[0]} == {f"{name}.{form}" for name in plots} and "levels-psnr" in plots
    assert {path: path.stat().st_mtime_ns for path in paths.FIGURES.iterdir()} == before, (
        "the report's own are untouched"
    )


def test_other_formats_are_refused(monkeypatch):
    monkeypatch.setattr("sys.argv", ["figures", "eps"])
    with pytest.raises(UserError, match="eps: choose from: pdf, svg"):
        figures.main()
