"""The benchmark of a pairing runs, and compares like with like."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from frozenseg.cli.benchmark_fusioner import by_definition
from frozenseg.fusioner.cosine_logits import cosine_logits

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def run(*words):
    command = [sys.executable, "-m", "frozenseg", "benchmark", "fusioner", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_a_row_for_each_number_of_words(tmp_path):
    config = str(ROOT / "configs" / "miniature" / "fusioner_clip_clip.yaml")
    result = run(
        "--config-file", config, "--words", "1", "3", "--runs", "1", "--json", str(tmp_path / "a")
    )
    assert result.returncode == 0, result.stderr
    rows = json.loads((tmp_path / "a").read_text())
    assert [row["words"] for row in rows] == [1, 3]
    assert all(value > 0 for row in rows for value in row.values())


def test_another_model_is_refused():
    result = run("--config-file", str(ROOT / "configs" / "miniature" / "fcclip.yaml"))
    assert result.returncode == 2
    assert "is not an early or late Fusioner" in result.stderr


def test_the_definition_is_what_the_head_computes():
    features, words = torch.randn(2, 6, 4, 4), torch.randn(2, 3, 6)
    expected = by_definition(features, words, (9, 9)).unflatten(2, (9, 9))
    torch.testing.assert_close(cosine_logits(features, words, (9, 9)), expected, atol=1e-3, rtol=0)
