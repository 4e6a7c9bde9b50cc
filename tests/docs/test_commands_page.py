"""docs/commands.md matches the commands; their help and shell completion."""

import os
import re
import shlex
import subprocess
import sys
from contextlib import suppress

import pytest
import typer

from denoiselab.app import cli
from docs.make import transcripts
from tests.command import denoiselab
from tests.conftest import ROOT

HELPS = ["", *transcripts.commands()]


@pytest.fixture(scope="module")
def page() -> str:
    return transcripts.PAGE.read_text(encoding="utf-8")


def words(text: str) -> list[str]:
    """Words, ignoring line breaks."""
    return text.split()


def test_every_command_is_on_the_page(page):
    assert set(re.findall(r"^## (\S+)$", page, re.MULTILINE)) == set(transcripts.commands())


@pytest.mark.parametrize("command", HELPS)
def test_the_help_on_the_page_is_current(command, page):
    called = " ".join(filter(None, ["denoiselab", command, "--help"]))
    (shown,) = re.findall(rf"```console\n\$ {called}\n(.*?)\n```", page, re.DOTALL)
    said = denoiselab(*filter(None, [command]), "--help")
    assert words(shown) == words(said.out), f"{transcripts.PAGE.name} is out of date: python -m docs.make.transcripts"


PARSERS = typer.main.get_command(cli.app).commands
WITH_ARGUMENTS = [
    name for name, parser in PARSERS.items() if any(p.param_type_name == "argument" for p in parser.params)
]


@pytest.mark.parametrize("command", WITH_ARGUMENTS)
def test_the_examples_in_the_help_are_valid(command):
    said = denoiselab(command, "--help").out
    examples = re.findall(rf"^ +denoiselab {command}\b([^|#\n]*)", said.partition("Examples:")[2], re.MULTILINE)
    assert examples, f"denoiselab {command} --help shows no examples"
    for example in examples:
        with suppress(typer.Exit):  # --list exits
            PARSERS[command].make_context(command, shlex.split(example))


def test_the_page_has_no_traceback_and_no_local_path(page):
    assert "Traceback" not in page
    assert str(ROOT) not in page
    assert not re.search(r"/tmp/|/root/|/Users/", page)


def test_its_images_exist_and_are_small(page):
    pictures = re.findall(r"\]\((pictures/[^)]+)\)", page)
    assert pictures
    for picture in pictures:
        assert (transcripts.PAGE.parent / picture).stat().st_size <= transcripts.LARGEST


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_supports_the_usual_shells(shell):
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-m", "denoiselab.app.cli", "--show-completion", shell]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert "_DENOISELAB_COMPLETE" in said


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("denoiselab ex", ["explain", "export"]),
        ("denoiselab export gray_f", ["gray_fast"]),
        ("denoiselab noise a.png b.png --noise gaussian", ["gaussian15", "gaussian25", "gaussian50"]),
        ("denoiselab noise a.png b.png --kind po", ["poisson", "poisson_gaussian"]),
    ],
)
def test_the_shell_completes_commands_models_and_noise(typed, offered):
    environment = {**os.environ, "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    environment["_DENOISELAB_COMPLETE"] = "complete_bash"
    command = [sys.executable, "-m", "denoiselab.app.cli"]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert said.split() == offered
