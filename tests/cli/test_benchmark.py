"""The benchmark's figures are complete and add up (never how large they are)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "tests" / "shapes_fcclip.yaml"


def test_figures_of_a_small_model(tmp_path):
    out = tmp_path / "figures.json"
    command = [sys.executable, str(ROOT / "tools" / "benchmark.py"), "--config-file", str(CONFIG)]
    command += ["--size", "64", "96", "--runs", "1", "--warmup", "0", "--text-sample", "8"]
    words = (
        "DATASETS.TRAIN",
        "miniature_train_panoptic",
        "DATASETS.TEST",
        "miniature_val_panoptic",
    )
    command += ["--words", "12", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "53"]
    command += [words[0], f"('{words[1]}',)", words[2], f"('{words[3]}',)"]
    result = subprocess.run(
        [*command[:2], "--json", str(out), *command[2:]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "(total - backbone) / backbone" in result.stdout
    figures = json.loads(out.read_text())
    seconds = figures["seconds"]
    stages = ("backbone", "pixel decoder", "transformer decoder", "classification", "task heads")
    total = sum(seconds[name] for name in (*stages, "other"))
    assert total == pytest.approx(seconds["total"])
    assert sum(figures["processor seconds"][name] for name in (*stages, "other")) == pytest.approx(
        figures["processor seconds"]["total"]
    )
    assert all(
        value >= 0 for unit in ("seconds", "processor seconds") for value in figures[unit].values()
    )
    assert "machine: " in result.stdout
    assert figures["machine"]["cores"] >= 1
    heads = ("mask resize, sigmoid", "semantic", "panoptic", "instance")
    assert sum(seconds[name] for name in heads) == pytest.approx(seconds["task heads"])
    assert all(figures["gflop"][name] > 0 for name in stages[:3])
    assert figures["text"]["prompts"] == 14 * figures["text"]["synonyms"]
    queries = int(re.search(r"NUM_OBJECT_QUERIES: (\d+)", CONFIG.read_text())[1])
    assert figures["queries"] == queries
    assert figures["peak memory (GB)"] > 0
    changes = figures["change of words"]
    assert [row["words"] for row in changes] == [12, 12, 22, 12]
    assert [row["prompts"] for row in changes] == [14 * 12, 0, 14 * 10, 0]
    assert "10 new words added" in result.stdout
