"""Fusioner from the published files of its benchmarks: prepare, verify, train, evaluate.

The tiny data sets are those of tests/data/raw_episodes.py, in the official on-disk formats.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from frozenseg.config import load_config
from frozenseg.data.catalog import find_benchmark
from frozenseg.data.preparation import fss_mosaic
from frozenseg.data.register import register_benchmarks
from frozenseg.data.verify import verify
from frozenseg.engine.trainer import Trainer
from frozenseg.evaluation.results import read_results
from tests.data import raw_episodes
from tests.data.test_verify_rows import run

CONFIG = Path(__file__).parents[1] / "configs" / "miniature" / "fusioner_clip_clip.yaml"
# Training set, test sets, and who writes the published files.
BENCHMARKS = {
    "pascal_5i": (
        "pascal_5i_fold1_train",
        ("pascal_5i_fold1_val", "pascal_5i_fold1_seen_val"),
        raw_episodes.make_pascal_5i,
    ),
    "coco_20i": ("coco_20i_fold2_train", ("coco_20i_fold2_val",), raw_episodes.make_coco_20i),
}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty root of data sets."""
    folder = tmp_path / "datasets"
    folder.mkdir()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(folder))
    monkeypatch.setattr(fss_mosaic, "TILE", 20)
    register_benchmarks()
    yield folder
    monkeypatch.undo()
    register_benchmarks()


def prepared(names, root) -> None:
    """Runs the commands of the rows, and verifies what they made."""
    rows = [find_benchmark(name) for name in names]
    for command in dict.fromkeys(row.prepare for row in rows):
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


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_from_published_files_to_a_trained_and_scored_model(benchmark, root):
    trained, scored, make = BENCHMARKS[benchmark]
    for split in ("train", "val"):
        make(root, split)
    prepared((trained, *scored), root)
    before, after, entries = train(root, trained, scored)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith("method.") for name in moved)
    assert [entry["dataset"] for entry in entries] == list(scored)
    for entry in entries:
        found = entry["metrics"]["episodes"]
        assert found["items"] == entry["images"] > 0
        assert 0 <= found["mIoU"] <= 100
        assert 0 <= found["FB_IoU"] <= 100
        assert entry["protocol"]["model"]["method"] == "early"
        assert entry["protocol"]["trained_on"] == [trained]
        assert entry["protocol"]["test_size"] == [0, 0]


@pytest.mark.parametrize("method", ["late", "spnet", "zs3net"])
def test_the_comparisons_train_and_score_in_the_same_way(method, root):
    raw_episodes.make_pascal_5i(root, "train")
    raw_episodes.make_pascal_5i(root, "val")
    prepared(("pascal_5i_fold0_train", "pascal_5i_fold0_val"), root)
    words = ["MODEL.FUSIONER.METHOD", method]
    words += ["SOLVER.CONSTANT_MODULES", "[]"] if method == "zs3net" else []
    _, _, entries = train(root, "pascal_5i_fold0_train", ("pascal_5i_fold0_val",), *words)
    assert 0 <= entries[0]["metrics"]["episodes"]["mIoU"] <= 100


def test_mosaics_ask_for_four_words_at_once(root):
    raw_episodes.make_fss(root)
    raw_episodes.make_pascal_5i(root, "train")
    prepared(("fss_mosaic_4_test", "pascal_5i_fold0_train"), root)
    _, _, entries = train(root, "pascal_5i_fold0_train", ("fss_mosaic_4_test",), iterations=2)
    found = entries[0]["metrics"]["episodes"]
    assert found["items"] == entries[0]["images"] > 1
    assert len(found["per_class"]) >= 4
