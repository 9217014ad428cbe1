"""tools/compare_results.py on files: one run, two runs, no published model."""

from __future__ import annotations

import json

import pytest

from frozenseg.cli.main import main
from frozenseg.data.catalog.register import register_splits
from frozenseg.engine.evaluate import evaluate
from frozenseg.evaluation.results import read_results, write_results
from tests.evaluation.kept_predictions import NAME, ROW, WrongOften, config, write_dataset
from tests.stand_in import StandIn

assert StandIn

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


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Two evaluations whose predictions were kept: a/ and b/."""
    root = tmp_path_factory.mktemp("kept")
    write_dataset(root)
    for name, shift in (("a", 2), ("b", 5)):
        evaluate(config(root / name), WrongOften(shift))
    return root


def test_predictions_side_by_side(call, kept):
    register_splits([ROW], kept)
    code, out, _ = call(
        *(kept / name / "predictions" / NAME for name in "ab"),
        *("--most", 2, "--json", kept / "out.json"),
    )
    assert code == 0
    content = json.loads((kept / "out.json").read_text())
    entries = [read_results(kept / name / "results.json")[0] for name in "ab"]
    values = [entry["metrics"]["panoptic"]["all"]["PQ"] for entry in entries]
    row = next(row for row in content["rows"] if row["score"] == "PQ")
    assert [run["value"] for run in row["runs"].values()] == values
    assert "PQ: 2: b has less than 1: a\n| class " in out
    assert "PQ: 2: b has less than 1: a\n| image " in out
    agreement = content["agreement"][0]
    assert (agreement["truth"], agreement["scored"]) == ("1: a", "2: b")
    pq = agreement["metrics"]["panoptic"]["all"]["PQ"]
    assert f"2: b scored with 1: a as the truth: PQ {pq:.2f}, SQ" in out
    assert len(content["images"]) == 5 * 3


def test_predictions_that_cannot_be_compared_are_one_line(call, kept, files):
    register_splits([ROW], kept)
    folder = kept / "a/predictions" / NAME
    for words, error in (
        ((folder, folder), "is given twice"),
        ((files / "a", folder), f"has results of {ADE}, the predictions beside it are of {NAME}"),
        ((folder.parent,), f"has predictions of {NAME}: name one such folder"),
        ((folder, files / "none"), "none does not exist"),
    ):
        code, _, said = call(*words)
        assert (code, said.count("\n")) == (2, 1), said
        assert error in said
