"""What the documentation is made with: pictures drawn from the code, lists of licences, the site's links.

    python -m docs.make    # writes docs/pictures/ and docs/licences.md anew

The working directory's own src comes first on the path, whatever is installed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path.cwd() / "src"))
