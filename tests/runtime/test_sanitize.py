"""Hostile file and folder names are displayed as plain text everywhere."""

import csv
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoiselab import report
from denoiselab.app import cli, denoisers
from denoiselab.data import fetch
from denoiselab.report.figures import scores
from denoiselab.report.rendering import page
from denoiselab.runtime import paths
from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import markdown, printable, without_login
from tests import conftest
from tests.conftest import photograph, run_stages, small

HOSTILE = [
    "![x](figures", # with the next, an image in a folder of that name
    "a|b`c`",
    "<script>alert(1)<&script>",
    "[a](javascript:alert(1))",
    "$x^{2$ *b* _c_ ~~d~~ &lt;",
    "-rf",
    "\u202egnp.exe",
    "..a..",
]  # fmt: skip


class Elements(HTMLParser):
    """Tags and text of an HTML page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_unprintable_characters_are_escaped():
    assert printable("Grüße_1 (x).png") == "Grüße_1 (x).png"
    assert printable("a\nb\x1b[31m\u202e\udcff\u2028") == "a\\nb\\x1b[31m\\u202e\\udcff\\u2028"


@pytest.mark.parametrize("name", ["grace_hopper", "val/cat/pixabay_000491", "5.7 % of x, -3.95 dB (of 60)", "ä.png"])
def test_ordinary_names_are_unchanged_in_markdown(name):
    assert markdown(name) == name


@pytest.mark.parametrize("name", [*HOSTILE, "a\n\n# b", "a\r| b |", "*a*", "_a_", "\\*a*", "`", "https://a.b/c", "a\0"])
def test_names_are_plain_text_in_the_report(name):
    plain = Elements(page("# Q\n\n**x, y**\n\n> **Alarm: a:** x on x.\n\n| a | b |\n|:--|--:|\n| x | 1 |\n"))
    text = "# Q\n\n**{0}, y**\n\n> **Alarm: a:** x on {0}.\n\n| a | b |\n|:--|--:|\n| {0} | 1 |\n".format(
        markdown(name)
    )
    made = Elements(page(text))
    assert made.tags == plain.tags
    assert made.text.count(printable(name)) == plain.text.count(printable(name)) + 3


@pytest.mark.slow
def test_hostile_names_pass_all_stages_and_are_plain_text_in_the_report(tmp_path, monkeypatch):
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(12):
        (folder / HOSTILE[0]).mkdir(exist_ok=True)
        name = f"{HOSTILE[n % len(HOSTILE)]}{n}" if n else f"{HOSTILE[0]}/{n}.png)"
        crop = photograph(("astronaut", "chelsea", "coffee", "motorcycle_left")[n % 4])[9 * n : 9 * n + 96, :128]
        Image.fromarray(crop).save(folder / f"{name}.png")
    params = small(folder, "data.drop_leaks=true")
    run_stages(tmp_path, params)
    monkeypatch.chdir(tmp_path)
    report.write(params)
    text = paths.REPORT_MD.read_text(encoding="utf-8")
    made = Elements(paths.REPORT_HTML.read_text(encoding="utf-8"))
    assert all(map(str.isprintable, text.split("\n")))
    images = re.findall(r"(?<!\\)!\[[^]]*?\]\(([^)]*)\)", text)
    assert images and all((paths.REPORT_MD.parent / name).is_file() for name in images)
    assert made.tags.count("script") == 2 and "javascript:" not in re.sub(r"[^<]*<", "", made.text)
    with (paths.evaluation("median") / "per_image.csv").open(newline="", encoding="utf-8") as handle:
        tested = {row["image"] for row in csv.DictReader(handle)}
    assert tested <= {file.relative_to(folder).as_posix() for file in folder.rglob("*")}


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\x1b[31m", b"a\xff".decode("utf-8", "surrogateescape")])
def test_fetch_refuses_names_with_control_characters(tmp_path, monkeypatch, name):
    folder = tmp_path / "photos"
    conftest.many_photos(folder)
    (folder / "astronaut-0.png").rename(folder / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with pytest.raises(UserError, match="a name with a control character, or that is not UTF-8") as error:
        fetch.fetch(small(folder).data, tmp_path / "raw")
    assert str(error.value).isprintable()


def test_class_names_are_plain_text_in_figures(tmp_path):
    import pandas as pd

    classes = ["$\\frac$", "a$b$", "\u202e<b>"]
    rows = pd.DataFrame({"label": classes, "predicted": classes[::-1]})
    scores.confusion(rows, classes, tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").stat().st_size > 1000


def said(capfd, *arguments: str) -> str:
    """Everything a command prints."""
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    out, err = capfd.readouterr()
    return out + err + (end.value.code if isinstance(end.value.code, str) else "")


@pytest.mark.parametrize("name", ["a\nerror: b.png", "\x1b[2Jb.png", "\u202egnp.png", "\udcff.png"])
def test_names_cannot_inject_terminal_output(tmp_path, monkeypatch, capfd, name):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / name)
    for command in (
        ["denoise", name, "out/", "--model", "gaussian"],
        ["denoise", name, "out/", "--model", "gaussian"],  # output exists
        ["estimate", name],
        ["estimate", name, "--curve"],
        ["noise", name, "noisy.png", "--kind", "gaussian"],
        ["estimate", f"{name}.missing"],
        ["denoise", "out", name],
    ):
        text = said(capfd, *command).strip("\n")
        assert text and all(map(str.isprintable, text.split("\n"))), text
        assert not any(line.startswith("error: b.png") for line in text.split("\n"))


def test_names_that_begin_with_a_dash(tmp_path, monkeypatch, capfd):
    """After `--`, and inside a folder, names are not options."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for place in (tmp_path / "--force.png", tmp_path / "in" / "-m.png"):
        Image.fromarray(np.zeros((32, 32), np.uint8)).save(place)
    said(capfd, "denoise", "--model", "gaussian", "--", "--force.png", "out.png")
    said(capfd, "denoise", "in", "out", "--model", "gaussian")
    assert (tmp_path / "out.png").is_file() and (tmp_path / "out" / "-m.png").is_file()


def test_markup_in_a_model_card_is_plain_text(tmp_path, monkeypatch, capfd):
    """Rich would interpret [red] as a colour, and [/x] as a stray closing tag."""
    folder = tmp_path / "models" / "released" / "net"
    released = next(entry for entry in denoisers.known() if entry.origin == "released").folder
    folder.mkdir(parents=True)
    for name in ("model.json", "README.md"):
        text = (released / name).read_text(encoding="utf-8")
        (folder / name).write_text(re.sub("(?m)^license: .*", "license: [/x][red]\x1b[31mfree", text))
    monkeypatch.chdir(tmp_path)
    text = said(capfd, "models")
    assert "[/x][red]" in text.replace("\n", "") and "\x1b[31m" not in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at http://me:secret@host/x failed", "at http://***@host/x failed"),
        ("postgresql+psycopg2://me:se/cr@et@host:5432/db", "postgresql+psycopg2://***@host:5432/db"),
        ("s3://token@bucket", "s3://***@bucket"),
        ("sqlite:////tmp/a@b.db", "sqlite:////tmp/a@b.db"),
        ("mail me@host", "mail me@host"),
        ("'postgresql://host/x?user=me&password=secret'", "'postgresql://host/x?user=me&password=***'"),
    ],
)
def test_logins_are_removed_from_urls(text, shown):
    assert without_login(text) == shown


def test_images_of_a_page_must_be_in_its_folder(tmp_path, monkeypatch):
    (tmp_path / "reports").mkdir()
    (tmp_path / "secret.png").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError):
        page("# Q\n\n![a](../secret.png)\n")
    assert Path("secret.png").is_file()
