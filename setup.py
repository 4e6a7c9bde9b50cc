"""Puts the released weights into the wheel, as denoiselab/released; the rest is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithWeights(build_py):
    """build_py that copies models/released."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            shutil.copytree("models/released", Path(self.build_lib) / "denoiselab/released", dirs_exist_ok=True)


setup(cmdclass={"build_py": WithWeights})
