"""The miniature table: its rows, its text, and that a row scores what the command scores."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from frozenseg.build import load_model
from frozenseg.config import load_config
from frozenseg.data.miniature.dataset import write_miniature
from frozenseg.engine.evaluate import evaluate_dataset, plan
from frozenseg.evaluation.results import column
from frozenseg.mask_classification.class_path import ClassLogits
from tools import miniature_family as family
from tools.miniature.family_rows import SCORES, Row
from tools.miniature.family_scores import Truth, VoidStudy, pairs_won


def test_rows_and_their_names():
    rows = family.combinations()
    assert rows["released settings"] == Row()
    both = rows["Mask-Adapter + COAT 0.25 + SAM's proposals"]
    assert (both.adapter, both.trust, both.proposals) == (True, 0.25, True)
    assert len(rows) == 16
    assert all(row.panoptic_alone for row in family.choices().values())


def test_table_of_two_seeds():
    def run(value):
        scores = {name: dict.fromkeys(family.GROUPS, value) for name in SCORES}
        more = {name: dict.fromkeys(family.GROUPS, value + 1) for name in ("PQ", "SQ", "RQ")}
        return {"rows": {"as it is": scores, "COAT 0.5": more}}

    rows = {"as it is": Row(), "COAT 0.5": Row(trust=0.5)}
    text = family.table({"fcclip": [run(50.0), run(52.0)], "frozenseg": []}, rows)
    three = " / ".join(["51.0 ± 1.4"] * 3)
    _, _, plain, coat = text.splitlines()
    assert plain == f"| FC-CLIP: as it is | {' | '.join([three] * 5)} |  |"
    assert coat.endswith("| same | same | 1.0 ± 0.0 / 1.0 ± 0.0 / 1.0 ± 0.0 |")


def test_pairs_won():
    assert pairs_won(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == 87.5


def test_void_study_counts_segments_and_the_queries_that_coat_lets_speak():
    # Segments of the classes 0 (seen), 1 and 1. Queries: the first two fit the first segment, the
    # third the second one, the last none.
    iou = torch.tensor([[0.9, 0, 0], [0.8, 0, 0], [0, 0.7, 0], [0.1, 0, 0.1]])
    words = torch.tensor([[8.0, 0, 0], [3, 0, 4], [0, 3, 4], [0, 3, 4]])
    more = words - torch.tensor([0, 0, 2.0])
    study = VoidStudy(np.array([True, False]), 0.0)

    net = SimpleNamespace(
        truth=Truth(torch.tensor([0, 1, 1]), iou),
        logits=ClassLogits(words[None].log_softmax(-1), more[None].log_softmax(-1)),
        void_Q=torch.tensor([0.0, 0.6, 0.6, 0.9]),
        sure_Q=torch.tensor([0.9, 0.9, 0.8, 0.3]),
    )
    study.add(net)
    report = study.report()
    assert report["segments"] == {"seen, found": 1, "unseen, no query": 1, "unseen, void": 1}
    assert report["spoken"] == {"again": 1, "nothing": 1, "right": 1}
    assert net.truth.best_Q.tolist() == [True, False, True, False]
    assert report["told by p_void"] == 87.5
    assert report["told by CLIP"] == 62.5


@pytest.mark.slow
def test_a_row_scores_what_the_command_scores(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    write_miniature(tmp_path / "data" / "miniature", {"train": 2, "dev": 0, "val": 2}, seed=3)
    names = ("Mask-Adapter", "released settings", "Mask-Adapter + COAT 0.5", "perfect void")
    rows = {name: family.combinations()[name] for name in names}
    found = family.score(tmp_path, "frozenseg", 0, rows, None)
    joined = str(tmp_path / "frozenseg_s0" / "joined.safetensors")
    row = family.ADAPTER
    coat = ["MODEL.FROZEN_SEG.VOID_TRUST", 0.5, "MODEL.MASK_ADAPTER.MASK_THRESHOLD", row.threshold]
    coat += ["MODEL.FROZEN_SEG.GEOMETRIC_ENSEMBLE_ALPHA", row.alpha]
    coat += ["MODEL.FROZEN_SEG.GEOMETRIC_ENSEMBLE_BETA", row.beta]
    for name, config, weights, keys in (
        ("released settings", family.TRAINING, "miniature-frozenseg", []),
        ("Mask-Adapter + COAT 0.5", family.TEST, joined, coat),
    ):
        cfg = load_config(config, ["MODEL.DEVICE", "cpu", *map(str, keys)])
        model, _ = load_model(cfg, weights)
        metrics = evaluate_dataset(model.eval(), plan(cfg, family.VAL))["metrics"]
        expected = {each: column(metrics, each) for each in ("PQ", "SQ", "RQ")}
        assert {each: found["rows"][name][each] for each in expected} == expected
    counts = found["rows"]["perfect void"]["counts"]["all"]
    assert counts["tp"] >= found["rows"]["released settings"]["counts"]["all"]["tp"]
