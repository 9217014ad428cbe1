"""Every program answers --help at once: from any directory, without torch, without a GPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in (".", "demo", "tools", "datasets")
    for path in (ROOT / folder).glob("*.py")
    if path.name not in ("__init__.py", "setup.py")
)
# A None in sys.modules makes every import of that name fail.
RUN = """
import runpy, sys
sys.modules.update(dict.fromkeys(("torch", "detectron2", "open_clip", "cv2")))
sys.argv = [sys.argv[1], "--help"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_the_programs_are_found():
    assert {"train_net.py", "demo/demo.py", "tools/benchmark.py"} <= set(PROGRAMS)


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_help_needs_neither_torch_nor_the_repository_as_working_directory(program, tmp_path):
    command = [sys.executable, "-c", RUN, str(ROOT / program)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage:")
