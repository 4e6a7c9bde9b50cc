"""The page of `denoiselab serve` in a real browser: on a desktop and a phone, with one visitor and with ten."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from getpass import getuser
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import numpy as np
import psutil
import pytest
import tifffile
from PIL import Image

from denoiselab.app import denoisers
from denoiselab.metrics import image_quality
from tests.chrome import PATIENCE_S, POLL_S, Chrome, Page, chrome
from tests.conftest import ROOT, photograph
from tests.servers import free_port

pytestmark = pytest.mark.slow
MEGABYTES, MEGAPIXELS = 2, 1
COLOUR = denoisers.resolved("colour")
ENTER = ("Enter", 13)
FILE = "one('[data-testid=stFileUploader] input[type=file]')"


def until(condition: Callable[[], object], seconds: float = PATIENCE_S) -> None:
    """Wait until the condition holds. TimeoutError after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"condition not met within {seconds:g} s")
        time.sleep(POLL_S)


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[tuple[str, psutil.Process]]:
    """Start a server in `folder`, which has no trained models; yields its address and process."""
    port = free_port()
    limits = ["--max-megabytes", str(MEGABYTES), "--max-megapixels", str(MEGAPIXELS)]
    command = [sys.executable, "-m", "denoiselab.app.cli", "serve", "--port", str(port), *limits, *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    address = f"http://127.0.0.1:{port}"
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            until(lambda: process.poll() is not None or answers(f"{address}/_stcore/health"))
            assert process.poll() is None, (folder / "log").read_text()
            yield address, psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=10) as answer:
            return answer.status == 200
    except HTTPError as refused:
        refused.close()
        return refused.code == 401
    except OSError:
        return False


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[tuple[str, psutil.Process]]:
    with serving(tmp_path_factory.mktemp("served")) as started:
        yield started


@pytest.fixture(scope="module")
def address(server) -> str:
    return server[0]


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Chrome]:
    with chrome(tmp_path_factory.mktemp("profile")) as started:
        yield started


def finished(page: Page, text: str = "", seconds: float = PATIENCE_S) -> str:
    """Wait for a result and for `text` to appear; returns the page's text."""
    page.wait("one('.stage img')?.complete && one('.stApp').dataset.testScriptState === 'notRunning'", seconds)
    page.wait(f"document.body.innerText.includes({text!r})", seconds)
    return page.run("document.body.innerText")


def own_image(page: Page, file: Path) -> None:
    page.click("named('[data-testid=stRadio] label', 'Your own')")
    page.upload(FILE, file)


def select(page: Page, widget: str, text: str) -> None:
    """Type the beginning of an option and select it."""
    page.click(f"{widget}.querySelector('input')")
    page.write(text)
    page.wait(f"named('[role=option]', {text!r})")
    page.press(*ENTER)


def scores(page: Page) -> dict[str, list[str]]:
    """{name of the row: its other cells} of the score table."""
    rows = page.run("all('td').map((cell) => [cell.parentNode.cells[0].innerText, cell.innerText])")
    return {name: [value for other, value in rows if other == name][1:] for name, _ in rows}


def divider(page: Page) -> tuple[float, float]:
    """Positions of the divider and of the left image's edge, as shares of the window's width."""
    return tuple(
        page.run("""(() => {
          const {x, width} = one('.window').getBoundingClientRect();
          const handle = one('.divider').getBoundingClientRect().x + 1 - x;
          const cut = parseFloat(getComputedStyle(one('img.left')).clipPath.split(' ')[1]);
          return [handle / width, (one('.stage').clientWidth - cut - one('.scroller').scrollLeft) / width];
        })()""")
    )


def deep_tiff(path: Path) -> np.ndarray:
    """Write an image that uses all 16 bits; returns (160, 200, 3) uint16."""
    coarse = photograph()[60:220, 150:350].astype(np.uint16) * 257
    pixels = coarse - np.minimum(coarse, np.random.default_rng(0).integers(0, 200, coarse.shape).astype(np.uint16))
    tifffile.imwrite(path, pixels, photometric="rgb")
    return pixels


def test_upload_add_noise_choose_slide_and_download_at_full_depth(browser, address, tmp_path):
    clean, downloads = deep_tiff(tmp_path / "deep [1] *a*.tif"), tmp_path / "downloads"
    page = browser.page(address, downloads=downloads)
    assert "chose colour" in finished(page, "Noise found")
    own_image(page, tmp_path / "deep [1] *a*.tif")
    text = finished(page, "200 × 160 pixels, 16-bit")
    assert "PSNR (dB)" not in text  # no clean image
    select(page, "all('[data-testid=stSelectbox]')[0]", "Gaussian")
    finished(page, "(25 was added)")
    select(page, "one('[data-testid=stMultiSelect]')", "gray_fast")
    page.wait("all('a.download').length === 2 && named('td', 'gray_fast')")
    finished(page)
    shown = scores(page)
    assert list(shown) == ["noisy", COLOUR, "gray_fast"]
    psnr = {name: float(cells[0]) for name, cells in shown.items()}
    assert psnr["noisy"] == pytest.approx(20.17, abs=0.2)
    assert psnr[COLOUR] > psnr["gray_fast"] > psnr["noisy"] + 5

    page.click("named('a.download', 'Download gray_fast (16-bit TIFF)')")
    file = downloads / "deep [1] *a*-gray_fast.tif"
    until(lambda: [path.suffix for path in downloads.glob("*")] == [".tif"])
    (file,) = downloads.glob("*")
    assert file.name.startswith("deep") and file.name.endswith("-gray_fast.tif")
    restored = tifffile.imread(file)
    assert restored.dtype == np.uint16 and restored.shape == clean.shape
    assert len(np.unique(restored % 257)) > 200  # not 8 bits scaled up
    assert image_quality.psnr(clean, restored, data_range=65535) == pytest.approx(psnr["gray_fast"], abs=0.006)

    assert page.run("all('.choices select')[1].value") == COLOUR
    assert divider(page) == pytest.approx((0.5, 0.5), abs=0.01)
    page.click("one('.window')", share=0.25)
    assert divider(page) == pytest.approx((0.25, 0.25), abs=0.01)
    page.press("ArrowRight", 39, times=5)
    assert divider(page) == pytest.approx((0.3, 0.3), abs=0.01)
    page.click("named('.zoom button', '3:1')")
    assert page.run("one('.stage').clientWidth") == 600
    assert divider(page) == pytest.approx((0.3, 0.3), abs=0.01)
    page.run("(one('.choices [name=left]').value = 'clean', one('.choices [name=left]').onchange())")
    assert page.run("all('output').map((output) => output.textContent)") == [
        "clean: reference",
        f"{COLOUR}: {psnr[COLOUR]:.2f} dB",
    ]
    assert page.errors() == []
    hosts = {urlsplit(request).netloc for request in page.requests() if not request.startswith(("data:", "blob:"))}
    assert hosts == {urlsplit(address).netloc}


def test_errors_are_shown_in_one_line_and_the_page_stays_usable(browser, address, tmp_path):
    (tmp_path / "notes.png").write_bytes(b"not an image at all\n" * 99)
    Image.fromarray(photograph()).save(tmp_path / "whole.png")
    (tmp_path / "cut_off.png").write_bytes((tmp_path / "whole.png").read_bytes()[:9000])
    Image.new("L", (1001, 1000)).save(tmp_path / "wide.png")
    (tmp_path / "heavy.png").write_bytes((tmp_path / "whole.png").read_bytes() + bytes(MEGABYTES * 2**20))
    (tmp_path / "letter.txt").write_text("Dear reader")
    Image.fromarray(photograph()[:64, :80]).save(tmp_path / "good.png")
    page = browser.page(address)
    finished(page)
    for name, reason in {
        "notes.png": "not an image that can be read",
        "cut_off.png": "damaged image",
        "wide.png": "1001x1000 pixels are too many; the limit is 1 megapixels",
    }.items():
        own_image(page, tmp_path / name)
        alert = f"all('[data-testid=stAlert]').find((alert) => alert.innerText.startsWith({name!r}))"
        page.wait(f"{alert}")
        message = page.run(f"{alert}.innerText")
        assert message.startswith(f"{name}: ") and reason in message and "\n" not in message.strip()
        assert not page.run("!!one('.stage')")
    for name, reason in {"heavy.png": "2.0MB or smaller", "letter.txt": "files are not allowed"}.items():
        own_image(page, tmp_path / name)
        page.wait(f"one('[data-testid=stFileUploader]').innerText.includes({reason!r})")
        assert not page.run("!!one('.stage')")
    own_image(page, tmp_path / "good.png")
    finished(page, "80 × 64 pixels, 8-bit")
    assert page.errors() == []


def test_on_a_phone_everything_fits_and_a_finger_moves_the_divider(browser, address):
    page = browser.page(address, width=390, height=844)
    finished(page, "Noise found")
    for summary in ("Available denoisers", "How to read this"):
        page.click(f"named('summary', {summary!r})")
    assert page.run("innerWidth") == 390
    assert page.run("all('*').filter((element) => element.scrollWidth > innerWidth).length") == 0
    shown = (
        "p, td, button, select, input:not([type=range]), img, .window"  # a slider's invisible input reaches beyond it
    )
    wide = f"all('{shown}').filter((e) => e.getBoundingClientRect().right > innerWidth)"
    assert page.run(f"{wide}.map((element) => element.outerHTML)") == []
    end = page.drag("one('.handle')", -100)
    x, width = page.run("[one('.window').getBoundingClientRect().x, one('.window').clientWidth]")
    share = (end - x) / width
    until(lambda: divider(page) == pytest.approx((share, share), abs=0.02))


def test_ten_visitors_wait_their_turn_and_see_only_their_own_images(browser, server, tmp_path):
    address, process = server
    sizes = {number: (420 + 8 * number, 400 + 8 * number) for number in range(10)}
    for number, (width, height) in sizes.items():
        Image.fromarray(photograph()[:height, :width]).save(tmp_path / f"photo-{number}.jpg")
    pages = [browser.page(address, width=800) for _ in sizes]
    for page in pages:
        finished(page, seconds=10 * PATIENCE_S)
    with highest_memory(process) as alone:
        own_image(pages[0], tmp_path / "photo-0.jpg")
        finished(pages[0], "420 × 400 pixels")
    noticing = """(window.places = new Set(), new MutationObserver(() => {
      const told = document.body.innerText.match(/Waiting: (\\d+) images? /);
      if (told) window.places.add(Number(told[1]));
    }).observe(document.body, {subtree: true, childList: true, characterData: true}))"""
    for page in pages:
        page.run(noticing)
        page.click("named('[data-testid=stRadio] label', 'Your own')")
    for page in pages:
        page.wait(FILE)
    with highest_memory(process) as together:
        for number in reversed(sizes):
            pages[number].upload(FILE, tmp_path / f"photo-{number}.jpg")
        for number, page in enumerate(pages):
            text = finished(page, "{} × {} pixels".format(*sizes[number]), 10 * PATIENCE_S)
            assert re.findall(r"photo-\d\.jpg", text) == [f"photo-{number}.jpg"]
            assert page.run("[one('img.left').naturalWidth, one('img.left').naturalHeight]") == list(sizes[number])
    places = [place for page in pages for place in page.run("[...window.places]")]
    assert 1 in places and max(places) >= 3
    assert together[0] < alone[0] + 150 * 2**20  # ten at a time would need some 100 MiB each
    assert [page.errors() for page in pages] == [[]] * 10


@contextmanager
def highest_memory(process: psutil.Process) -> Iterator[list[int]]:
    """Maximum resident memory of the process in bytes, available after the block."""
    ended, highest = threading.Event(), [0]

    def watch() -> None:
        while not ended.wait(0.02):
            highest[0] = max(highest[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield highest
    finally:
        ended.set()
        watcher.join()


def denoise_own(page: Page, folder: Path) -> None:
    """Upload an image and wait for the result."""
    Image.fromarray(photograph()[:64, :80]).save(folder / "good.png")
    finished(page)
    own_image(page, folder / "good.png")
    finished(page, "80 × 64 pixels, 8-bit")
    assert page.errors() == []


def test_with_a_token_only_its_address_opens_the_page(browser, tmp_path):
    with serving(tmp_path, "--token", "sesame") as (address, _):
        assert "Open the whole address" in stranger(browser, address)
        assert "Open the whole address" in stranger(browser, f"{address}/?token=SESAME")
        page = browser.page(f"{address}/?token=sesame")
        denoise_own(page, tmp_path)
        assert "sesame" not in page.run("location.href")


def stranger(browser: Chrome, address: str) -> str:
    """What an address shows that does not open the page."""
    page = browser.page(address)
    page.wait("document.body?.innerText.trim()")
    return page.run("document.body.innerText")


@pytest.mark.skipif(not shutil.which("nginx"), reason="needs nginx")
def test_behind_the_documented_reverse_proxy_the_page_asks_for_a_login(browser, tmp_path):
    port, name = free_port(), "photos.localhost"  # a browser takes it for this machine
    with serving(tmp_path, "--name", name) as (address, _), proxy(tmp_path, port, name, address):
        until(lambda: answers(f"http://127.0.0.1:{port}"))
        with pytest.raises(HTTPError, match="401"):
            urlopen(f"http://127.0.0.1:{port}").close()
        page = browser.page(f"http://me:secret@{name}:{port}/_stcore/health")
        page.wait("document.body?.innerText.includes('ok')")
        page.call("Page.navigate", url=f"http://{name}:{port}")  # scripts cannot fetch where the address has a password
        denoise_own(page, tmp_path)
        heavy = Request(f"http://127.0.0.1:{port}/_stcore/upload_file/a/b", bytes(64 * 2**20), method="PUT")
        heavy.add_header("Authorization", "Basic bWU6c2VjcmV0")
        with pytest.raises((HTTPError, ConnectionError), match=r"413|reset|pipe"):
            urlopen(heavy)


@contextmanager
def proxy(folder: Path, port: int, name: str, page: str) -> Iterator[None]:
    """nginx as docs/production.md configures it, without TLS, on the loopback address."""
    text = (ROOT / "docs/production.md").read_text(encoding="utf-8")
    server = text.split("```nginx\n")[1].split("```")[0]
    server = re.sub(r"(?m)^ *ssl_.*\n", "", server)
    for written, here in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port}"),
        ("photos.example.org", name),
        ("http://127.0.0.1:8501", page),
        ("/etc/nginx/denoiselab.htpasswd", str(folder / "htpasswd")),
    ):
        assert written in server
        server = server.replace(written, here)
    (folder / "htpasswd").write_text("me:{PLAIN}secret\n")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = " ".join(f"{kind}_temp_path {folder / kind};" for kind in kinds)
    http = f"events {{}} http {{ access_log off; {places} {server} }}"
    (folder / "nginx.conf").write_text(f"daemon off; user {getuser()}; pid {folder / 'pid'}; {http}")
    command = ["nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "nginx.log")]
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            process.terminate()


def test_download_addresses_cannot_be_guessed(address):
    for key in ("0", "..", "%2e%2e%2fapp.py", "a" * 43):
        with pytest.raises(HTTPError, match=r"40[04]") as refused:
            urlopen(f"{address}/download/{key}")
        refused.value.close()


def test_the_server_listens_on_the_local_machine_only(server):
    process = server[1]
    listening = [c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert listening == ["127.0.0.1"]
