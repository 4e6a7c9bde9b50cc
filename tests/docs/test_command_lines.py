"""Every command line in the documentation exists: modules, targets, commands, stages, options, settings, test files.

Nothing is run. Placeholders are in capitals (NAME), in angle brackets, or dots.
"""

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
import typer
import yaml
from dvc.utils.hydra import load_hydra_plugins
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from denoiselab import architectures
from denoiselab.app import cli
from denoiselab.runtime.errors import UserError
from docs.make import transcripts
from tests.conftest import ROOT, composed

CONF = ROOT / "conf"
OWN = ("bench", "denoiselab", "docs", "pipeline", "tests")
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "reports").rglob("*.md"),
        *(ROOT / "models/released").glob("*/README.md"),
    ]
)
FENCE = re.compile(r"^ *```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
SEPARATORS = {"&&", "||", "|", ";", "(", ")", "<", ">", "<<", "&"}
ASSIGNMENT = re.compile(r"[A-Z_]+=")
PLACEHOLDER = re.compile(r"[A-Z][A-Z_]*|.*[<>…].*|.*\.\.\..*|[$].*")


@dataclass(frozen=True)
class Page:
    text: str
    writes: frozenset[str] = field(default_factory=frozenset)  # the files that a reader writes, as the page says


def read(path: Path) -> Page:
    text = path.read_text(encoding="utf-8")
    if path.name == "CHANGELOG.md":
        text = "".join(re.split(r"^(?=## )", text, flags=re.MULTILINE)[:2])  # the newest version
    return Page(text, frozenset(re.findall(r'^```\w+ title="([^"]+)"$', text, re.MULTILINE)))


def lines(text: str) -> Iterator[str]:
    """Shell lines of the code blocks, and code spans."""
    for block in FENCE.finditer(text):
        joined = block["text"].replace("\\\n", " ").splitlines()
        if block["language"] == "sh":
            yield from joined
        elif block["language"] == "console":
            yield from (line[2:] for line in joined if line.startswith("$ "))
    yield from re.findall(r"`([^`]+)`", FENCE.sub("", text))


def commands(line: str) -> Iterator[list[str]]:
    """The words of each command of a line, without assignments before it."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:  # an apostrophe in what is no shell
        words = line.split()
    command: list[str] = []
    for word in [*words, ";"]:
        if word in SEPARATORS:
            if command:
                yield command
            command = []
        elif command or not ASSIGNMENT.match(word):
            command.append(word)


def complaints(page: Page) -> list[str]:
    """What the page shows that does not exist."""
    found = []
    for line in dict.fromkeys(lines(page.text)):
        for words in commands(line.strip()):
            found += [f"{line.strip()}: {wrong}" for wrong in _wrong(words, page)]
    return found


def _wrong(words: list[str], page: Page) -> Iterator[str]:
    name = words[0].removeprefix(".venv/bin/")
    if name == "make":
        yield from _make(words[1:])
    elif name == "denoiselab":
        yield from _denoiselab(words[1:])
    elif name in ("python", "python3") and words[1:2] == ["-m"]:
        yield from _module(words[2:])
    elif name == "pytest":
        yield from _pytest(words[1:])
    elif words[:2] == ["dvc", "repro"]:
        yield from _stages(words[2:])
    elif words[:3] == ["dvc", "exp", "run"]:
        yield from _settings(_set(words), page, whole=True)
    elif name == "-S":
        yield from _settings(_set(words), page)
    elif all(re.fullmatch(r"(\w+)=[\w/]+", word) and (CONF / word.split("=")[0]).is_dir() for word in words):
        yield from _settings(words, page)


def _make(words: list[str]) -> Iterator[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in words:
        variable, assigned, _ = word.partition("=")
        if assigned and f"$({variable})" not in makefile:
            yield f"no variable {variable} in the Makefile"
        if not assigned and not re.search(rf"^{re.escape(word)}:", makefile, re.MULTILINE) and not _open(word):
            yield f"no target {word} in the Makefile"


@cache
def _parsers() -> dict[str, typer.core.TyperCommand]:
    return typer.main.get_command(cli.app).commands


def _denoiselab(words: list[str]) -> Iterator[str]:
    if not words or words[0] in ("--help", "--version", "--install-completion", "--show-completion") or _open(words[0]):
        return
    if words[0] not in _parsers():
        yield f"no command {words[0]}"
        return
    known = {"--help", "-h", "--"}.union(*(p.opts + p.secondary_opts for p in _parsers()[words[0]].params))
    yield from _unknown(words[1:], known)


def _unknown(words: list[str], known: set[str]) -> Iterator[str]:
    for word in words:
        if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in known:
            yield f"no option {word}"


def _module(words: list[str]) -> Iterator[str]:
    name, *rest = words
    if _open(name) or _open(name.rpartition(".")[2]):
        return
    if name == "pytest":
        yield from _pytest(rest)
    elif (top := name.partition(".")[0]) not in OWN:
        if find_spec(top) is None:
            yield f"no module {top}"
    elif source := _source(name):
        yield from _unknown(rest, _options(source))
    else:
        yield f"no module {name} to run"


def _source(name: str) -> Path | None:
    base = (ROOT / "src" if name.startswith("denoiselab") else ROOT).joinpath(*name.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__main__.py") if path.is_file()), None)


@cache
def _options(source: Path) -> set[str]:
    """Of a module's argparse, and of a benchmark's `sizes(doc, argv, name=...)`."""
    found = {"--help", "-h"}
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called == "add_argument":
                found |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
            elif called == "sizes":
                found |= {"--quick", *(f"--{keyword.arg}" for keyword in node.keywords)}
    return found


def _pytest(words: list[str]) -> Iterator[str]:
    for word in words:
        path, _, test = word.partition("::")
        if not word.startswith("-") and ("/" in path or path.endswith(".py")) and not (ROOT / path).exists():
            yield f"no file {path}"
        elif test and f"def {test.partition('[')[0]}(" not in (ROOT / path).read_text(encoding="utf-8"):
            yield f"no test {test} in {path}"


def _stages(words: list[str]) -> Iterator[str]:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for word in words:
        stage, _, model = word.partition("@")
        if word.startswith("-") or _open(stage):
            continue
        if stage not in stages:
            yield f"no stage {stage} in dvc.yaml"
        elif model and not _open(model) and not (CONF / f"model/{model}.yaml").is_file():
            yield f"no model {model}"


def _set(words: list[str]) -> list[str]:
    return [after for word, after in pairwise(words) if word in ("-S", "--set-param")]


def _settings(settings: list[str], page: Page, *, whole: bool = False) -> Iterator[str]:
    """Of one experiment (`whole`), or of some that go with others."""
    overrides, made_here = [], False
    for setting in settings:
        key, equals, value = setting.partition("=")
        if _open(value) or _open(key):
            continue
        options = re.findall(r"[\w/]+", value) if (CONF / key).is_dir() else []
        for option in options:
            path = f"conf/{key}/{option}.yaml"
            made_here |= path in page.writes
            if path not in page.writes and not (ROOT / path).is_file():
                yield f"no file {path}"
                return
        if not equals:
            yield f"{setting} sets nothing"
        elif not options and not whole and key not in _keys():
            yield f"no key {key} in any composition of conf/"
        overrides += [setting if value.startswith("[") or not options else f"{key}={options[0]}"]
    if whole and not made_here:
        yield from _refused(tuple(overrides))


@cache
def _composed(overrides: tuple[str, ...]) -> dict:
    load_hydra_plugins(str(CONF))
    with initialize_config_dir(str(CONF), version_base=None):
        return OmegaConf.to_container(compose("config", list(overrides)))


def _refused(overrides: tuple[str, ...]) -> Iterator[str]:
    try:
        for name, entry in composed(*overrides).models.items():
            architectures.check(entry.architecture(), where=f"models.{name}")
    except (HydraException, OmegaConfBaseException, UserError) as error:
        yield str(error).partition("\n")[0]


@cache
def _keys() -> set[str]:
    """Every key that some data set, model or training option has."""
    entries = [path.stem for path in (CONF / "model").glob("*.yaml") if "\narch: " in path.read_text(encoding="utf-8")]
    compositions = [(f"data={path.stem}", "model=noisy") for path in (CONF / "data").glob("*.yaml")]
    found: set[str] = set()
    for overrides in [*compositions, (f"model=[{','.join(entries)}]",)]:
        found |= set(_paths(_composed(overrides)))
    training = [key.removeprefix("train.") for key in found if key.startswith("train.")]
    return found | {f"models.{model}.{key}" for model in entries for key in training}


def _paths(block: dict, before: str = "") -> Iterator[str]:
    for key, value in block.items():
        yield f"{before}{key}"
        if isinstance(value, dict):
            yield from _paths(value, f"{before}{key}.")


def _open(word: str) -> bool:
    """Whether it stands for something else."""
    return not word or PLACEHOLDER.fullmatch(word) is not None


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_command_lines_of_a_page_exist(path):
    assert complaints(read(path)) == []


def test_the_pages_have_command_lines_of_every_kind():
    shown = {" ".join(words[:2]) for path in PAGES for line in lines(read(path).text) for words in commands(line)}
    assert {"make repro", "python -m", "denoiselab denoise", "dvc repro", "dvc exp", "-S model=unet"} <= shown
    assert set(transcripts.commands()) <= {
        words.partition(" ")[2] for words in shown if words.startswith("denoiselab ")
    }


WRONG = {
    "make reprodce": "no target reprodce",
    "make upgrade-check KEPT=torch": "no variable KEPT",
    "python -m bench.train_throughput": "no module bench.train_throughput",
    "python -m docs": "no module docs to run",
    "python -m nosuchpackage": "no module nosuchpackage",
    "python -m bench.train --model unet": "no option --model",
    "python -m pipeline.promote --backwards": "no option --backwards",
    "python -m pipeline.tune --fast": "no option --fast",
    ".venv/bin/denoiselab denoice a.png b.png": "no command denoice",
    "denoiselab denoise a.png b.png --modell colour": "no option --modell",
    "DENOISELAB_MIRROR=/m python -m pytest tests/test_gone.py -k x": "no file tests/test_gone.py",
    "pytest tests/docs/test_readme.py::test_gone": "no test test_gone",
    "dvc repro add_noise": "no stage add_noise",
    "dvc repro -f train@unett": "no model unett",
    "git pull && dvc exp run -S model=unett": "no file conf/model/unett.yaml",
    "dvc exp run -S 'model=[unet,nlmm]'": "no file conf/model/nlmm.yaml",
    "dvc exp run --queue -S 'noise=gaussian15,gaussian26'": "no file conf/noise/gaussian26.yaml",
    "dvc exp run -S models.unet.learning_rate=1": "models.unet: unknown key 'learning_rate'",
    "dvc exp run -S model=unet -S models.dncnn.lr=1": "models.dncnn.arch: missing",
    "-S train=huge": "no file conf/train/huge.yaml",
    "-S patches.width=3": "no key patches.width",
    "train=huge": "no file conf/train/huge.yaml",
}


@pytest.mark.parametrize("line", WRONG)
@pytest.mark.parametrize("form", ["```sh\n{}\n```\n", "Run `{}` then.", "```console\n$ {}    # so\nsaid\n```\n"])
def test_a_wrong_command_line_is_found(line, form):
    (complaint,) = complaints(Page(form.format(line)))
    assert WRONG[line] in complaint


@pytest.mark.parametrize(
    "line",
    [
        "make upgrade-check TESTS=\"-m 'not slow'\"",
        ". .venv/bin/activate && make repro    # DVC's stages",
        "python -m bench.train --models unet --quick",
        "python -m bench.NAME",
        "denoiselab compare noisy.png --models colour,nlm | head",
        "python -m pytest tests/docs/test_readme.py::test_links_lead_somewhere -k 'not x'",
        "dvc repro evaluate@unet",
        "dvc exp run -S recipe=NAME -S data=folder -S data.path=/x",
        "-S data.noisy_suffix=_real",
    ],
)
def test_a_right_command_line_is_not(line):
    assert complaints(Page(f"```sh\n{line}\n```\n")) == []


def test_options_that_a_page_adds_are_known_there():
    page = Page("```sh\ndvc exp run -S model=edsr_small\n```\n", frozenset({"conf/model/edsr_small.yaml"}))
    assert complaints(page) == [] and complaints(Page(page.text)) != []
