"""Files that visitors download: sent from the disk, each at an address that nobody guesses, while its owner lives.

Streamlit's own button forgets a file whenever the script runs again, which a click may bring about by itself, unless
the whole file is kept in memory.
"""

import secrets
from pathlib import Path
from weakref import WeakValueDictionary

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

GONE = "This picture is no longer kept: denoise it once more."


class Download:
    """A file and the name to save it under."""

    def __init__(self, file: Path, name: str) -> None:
        self.file, self.name = file, name
        self.address = f"download/{secrets.token_urlsafe()}"  # on the page's own server
        _kept[self.address] = self


_kept: WeakValueDictionary[str, Download] = WeakValueDictionary()


async def send(request: Request) -> Response:
    """The file of an address; 404 where its owner is gone."""
    download = _kept.get(f"download/{request.path_params['key']}")
    if download is None or not download.file.is_file():
        return PlainTextResponse(GONE, status_code=404)
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return FileResponse(download.file, filename=download.name, headers=headers)


ROUTE = Route("/download/{key}", send)
