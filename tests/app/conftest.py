"""Every test here runs in an empty folder of its own: an experiment in the repository does not change what it sees."""

import pytest


@pytest.fixture(autouse=True)
def own_working_directory(tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("working"))
