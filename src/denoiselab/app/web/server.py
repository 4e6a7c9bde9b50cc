"""Start Streamlit's server for the page."""

import os
from pathlib import Path

from denoiselab.app.web.limits import Limits

TOKEN = "DENOISELAB_TOKEN"  # environment variable; not an argument, which other users of the machine can read
MAIN = Path(__file__).parent / "main.py"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def environment(host: str, port: int, allowed: Limits, name: str, browser: bool) -> dict[str, str]:
    """Streamlit's options: no usage statistics, no tracebacks for visitors, no file watcher."""
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
        options["SERVER_ALLOWED_HOSTS"] = " ".join(filter(None, [*LOOPBACK, name]))  # against DNS rebinding
    return {f"STREAMLIT_{name}": value for name, value in options.items()}


def run(host: str, port: int, allowed: Limits, *, name: str, token: str, browser: bool) -> None:
    """Serve the page until a signal ends it. `name`: under which a reverse proxy passes visitors on."""
    from streamlit.web import cli

    from denoiselab.app.web import computation  # noqa: F401 - slow import, done before the first visit

    os.environ.update(environment(host, port, allowed, name, browser) | {TOKEN: token})
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    print(f"denoiselab: {address}{token and f'/?token={token}'} (Ctrl-C stops it)", flush=True)
    cli.main(["run", str(MAIN), "--", str(allowed.megabytes), str(allowed.megapixels)], standalone_mode=False)
