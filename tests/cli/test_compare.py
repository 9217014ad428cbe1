"""tools/compare_results.py on files: one run, two runs, no published model."""

from __future__ import annotations

import json

import pytest

from frozenseg.cli.main import main
from frozenseg.evaluation.results import write_results

ADE = "openvocab_ade20k_panoptic_val"


def entry(clip="RN50", pq=18.0, alpha=0.4):
    groups = {"all": {"PQ": pq, "SQ": 1.0, "RQ": 1.0, "classes": 150}}
    return {
        "benchmark": "ade20k_150",
        "dataset": ADE,
        "images": 2000,
        "metrics": {"panoptic": groups},
        "protocol": {
            "model": {"architecture": "FCCLIP", "clip": clip},
            "ensemble": {"enabled": True, "alpha": alpha, "beta": 0.8},
        },
    }


@pytest.fixture
def call(capsys):
    """Runs the script in this process: (exit code, stdout, stderr)."""

    def run(*words):
        words = [str(word) for word in words]
        with pytest.raises(SystemExit) as ended:
            main(["compare", *words])
        return ended.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def files(tmp_path):
    """Two runs of FC-CLIP with ResNet-50, and one with another CLIP."""
    runs = {"a": entry(), "b": entry(pq=17.5, alpha=0.2), "c": entry(clip="RN101")}
    for name, one in runs.items():
        write_results(tmp_path / name / "results.json", [one])
    return tmp_path


def test_a_run_beside_the_published_row(call, files):
    code, out, _ = call(files / "a/results.json", "--json", files / "out.json")
    assert code == 0
    assert "published: fcclip/r50\n" in out
    [line] = [line for line in out.splitlines() if "| PQ " in line]
    assert [cell.strip() for cell in line.split("|")[1:-1]] == [
        ADE,
        "PQ",
        "17.90",
        "18.00",
        "+0.10",
    ]
    assert "published by: model zoo of github.com/bytedance/fc-clip" in out
    assert "- prompt templates: None here, vild_14 published" in out
    content = json.loads((files / "out.json").read_text())
    assert content["published"] == "fcclip/r50"
    assert content["rows"][0]["published"] == 17.9
    assert content["notes"][ADE]


def test_two_runs_side_by_side(call, files):
    code, out, _ = call(files / "a", files / "b", "--published", "none")
    assert code == 0
    [line] = [line for line in out.splitlines() if "| PQ " in line]
    assert [cell.strip() for cell in line.split("|")[1:-1]][2:] == ["-", "18.00", "17.50", "-0.50"]
    assert "1: a and 2: b differ in ensemble.alpha: 0.4, 0.2" in out


def test_what_cannot_be_compared_is_one_line(call, files):
    code, _, error = call(files / "a", files / "c")
    assert code == 2
    assert "the runs are of fcclip/r50 and fcclip/r101: choose one with --published" in error
    assert call(files / "a", "--published", "x")[0] == 2
    assert call(files / "none")[0] == 2
