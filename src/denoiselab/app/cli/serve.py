"""denoiselab serve: the web page, for this machine's own browser."""

import sys
from typing import Annotated

import typer


def serve(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the page's address.")] = 8501,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any other than 127.0.0.1 opens the page to the network.")
    ] = "127.0.0.1",
    max_megabytes: Annotated[int, typer.Option(help="Size of a picture's file, at most.")] = 50,
    max_megapixels: Annotated[int, typer.Option(help="Size of a picture, at most.")] = 24,
    browser: Annotated[bool, typer.Option("--browser", help="Open the page in the browser.")] = False,
) -> None:
    """Show the web page: upload a picture, denoise it, compare, download. Ctrl-C ends it.

    It listens to this machine alone, sends nothing anywhere, and computes one picture at a time.

    \b
    Examples:
      denoiselab serve --browser
      denoiselab serve --port 8600 --max-megapixels 50
    """
    from denoiselab.app.web import server
    from denoiselab.app.web.limits import Limits

    allowed = Limits(max_megabytes, max_megapixels)
    if host not in server.LOOPBACK:
        print(
            f"warning: {host} is open to the network: whoever reaches port {port} can use this page and this machine's"
            " processor; there is no password",
            file=sys.stderr,
        )
    server.run(host, port, allowed, browser=browser)
