"""Streamlit's server, set up for this page."""

from pathlib import Path
from typing import Any

from denoiselab.page.limits import Limits

APP = Path(__file__).parent / "app.py"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def options(host: str, port: int, allowed: Limits, browser: bool) -> dict[str, Any]:
    """Of Streamlit: nothing is sent home, nothing is fetched from elsewhere, visitors see no traces of errors."""
    return {
        "server.address": host,
        "server.port": port,
        "server.headless": not browser,
        "server.maxUploadSize": allowed.megabytes,
        "server.fileWatcherType": "none",
        "server.showEmailPrompt": False,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "logger.hideWelcomeMessage": True,
        "theme.light.primaryColor": "#0067a3",
        "theme.dark.primaryColor": "#66bdf0",
    } | ({"server.allowedHosts": ",".join(LOOPBACK)} if host in LOOPBACK else {})


def run(host: str, port: int, allowed: Limits, browser: bool) -> None:
    """Serve the page until a signal ends it."""
    from streamlit import config
    from streamlit.web import cli

    known = config.get_config_options()
    flags = [f"--{name}={value}" for name, value in options(host, port, allowed, browser).items() if name in known]
    print(f"denoiselab: http://{host}:{port} (Ctrl-C ends it)", flush=True)
    limits = [str(allowed.megabytes), str(allowed.megapixels)]
    cli.main(["run", str(APP), *flags, "--", *limits], standalone_mode=False)
