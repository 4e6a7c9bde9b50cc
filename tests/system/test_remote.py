"""DVC remote: another clone pulls from S3 what one clone has pushed, and is then up to date."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from moto.server import ThreadedMotoServer

from denoiselab.runtime import files
from tests.projects import call, dvc, make_project

pytestmark = pytest.mark.slow

OUTPUTS = ("data/raw", "data/patches", "data/noisy")


@pytest.fixture
def s3(monkeypatch) -> Iterator[str]:
    """Address of a local S3 server with an empty bucket `denoiselab`."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": host,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    requests.put(f"http://{host}:{port}/denoiselab", timeout=10).raise_for_status()
    yield f"http://{host}:{port}"
    server.stop()


def digests(project: Path) -> dict[str, str]:
    return {output: files.sha256(project / output) for output in OUTPUTS}


def test_another_clone_pulls_the_outputs_and_is_up_to_date(tmp_path, s3):
    (tmp_path / "one").mkdir()
    one, two = make_project(tmp_path / "one"), tmp_path / "two"
    dvc(one, "remote", "add", "--default", "store", "s3://denoiselab/cache")
    dvc(one, "remote", "modify", "store", "endpointurl", s3)
    dvc(one, "repro", "add-noise")
    call(one, "git", "add", "-A")
    call(one, "git", "commit", "-qm", "Run up to the noise")
    dvc(one, "push", "--with-deps", "add-noise")

    call(tmp_path, "git", "clone", "-q", str(one), str(two))
    assert not any((two / output).exists() for output in OUTPUTS)
    dvc(two, "pull", "--with-deps", "add-noise")
    assert digests(two) == digests(one)
    assert "Data and pipelines are up to date" in dvc(two, "repro", "add-noise")
