"""The champion over HTTP: `mlflow models serve` answers pictures of any size with what the library makes of them."""

import base64
import os
import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import requests
import tifffile
from PIL import Image

from denoiselab.app import MLFLOW_SERVICE, denoisers
from denoiselab.config import load
from denoiselab.tracking import registry
from tests import nets
from tests.conftest import ROOT, photograph
from tests.servers import documented, free_port, running

pytestmark = pytest.mark.slow

DOCS = ROOT / "docs" / "production.md"


@pytest.fixture(scope="module")
def served(tmp_path_factory, migrated):
    """The address of a server of the champion, and the denoiser that it serves."""
    root = tmp_path_factory.mktemp("serving")
    with pytest.MonkeyPatch.context() as patch:
        nets.workspace(root)
        (root / "mlflow.db").write_bytes(migrated.read_bytes())
        patch.chdir(root)
        patch.setenv("DVC_ROOT", str(root))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        nets.log("short")
        assert registry.promote(load(), "short", MLFLOW_SERVICE, force=True).moved
        own = denoisers.load("models/short")
    port = free_port()
    command = documented(DOCS, "mlflow models serve", port=str(port))
    address = f"http://127.0.0.1:{port}"
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{root / 'mlflow.db'}", "PYTHONPATH": ""}  # its code is in the model
    with running(command, f"{address}/ping", root / "server.log", **store):
        yield address, own


def ask(address: str, *rows: dict) -> requests.Response:
    return requests.post(f"{address}/invocations", json={"dataframe_records": list(rows)}, timeout=120)


def encoded(file: bytes) -> str:
    return base64.b64encode(file).decode("ascii")


def png(pixels: np.ndarray) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def tiff(pixels: np.ndarray) -> bytes:
    stream = BytesIO()
    tifffile.imwrite(stream, pixels, photometric="rgb")
    return stream.getvalue()


def files(answer: requests.Response) -> list[BytesIO]:
    assert answer.status_code == 200, answer.text
    return [BytesIO(base64.b64decode(row["image"])) for row in answer.json()["predictions"]]


def test_pictures_of_any_size_get_what_the_library_makes_of_them(served):
    """Float TIFF in and out shows every digit; sizes are odd, and none is training's."""
    address, own = served
    generator = np.random.default_rng(0)
    pictures = [generator.random((height, width, 3), np.float32) for height, width in ((67, 95), (33, 180))]
    answered = files(ask(address, *({"image": encoded(tiff(one))} for one in pictures)))
    for picture, file in zip(pictures, answered, strict=True):
        np.testing.assert_allclose(tifffile.imread(file), own.restore(picture), rtol=0, atol=1e-5)


def test_a_png_is_answered_by_a_png_of_its_depth(served):
    address, own = served
    noisy = photograph("coffee")[:101, :77]
    (answer,) = files(ask(address, {"image": encoded(png(noisy)), "sigma_255": 25.0}))
    restored = np.asarray(Image.open(answer))
    expected = np.rint(255 * own.restore(noisy.astype(np.float32) / 255).clip(0, 1))
    assert restored.dtype == np.uint8 and np.abs(restored - expected).max() <= 1  # at .5 rounding may differ


PICTURE = encoded(png(photograph()[:48, :40]))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"dataframe_records": [{"image": encoded(b"no picture")}]}, "image: not an image that can be read"),
        ({"dataframe_records": [{"image": encoded(png(photograph()[:64, :64])[:2000])}]}, "image: damaged image"),
        ({"dataframe_records": [{"picture": ""}]}, "missing inputs.*image"),
        ({"inputs": {"image": 7}}, "image"),
        ({"dataframe_records": [{"image": PICTURE, "sigma_255": -1.0}]}, "sigma_255: -1 is not a noise level"),
        ({"dataframe_records": [{"image": PICTURE, "sigma_255": 1e30}]}, "sigma_255: 1e.30 is not a noise level"),
        ({"image": "AAAA"}, "dataframe_records"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong_with_it(served, body, said):
    answer = requests.post(f"{served[0]}/invocations", json=body, timeout=120)
    assert answer.status_code == 400
    assert re.search(said, answer.json()["message"]), answer.text
    assert "stack_trace" not in answer.json()


def test_where_no_level_is_given_the_model_tells(served):
    """Null is what is not given; one row's level is not another's."""
    address, _ = served
    both = files(ask(address, {"image": PICTURE, "sigma_255": 0}, {"image": PICTURE, "sigma_255": None}))
    (alone,) = files(ask(address, {"image": PICTURE}))
    assert both[1].getvalue() == alone.getvalue()


def snippet(language: str) -> str:
    """The client in that language of the documentation."""
    return re.search(rf"```{language}\n(# client.*?)```", DOCS.read_text(encoding="utf-8"), re.S).group(1)


@pytest.mark.parametrize("language", ["sh", "python"])
def test_the_clients_of_the_documentation(served, language, tmp_path):
    address, own = served
    noisy = photograph("chelsea")[:90, :121]
    Image.fromarray(noisy).save(tmp_path / "noisy.png")
    program = {"sh": ["sh", "-euc"], "python": [sys.executable, "-c"]}[language]
    text = snippet(language).replace("http://127.0.0.1:5001", address)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run([*program, text], cwd=tmp_path, check=True, timeout=300, env=os.environ | {"PATH": path})
    restored = np.asarray(Image.open(tmp_path / "denoised.png"))
    expected = np.rint(255 * own.restore(noisy.astype(np.float32) / 255).clip(0, 1))
    assert np.abs(restored - expected).max() <= 1
