"""The shared fixtures and the count of golden tests, seen from outside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CASES = """
import pytest

@pytest.mark.golden
def test_reads(golden_dir):
    assert (golden_dir / "value").read_text() == "1"

@pytest.mark.golden
@pytest.mark.parametrize("right", [True, False])
def test_compares(right):
    assert right

def test_golden_in_the_name_does_not_count(request):
    import random
    import numpy as np
    assert (random.random(), np.random.rand()) == (random.Random(0).random(), 0.5488135039273248)
"""


def run_cases(folder: Path, shared: Path) -> str:
    """Runs the cases in their own project with this repository's conftest; returns the output."""
    tests = folder / "golden"
    tests.mkdir(exist_ok=True)
    shutil.copy(Path(__file__).with_name("conftest.py"), tests / "conftest.py")
    (tests / "test_cases.py").write_text(CASES)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    golden: recorded values\n")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "golden"],
        cwd=folder,
        env={**os.environ, "FROZENSEG_SHARED": str(shared), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
    )
    return result.stdout


def test_golden_tests_run_with_the_recorded_values_and_are_counted(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    (shared / "golden").mkdir(parents=True)
    (shared / "golden/value").write_text("1")
    assert "golden tests: 2 passed, 0 skipped, 1 failed\n" in run_cases(tmp_path, shared)


def test_golden_tests_are_skipped_where_the_values_are_absent(tmp_path: Path) -> None:
    output = run_cases(tmp_path, tmp_path / "absent")
    assert "golden tests: 1 passed, 1 skipped, 1 failed\n" in output
    assert "1 failed, 2 passed, 1 skipped" in output.splitlines()[-1]
