"""Run notebooks/quickstart.ipynb and store its outputs: `make notebook`. The notebook works in a clone of HEAD.

The project's address is that in CITATION.cff; if it is on GitHub, the notebook has a link that opens it in Colab.
"""

import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbclient import NotebookClient

CITATION = Path("CITATION.cff")
GITHUB, COLAB = "https://github.com/", "https://colab.research.google.com/github/"
NOTEBOOK = Path("notebooks/quickstart.ipynb")
TIMEOUT_S = 3600  # per cell, on a busy machine


def run(path: Path) -> Any:
    """Run the notebook; returns it with its outputs, without times and local paths. CellExecutionError on failure."""
    notebook = nbformat.read(path, as_version=4)
    os.environ["CI"] = "true"  # no progress bars
    client = NotebookClient(
        notebook, timeout=TIMEOUT_S, record_timing=False, resources={"metadata": {"path": path.parent}}
    )
    client.execute()
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def set_address(notebook: Any, address: str) -> None:
    """Set the address that the first code cell clones, and the link to Colab in the first cell."""
    first, code = notebook.cells[0], next(cell for cell in notebook.cells if cell.cell_type == "code")
    code.source = re.sub(r'(?m)^REPOSITORY = "[^"]*"', f'REPOSITORY = "{address}"', code.source)
    first.source = re.sub(r"\n\n\[Open in Colab\]\S+", "", first.source)
    if address.startswith(GITHUB):
        page = f"{COLAB}{address.removeprefix(GITHUB).removesuffix('.git')}/blob/main/{NOTEBOOK.as_posix()}"
        first.source += f"\n\n[Open in Colab]({page})"


def main() -> None:
    notebook = run(NOTEBOOK)
    set_address(notebook, yaml.safe_load(CITATION.read_text(encoding="utf-8"))["repository-code"])
    nbformat.write(notebook, NOTEBOOK)
    print(NOTEBOOK, f"{NOTEBOOK.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    sys.exit(main())
