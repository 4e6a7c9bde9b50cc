"""denoiselab doctor."""

import shutil
import subprocess
import sys

import pytest

from denoiselab.app import denoisers, diagnostics, model_catalogue
from denoiselab.runtime.errors import UserError
from tests.command import denoiselab
from tests.conftest import ROOT


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A folder with only the released weights and their entries in conf/."""
    shutil.copytree(ROOT / "models/released", tmp_path / "models/released")
    shutil.copytree(ROOT / "conf/model/released", tmp_path / "conf/model/released")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(diagnostics.MIRROR, raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    for name in ("TIMEOUT", "MAX_RETRIES"):  # changed by contacting the store
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", "1")
    return tmp_path


def states(said) -> dict[str, tuple[str, str]]:
    return {finding["subject"]: (finding["state"], finding["said"]) for finding in said.json["findings"]}


def test_all_checks_pass_outside_a_project_and_nothing_is_created(copy):
    before = sorted(copy.rglob("*"))
    said = denoiselab("doctor", "--json")
    assert said.code == 0
    assert said.json["ok"] is True
    found = states(said)
    state, text = found["weights"]
    assert state == "ok" and text.endswith("real: intact") and {"colour_fast", "gray_fast"} <= {*text.split(", ")}
    assert found["project"][0] == found["DVC"][0] == "note"
    assert found["denoising"][0] == found["torch"][0] == "ok"
    assert "does not exist yet" in found["MLflow"][1]
    assert sorted(copy.rglob("*")) == before


def test_damaged_and_missing_weights_are_found(copy, monkeypatch):
    monkeypatch.setattr(model_catalogue, "PROJECT", copy)
    (copy / "models/released/gray_fast/best_psnr.safetensors").write_bytes(b"cut short")
    (copy / "models/released/real/best_psnr.safetensors").unlink()
    said = denoiselab("doctor")
    assert said.code == 1
    line = next(line for line in said.out.splitlines() if "weights:" in line)
    assert line.startswith("PROBLEM")
    assert "gray_fast/best_psnr.safetensors" in line and "real/best_psnr.safetensors" in line
    assert "git restore models/released" in line and "colour" not in line


def test_missing_extras_are_named_with_what_needs_them(copy, monkeypatch):
    monkeypatch.setattr(diagnostics, "_installed", lambda name: "" if name in ("streamlit", "dvc") else "1.0")
    state, said = diagnostics._packages(copy)
    assert state == "note" and "experiments (experiments), page (denoiselab serve):" in said
    assert said.endswith("pip install 'denoiselab[experiments,page]'")


def test_a_missing_mirror_or_server_is_a_problem(copy, monkeypatch):
    monkeypatch.setenv(diagnostics.MIRROR, str(copy / "nowhere"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    said = denoiselab("doctor", "--json")
    assert (said.code, said.json["ok"]) == (1, False)
    found = states(said)
    assert found["mirror"][0] == "problem" and "is not a folder" in found["mirror"][1]
    assert found["MLflow"][0] == "problem" and "does not answer" in found["MLflow"][1]
    assert "secret" not in said.out
    assert found["denoising"][0] == "ok", "a problem does not stop other checks"


def test_a_remote_of_dvc_is_contacted(copy):
    (copy / "remote").mkdir()
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], check=True)
    with (copy / ".dvc/config").open("a", encoding="utf-8") as config:
        config.write(f"['remote \"shelf\"']\n    url = {copy / 'remote'}\n")
    assert diagnostics._dvc(copy) == ("ok", "cache writable; remotes reachable: shelf")
    for path in ("dvc.lock", ".dvc/tmp/rwlock"):  # killing DVC may leave them empty
        (copy / path).write_bytes(b"")
        state, said = diagnostics._dvc(copy)
        assert state == "problem" and f"{path} is incomplete" in said


def test_a_denoiser_that_does_nothing_is_a_problem(copy, monkeypatch):
    monkeypatch.setattr(denoisers.Denoiser, "restore", lambda self, pixels: pixels)
    state, said = diagnostics._denoising(copy)
    assert state == "problem"
    assert "noise from sigma 25 to 2" in said


def test_waiting_for_an_answer_has_a_limit(monkeypatch):
    from threading import Event

    monkeypatch.setattr(diagnostics, "PATIENCE_S", 0.05)
    with pytest.raises(UserError, match=r"the store does not answer within 0\.05 s"):
        diagnostics._patiently(Event().wait, "the store")
