"""Generators for the documentation: pipeline diagram, licences, notebook, and MkDocs hooks.

    python -m docs.make            # rewrites docs/pictures/pipeline.svg and docs/licences.md
    python -m docs.make.gallery    # rewrites docs/gallery.md and its pictures

Puts src of the working directory first on the path, so that an installed version is not used.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path.cwd() / "src"))
