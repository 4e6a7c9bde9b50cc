"""The served model's answers to good and bad requests, without a server."""

import io
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from PIL import Image

from denoiselab.app import denoisers, memory, mlflow_service
from denoiselab.runtime import paths
from tests.conftest import ROOT, photograph


@pytest.fixture(scope="module")
def serving() -> mlflow_service.Service:
    made = mlflow_service.Service()
    made.load_context(SimpleNamespace(artifacts={mlflow_service.WEIGHTS: str(ROOT / paths.released("gray_fast"))}))
    return made


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


PICTURE = png(photograph()[:48, :40, 0])


def ask(serving: mlflow_service.Service, **row: object) -> list:
    return serving.predict(None, pd.DataFrame([row]))


def refused(serving: mlflow_service.Service, **row: object) -> tuple[int, str]:
    """HTTP status and message."""
    with pytest.raises(MlflowException) as raised:
        ask(serving, **row)
    return raised.value.get_http_status_code(), raised.value.message


@pytest.mark.parametrize("level", [-1.0, -1e-9, 255.1, 1e30, math.inf, -math.inf])
def test_an_impossible_level_is_a_bad_request(serving, level):
    status, said = refused(serving, image=PICTURE, sigma_255=level)
    assert status == 400 and "is not a noise level; use 0 to 255, or leave it out" in said


@pytest.mark.parametrize("level", [0.0, 25.0, 255.0, None, math.nan])
def test_a_possible_level_or_none_is_accepted(serving, level, monkeypatch):
    given = []
    restore = denoisers.Denoiser.restore

    def noted(self, pixels, *, sigma_255):
        given.append(sigma_255)
        return restore(self, pixels, sigma_255=sigma_255)

    monkeypatch.setattr(denoisers.Denoiser, "restore", noted)
    assert ask(serving, image=PICTURE, sigma_255=level)[0]["image"]
    assert given == [None if level is None or math.isnan(level) else level]


def test_a_file_that_is_not_an_image_is_a_bad_request(serving):
    assert refused(serving, image=b"no picture")[0] == 400
    assert refused(serving, image=PICTURE[: len(PICTURE) // 2])[0] == 400


def test_a_failure_of_the_server_is_not_a_bad_request(serving, monkeypatch, capsys):
    """A ValueError raised while restoring an intact image is a server error, explained in the server's log."""

    def fails(*_: object, **__: object) -> None:
        raise ValueError("/srv/secret/weights: shapes differ")

    monkeypatch.setattr(denoisers.Denoiser, "restore", fails)
    assert refused(serving, image=PICTURE) == (500, "the server failed: ValueError")
    assert "shapes differ" in capsys.readouterr().err


def test_short_memory_asks_to_try_again_later(serving, monkeypatch):
    monkeypatch.setattr(memory.devices, "free_bytes", lambda device: 10**6)
    status, said = refused(serving, image=PICTURE)
    assert status == 503 and "try again later" in said
