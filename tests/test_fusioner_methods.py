"""Fusioner's comparisons from the published files of PASCAL-5i: prepare, verify, train, evaluate.

Early fusion and the other benchmarks: tests/test_every_episodic_benchmark.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from frozenseg.config import load_config
from frozenseg.data.catalog.lookup import find_split
from frozenseg.data.catalog.register import register_splits
from frozenseg.data.verify.run import verify
from frozenseg.engine.trainer import Trainer
from frozenseg.evaluation.results import read_results
from tests.data import raw_episodes
from tests.data.test_verify_rows import run

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).parents[1] / "configs" / "miniature" / "fusioner_clip_clip.yaml"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty root of datasets."""
    folder = tmp_path / "datasets"
    folder.mkdir()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(folder))
    register_splits()
    yield folder
    monkeypatch.undo()
    register_splits()


def prepared(names, root) -> None:
    """Runs the commands of the rows, and verifies what they made."""
    rows = [find_split(name) for name in names]
    for command in dict.fromkeys(row.origin.command for row in rows):
        run(command, root)
    for row in rows:
        report = verify(row, root, subset=True, progress=False)
        assert report.findings == [], report.text()


def train(root, trained, scored, *words, iterations=3):
    """The weights before and after a short training, and the entries of results.json."""
    keys = {
        "MODEL.DEVICE": "cpu",
        "MODEL.FUSIONER.CROP": 64,
        "MODEL.FUSIONER.STRIDE": 48,
        "DATASETS.TRAIN": (trained,),
        "DATASETS.TEST": scored,
        "INPUT.IMAGE_SIZE": 64,
        "INPUT.EPISODES.AUGMENT": True,
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.MAX_ITER": iterations,
        "SOLVER.WARMUP_ITERS": 1,
        "OUTPUT_DIR": root / "output",
    }
    pairs = [str(word) for pair in keys.items() for word in pair]
    trainer = Trainer(load_config(CONFIG, [*pairs, *words]))
    trainer.resume_or_load(resume=False)
    before = {n: p.detach().clone() for n, p in trainer.model.named_parameters()}
    trainer.train()
    after = dict(trainer.model.named_parameters())
    return before, after, read_results(root / "output" / "results.json")


@pytest.mark.parametrize("method", ["late", "spnet", "zs3net"])
def test_the_comparisons_train_and_score_in_the_same_way(method, root):
    raw_episodes.make_pascal_5i(root, "train")
    raw_episodes.make_pascal_5i(root, "val")
    prepared(("pascal_5i_fold0_train", "pascal_5i_fold0_val"), root)
    words = ["MODEL.FUSIONER.METHOD", method]
    words += ["SOLVER.CONSTANT_MODULES", "[]"] if method == "zs3net" else []
    before, after, entries = train(root, "pascal_5i_fold0_train", ("pascal_5i_fold0_val",), *words)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith("method.") for name in moved)
    assert entries[0]["protocol"]["model"]["method"] == method
    found = entries[0]["metrics"]["episodes"]
    assert found["items"] == entries[0]["images"] > 0
    assert 0 <= found["mIoU"] <= 100
