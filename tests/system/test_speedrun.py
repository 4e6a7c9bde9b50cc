"""The speed-run at toy size, here and in a folder copied to a machine without DVC, MLflow or network."""

import json
import subprocess
import sys

import pytest

from bench import alone, speedrun
from bench._project import environment
from denoiselab.config import Params

CARRIED = """
import socket, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("dvc", "mlflow", "hydra"):
            raise ModuleNotFoundError(name)
def refuse(*address, **options):
    raise OSError("no network")
sys.meta_path.insert(0, Absent())
socket.getaddrinfo = socket.create_connection = refuse
from bench import alone
sys.exit(alone.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_toy_run_stops_at_its_target_and_is_marked_as_toy(tmp_path):
    speedrun.main(["--toy", "--tasks", "gray", "--seeds", "1", "--out", str(tmp_path)])
    (found,) = json.loads((tmp_path / "speedrun.json").read_text(encoding="utf-8"))
    assert found["reached"]
    assert found["looks"][-1]["psnr"] >= 21 > max([0, *(look["psnr"] for look in found["looks"][:-1])])
    assert found["seconds"] == found["looks"][-1]["seconds"]
    assert found["scores"]["sigma25"]["psnr"] == found["looks"][-1]["psnr"]
    page = (tmp_path / "speedrun.md").read_text(encoding="utf-8")
    assert "**Not measured on a GPU.**" in page and "Toy size" in page
    assert "| gray: toy: DnCNN 3x32 until 21 dB | 0 |" in page


@pytest.mark.slow
def test_a_prepared_folder_runs_elsewhere_and_resumes_after_a_sitting(tmp_path):
    alone.main(["prepare", str(tmp_path / "kit"), "--toy", "--tasks", "colour10"])
    command = [
        sys.executable,
        "-c",
        CARRIED,
        "run",
        str(tmp_path / "kit"),
        "--toy",
        "--tasks",
        "colour10",
        "--seeds",
        "1",
    ]
    command += ["--out", str(tmp_path / "out")]

    def sit(*options: str) -> int:
        done = subprocess.run([*command, *options], env=environment(), capture_output=True, text=True)
        assert done.returncode in (0, alone.UNFINISHED), done.stderr
        return done.returncode

    assert sit("--sitting", "0") == alone.UNFINISHED
    assert not (tmp_path / "out").exists()
    assert sit() == 0
    (found,) = json.loads((tmp_path / "out" / "speedrun.json").read_text(encoding="utf-8"))
    steps = [row["step"] for row in found["history"]]
    assert steps == sorted(set(steps)) and steps[-1] == found["steps"]
    assert {*found["scores"]} == {"sigma15", "sigma25", "sigma50"}
    before = (tmp_path / "out" / "speedrun.json").read_bytes()
    assert sit() == 0  # finished runs are not repeated
    assert (tmp_path / "out" / "speedrun.json").read_bytes() == before


@pytest.mark.parametrize("name", list(speedrun.TASKS))
def test_the_gpu_tasks_have_valid_parameters(name):
    task = speedrun.TASKS[name]
    params = Params.model_validate(speedrun.compose(*task.overrides))
    settings = params.training(task.model)
    assert settings.precision == "auto" and settings.compile
    assert params.patches.size >= settings.crop
    assert len(params.noise.test) == (1 if task.target_db else 3)
