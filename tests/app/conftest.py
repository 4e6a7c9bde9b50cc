"""Every test here runs in its own empty folder, so that models trained in the repository have no effect."""

import pytest


@pytest.fixture(autouse=True)
def own_working_directory(tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("working"))
