"""denoiselab doctor: check the installation and the project."""

from dataclasses import asdict
from pathlib import Path

import typer

from denoiselab.app.cli._options import AsJson
from denoiselab.app.cli._output import plain, report

SIGNS = {"ok": "ok      ", "note": "note    ", "problem": "PROBLEM "}


def doctor(as_json: AsJson = False) -> None:
    """Check this machine, the packages, the released weights and the project in this folder.

    Computes a convolution on the device, denoises a test image, verifies the sha256 of the weights, and checks DVC's
    cache and remotes, the MLflow store and the mirror of the data sets. Changes nothing. The exit code is 1 if a check
    fails. Notes concern optional parts.

    If packages are missing, this command cannot start: use `python -m pipeline.doctor`.

    \b
    Examples:
      denoiselab doctor
      denoiselab doctor --json | jq '.findings[] | select(.state != "ok")'
    """
    from denoiselab.app import diagnostics

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
