"""The check of a GPU runs everywhere in miniature, and nothing that fails ends it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools import gpu_check
from tools.gpu import parts
from tools.gpu.parts import PARTS, Setting
from tools.gpu_check import TOTAL, run, tables

ROOT = Path(__file__).resolve().parents[2]
SETTING = Setting("cpu", True, Path())


def fails(_):
    yield {"case": 1}
    raise ValueError("no such kernel")


def hangs(_):
    yield {"case": 1}
    time.sleep(600)


def dies(_):
    yield {"case": 1}
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("part", "error"),
    [
        (fails, "no such kernel"),
        (hangs, "stopped: not done in its 2 s"),
        (dies, f"its process ended with {-signal.SIGKILL}"),
    ],
)
def test_what_was_measured_before_an_error_stays(part, error):
    assert list(run(part, SETTING, 2)) == [{"case": 1}, {"error": error}]


def test_a_part_without_time_left_is_skipped():
    assert list(run(fails, SETTING, -1)) == [{"skipped": "all 480 s are used up"}]


def test_budgets_fill_the_eight_minutes():
    assert sum(seconds for _, seconds in PARTS.values()) == TOTAL


def test_tables_have_the_figures_and_the_errors_of_every_part():
    rows = [{"mode": "eager", "ms": 12.34567, "falls": True}, {"error": "gone"}]
    text = tables({"parts": {"inference": {"seconds": 3.2, "rows": rows}}})
    assert text.startswith("## inference (3 s)\n\n| mode")
    assert "12.35" in text
    assert "True" in text
    assert "gone" in text


def test_the_files_are_there_after_a_cut_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(parts, "PARTS", {"a": (fails, 5), "b": (hangs, 0.5)})
    words = ["gpu_check.py", "--device", "cpu", "--tiny", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    assert gpu_check.main() == 1
    report = json.loads((tmp_path / "gpu_check.json").read_text())
    assert [row["case"] for part in report["parts"].values() for row in part["rows"][:1]] == [1, 1]
    assert "no such kernel" in (tmp_path / "gpu_check.md").read_text()
    assert "machine: " in capsys.readouterr().out


@pytest.mark.slow
def test_all_parts_in_miniature_on_the_cpu(tmp_path):
    # Patient: the tests share their machine.
    words = ["--device", "cpu", "--tiny", "--patience", "30", "--output", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "tools" / "gpu_check.py"), *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    parts = json.loads((tmp_path / "gpu_check.json").read_text())["parts"]
    assert list(parts) == list(PARTS)
    rows = {name: part["rows"] for name, part in parts.items()}
    if "skipped" not in rows["golden models"][0]:
        exact = [row for row in rows["golden models"] if row["precision"] == "float32"]
        assert all(row["pred_masks"] < 1e-3 and row["equal labels %"] > 99.9 for row in exact)
    assert len(rows["samplers"]) == 8
    assert [row["mode"] for row in rows["inference FrozenSeg-B"]][-1] == "bfloat16, compiled"
    straight, resumed = rows["training and resume"]
    assert straight["loss falls"]
    assert resumed["iterations"] == straight["iterations"] // 2
    assert resumed["later ones by"] < 1e-3
    assert rows["out of memory"][0]["equal labels %"] == 100
    assert rows["mask export"][0]["masks"] > 0
