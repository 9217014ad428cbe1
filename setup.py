"""Puts configs/ into the package as frozenseg/configs; all else stands in pyproject.toml."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Copies the YAML and JSON files, so that models have names without a checkout too."""

    def run(self) -> None:
        """Copies the package, then configs/ into it (not in an editable installation)."""
        super().run()
        if not self.editable_mode:
            for path in self._configs():
                target = Path(self.build_lib, "frozenseg", path)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """What was written, with the configs."""
        written = list(super().get_outputs(include_bytecode))
        return written + [str(Path(self.build_lib, "frozenseg", path)) for path in self._configs()]

    def _configs(self) -> list[Path]:
        return sorted(path for path in Path("configs").rglob("*") if path.is_file())


setup(cmdclass={"build_py": BuildWithConfigs})
