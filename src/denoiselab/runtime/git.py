"""What Git says of the working tree."""

import subprocess


def commit() -> str | None:
    """The Git commit of the working tree, with -dirty where that was changed; None outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
