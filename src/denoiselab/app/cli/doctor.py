"""denoiselab doctor: is all there that is needed?"""

from dataclasses import asdict
from pathlib import Path

import typer

from denoiselab.app.cli._options import AsJson
from denoiselab.app.cli._output import plain, report

SIGNS = {"ok": "ok      ", "note": "note    ", "problem": "PROBLEM "}


def doctor(as_json: AsJson = False) -> None:
    """Check this machine, the packages, the released weights and the project in this folder.

    Tries what would be used: a convolution on the device, a denoising, the sha256 of the weights, DVC's cache and
    remotes, the MLflow store, the mirror of the data sets. Changes nothing. The exit code is 1 where something does not
    work; notes are about what not everybody needs.

    It needs the packages; where they are missing, `python -m pipeline.doctor` says what to do.

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
    well = all(finding.state != "problem" for finding in found)
    if as_json:
        report("", {"ok": well, "findings": [asdict(finding) for finding in found]}, as_json)
    if not well:
        raise typer.Exit(1)
