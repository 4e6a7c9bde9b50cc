"""The diagram of the pipeline is what dvc.yaml says."""

import re
import xml.etree.ElementTree as ET

import pytest

from docs.make import flow
from tests.conftest import ROOT

PICTURE = ROOT / "docs/pictures/pipeline.svg"


@pytest.fixture(autouse=True)
def root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_the_pipeline_is_drawn_as_it_is():
    assert PICTURE.read_text(encoding="utf-8") == flow.picture(), "python -m docs.make"


def test_the_picture_stands_alone():
    """Nothing from elsewhere, and nothing beyond its sheet."""
    sheet = ET.fromstring(PICTURE.read_text(encoding="utf-8"))
    width, height = float(sheet.get("width")), float(sheet.get("height"))
    for mark in sheet.iter():
        assert not any("href" in key for key in mark.attrib)
        for key, most in (("x", width), ("cx", width), ("y", height), ("cy", height)):
            assert 0 <= float(mark.get(key, 0)) <= most, mark.attrib
    assert len(re.findall("<rect", PICTURE.read_text(encoding="utf-8"))) > 5


def test_every_stage_and_output_is_in_the_picture():
    text = flow.picture()
    for stage in flow.stages():
        assert f">{stage.name}</text>" in text
        for path in stage.writes:
            assert path.rpartition("/")[2] in text


def test_what_is_read_and_where_it_is_kept_is_dvc_yamls():
    found = {stage.name: stage for stage in flow.stages()}
    assert found["train@M"].reads == ["data/patches", "data/noisy"]
    assert found["compare"].writes["reports/report.md"] == "Git"
    assert found["train@M"].writes["models/M"] == "DVC"
    assert flow.reads(found["compare"], "models/M") and not flow.reads(found["patchify"], "models/M")
