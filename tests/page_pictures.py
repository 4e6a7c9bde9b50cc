"""docs/pictures/page-*.webp: the page of `denoiselab serve` as a visitor sees it. Needs Chromium and the browser tests'
packages: python -m tests.page_pictures
"""

import io
import tempfile
from pathlib import Path

from PIL import Image

from tests.app.test_web_browser import finished, select, serving
from tests.chrome import Page, chrome
from tests.conftest import ROOT

FOLDER = ROOT / "docs" / "pictures"
LIMIT = 150_000  # bytes of a picture


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as served,
        tempfile.TemporaryDirectory() as profile,
        serving(Path(served)) as (address, _),
        chrome(Path(profile)) as browser,
    ):
        page = browser.page(address, width=1440, height=900)
        finished(page, "Noise found")
        save(page, "page-desktop")
        select(page, "one('[data-testid=stMultiSelect]')", "gray_fast")
        page.wait("named('td', 'gray_fast')")
        finished(page)
        page.click("named('.zoom button', '3:1')")
        page.run("one('.scroller').scrollTo(340, 120)")
        page.run("one('[data-testid=stMain]').scrollTo(0, 240)")
        save(page, "page-detail")
        phone = browser.page(address, width=390, height=844)
        finished(phone, "Noise found")
        phone.run("one('.comparison').scrollIntoView({block: 'center', behavior: 'instant'})")
        save(phone, "page-phone")


def save(page: Page, name: str) -> None:
    """As WebP of at most LIMIT bytes."""
    shot = Image.open(io.BytesIO(page.picture()))
    for quality in range(90, 10, -5):
        stream = io.BytesIO()
        shot.convert("RGB").save(stream, "WEBP", quality=quality, method=6)
        if stream.tell() <= LIMIT:
            break
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.webp").write_bytes(stream.getvalue())
    print(f"{name}: {stream.tell()} bytes at quality {quality}")


if __name__ == "__main__":
    main()
