"""Run notebooks/quickstart.ipynb anew and keep what it shows: `make notebook`. It works on what is committed."""

import os
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path("notebooks/quickstart.ipynb")
PATIENCE_S = 3600  # for one cell, on a machine that does other work


def run(path: Path) -> Any:
    """The notebook with its outputs, without times and the machine's paths. CellExecutionError where a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    os.environ["CI"] = "true"  # no progress bars
    client = NotebookClient(
        notebook, timeout=PATIENCE_S, record_timing=False, resources={"metadata": {"path": path.parent}}
    )
    client.execute()
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def main() -> None:
    nbformat.write(run(NOTEBOOK), NOTEBOOK)
    print(NOTEBOOK, f"{NOTEBOOK.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    sys.exit(main())
