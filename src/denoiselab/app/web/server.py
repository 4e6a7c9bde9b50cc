"""Streamlit's server, set up for this page."""

import os
from pathlib import Path

from denoiselab.app.web.limits import Limits

MAIN = Path(__file__).parent / "main.py"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def environment(host: str, port: int, allowed: Limits, browser: bool) -> dict[str, str]:
    """Streamlit's options: nothing is sent home, visitors see no traces of errors, files are not watched."""
    options = {
        "SERVER_ADDRESS": host,
        "SERVER_PORT": str(port),
        "SERVER_HEADLESS": str(not browser).lower(),
        "SERVER_MAX_UPLOAD_SIZE": str(allowed.megabytes),
        "SERVER_FILE_WATCHER_TYPE": "none",
        "SERVER_SHOW_EMAIL_PROMPT": "false",
        "BROWSER_GATHER_USAGE_STATS": "false",
        "CLIENT_TOOLBAR_MODE": "minimal",
        "CLIENT_SHOW_ERROR_DETAILS": "none",
        "LOGGER_HIDE_WELCOME_MESSAGE": "true",
        "THEME_LIGHT_PRIMARY_COLOR": "#0067a3",
        "THEME_DARK_PRIMARY_COLOR": "#66bdf0",
    }
    if host in LOOPBACK:
        options["SERVER_ALLOWED_HOSTS"] = " ".join(LOOPBACK)  # a foreign page's name for this machine is none of them
    return {f"STREAMLIT_{name}": value for name, value in options.items()}


def run(host: str, port: int, allowed: Limits, browser: bool) -> None:
    """Serve the page until a signal ends it."""
    from streamlit.web import cli

    from denoiselab.app.web import computation  # noqa: F401 - what is slow to import, before the first visitor waits for it

    os.environ.update(environment(host, port, allowed, browser))
    print(f"denoiselab: http://{f'[{host}]' if ':' in host else host}:{port} (Ctrl-C ends it)", flush=True)
    cli.main(["run", str(MAIN), "--", str(allowed.megabytes), str(allowed.megapixels)], standalone_mode=False)
