"""Downloads: files sent from disk, each at an unguessable address, as long as their Download object exists.

Streamlit's own download button keeps the whole file in memory, or forgets it when the script runs again, which a click
can cause.
"""

import secrets
from pathlib import Path
from weakref import WeakValueDictionary

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

GONE = "This file has been deleted. Denoise the image again."


class Download:
    """A file, and the name under which the browser saves it."""

    def __init__(self, file: Path, name: str) -> None:
        self.file, self.name = file, name
        self.address = f"download/{secrets.token_urlsafe()}"  # relative to the page's server
        _kept[self.address] = self


_kept: WeakValueDictionary[str, Download] = WeakValueDictionary()


async def send(request: Request) -> Response:
    """The file for an address; 404 if it has been deleted."""
    download = _kept.get(f"download/{request.path_params['key']}")
    if download is None or not download.file.is_file():
        return PlainTextResponse(GONE, status_code=404)
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return FileResponse(download.file, filename=download.name, headers=headers)


ROUTE = Route("/download/{key}", send)
