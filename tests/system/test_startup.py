"""Stages import slow packages only when they need them, so that they start quickly."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

HEAVY = {"torch", "mlflow", "pandas", "matplotlib", "scipy", "skimage", "sklearn", "albumentations", "optuna", "dvc"}
PAID = {
    "fetch": set(),
    "patchify": set(),
    "add_noise": {"torch"},
    "train": {"torch"},
    "evaluate": {"torch"},
    "compare": {"pandas"},
}


@pytest.mark.parametrize("stage", PAID)
def test_a_stage_imports_only_the_slow_packages_it_needs(stage):
    code = f"import sys, pipeline.{stage}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    found = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    done = subprocess.run([sys.executable, "-c", code], env=found, cwd=ROOT, capture_output=True, text=True, check=True)
    assert {*done.stdout.split()} & HEAVY == PAID[stage]
