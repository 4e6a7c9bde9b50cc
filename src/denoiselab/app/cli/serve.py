"""denoiselab serve: the web page."""

import secrets
import sys
from typing import Annotated

import typer

from denoiselab.app.cli._options import need


def serve(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the page.")] = 8501,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Any but 127.0.0.1 opens the page to the network.")
    ] = "127.0.0.1",
    token: Annotated[
        str | None,
        typer.Option(
            envvar="DENOISELAB_TOKEN", help="Asked of visitors. By default none on 127.0.0.1, else a new one; '': none."
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="The page's name in the addresses that a reverse proxy passes on.")] = "",
    max_megabytes: Annotated[int, typer.Option(help="Largest file, in MB.")] = 50,
    max_megapixels: Annotated[int, typer.Option(help="Largest image, in megapixels.")] = 24,
    browser: Annotated[bool, typer.Option("--browser", help="Open the page in the browser.")] = False,
) -> None:
    """Serve the web page: upload an image, denoise it, compare and download. Ctrl-C stops it.

    By default, only this machine can open the page; with another --host, everybody who has the printed address, which
    contains a token. The page sends nothing anywhere and processes one image at a time.

    \b
    Examples:
      denoiselab serve --browser
      denoiselab serve --port 8600 --max-megapixels 50
    """
    need("serve", "page", "streamlit")

    from denoiselab.app.web import server
    from denoiselab.app.web.limits import Limits

    allowed = Limits(max_megabytes, max_megapixels)
    if token is None:
        token = "" if host in server.LOOPBACK else secrets.token_urlsafe()
    if host not in server.LOOPBACK and not token:
        print(
            f"warning: {host} is open to the network without a token: anybody who reaches port {port} can use this page"
            " and this machine's processor",
            file=sys.stderr,
        )
    server.run(host, port, allowed, name=name, token=token, browser=browser)
