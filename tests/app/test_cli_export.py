"""denoiselab export."""

import pytest

from denoiselab.app import denoisers
from denoiselab.app.cli import _options
from tests.command import denoiselab
from tests.conftest import ROOT

onnx = pytest.importorskip("onnx")


@pytest.mark.slow
def test_a_released_model_is_exported_with_its_metadata(tmp_path):
    out = tmp_path / "gray.onnx"
    said = denoiselab("export", "gray", out, "--json")
    assert said.code == 0
    assert said.json["inputs"] == {"noisy": ["batch", 1, "height", "width"]}
    assert [check["shape"] for check in said.json["checks"]] == [[1, 64, 96], [2, 37, 51], [1, 129, 90]]
    assert all(check["difference"] <= said.json["bound"] for check in said.json["checks"])
    notes = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    name = denoisers.resolved("gray")
    assert said.json["name"] == notes["name"] == name
    assert notes["licence"] != "not stated"
    assert notes["sigma_255"] == "0 to 55"
    sha256 = notes["weights_sha256"]
    assert sha256 in (ROOT / f"conf/model/released/{name}.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["gray", "gray.pt"], "gray.pt: the file name must end in .onnx"),
        (["nobody", "out.onnx"], "unknown model 'nobody'; choose from: colour_"),
        (["gray", "there.onnx"], "there.onnx: already exists; use --force to overwrite it"),
        (["gray", "."], ".: is a folder; give a file name"),
        (["gray", "out.onnx", "--quality", "good"], "unknown quality 'good'; choose from: fast, best"),
    ],
)
def test_mistakes_give_one_line(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.onnx").write_text("mine")
    said = denoiselab("export", *options)
    assert (said.code, said.out, said.err.count("\n")) == (1, "", 1)
    assert message in said.err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_missing_packages_are_named_with_the_command_to_install_them(tmp_path, monkeypatch):
    monkeypatch.setattr(_options, "find_spec", lambda name: None if name.startswith("onnx") else object())
    said = denoiselab("export", "gray", tmp_path / "gray.onnx")
    assert said.code == 1
    assert "pip install 'denoiselab[onnx]'" in said.err
