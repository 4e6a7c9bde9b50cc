"""denoiselab doctor: check the installation and the project."""

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from denoiselab.app.cli._options import AsJson
from denoiselab.app.cli._output import plain, report

SIGNS = {"ok": "ok      ", "note": "note    ", "problem": "PROBLEM "}


def doctor(
    as_json: AsJson = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="First repair DVC's own files, which a kill may have cut short.")
    ] = False,
) -> None:
    """Check this machine, the packages, the released weights and the project in this folder.

    Computes a convolution on the device, denoises a test image, verifies the sha256 of the weights, and checks DVC's
    cache and remotes, the MLflow store and the mirror of the data sets. Changes nothing, except with --repair. The
    exit code is 1 if a check fails. Notes concern optional parts.

    If packages are missing, this command cannot start: use `python -m pipeline.doctor`.

    \b
    Examples:
      denoiselab doctor
      denoiselab doctor --repair
      denoiselab doctor --json | jq '.findings[] | select(.state != "ok")'
    """
    from denoiselab.app import diagnostics

    if repair and Path("dvc.yaml").is_file():
        done = subprocess.run([sys.executable, "-m", "pipeline.repair"], capture_output=True, text=True)
        print(plain(done.stdout + done.stderr), end="", file=sys.stderr)
    found = []
    for finding in diagnostics.findings(Path()):
        found.append(finding)
        if not as_json:
            print(plain(f"{SIGNS[finding.state]}{finding.subject}: {finding.said}"), flush=True)
    passed = all(finding.state != "problem" for finding in found)
    if as_json:
        report("", {"ok": passed, "findings": [asdict(finding) for finding in found]}, as_json)
    if not passed:
        raise typer.Exit(1)
