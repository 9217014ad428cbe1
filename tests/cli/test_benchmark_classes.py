"""The measurement of memory and time against the number of classes runs and adds up."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tools.quickstart import CONFIGS, ROOT

pytestmark = pytest.mark.slow


def test_scores_of_many_classes_cost_their_tensor_and_labels_do_not(tmp_path):
    out = tmp_path / "figures.json"
    words = ["--config-file", str(CONFIGS / "fcclip.yaml"), "--classes", "300", "--runs", "1"]
    words += ["--size", "400", "400", "--input", "64", "64", "--json", str(out)]
    # A process of its own: what other tests have used and freed would be used again here.
    command = [sys.executable, "-m", "frozenseg", "benchmark", "classes", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [row] = json.loads(out.read_text())
    tensor = 300 * 400 * 400 * 4 / 2**20  # 183 MB
    assert row["scores"]["megabytes"] > tensor
    assert row["labels"]["megabytes"] < row["scores"]["megabytes"] - tensor / 2
    assert "(C, H, W) in MB" in done.stdout
