"""Git commit of the working tree."""

import subprocess


def commit() -> str | None:
    """Commit hash of the working tree, with -dirty if it has changes; None outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
