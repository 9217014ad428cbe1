"""Every episodic row from end to end: files as they are published, prepare, verify, scores.

The tiny datasets are those of tests/data/raw_episodes.py. Their items were counted by hand
(`ITEMS`): a prediction that equals the ground truth scores 100, one that says yes everywhere what
follows from the counts alone.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from frozenseg.build import build_model
from frozenseg.config import load_config
from frozenseg.data.catalog.lookup import DATASET_SPLITS, find_split
from frozenseg.data.catalog.register import register_splits
from frozenseg.data.miniature.folds import write_folds, write_novel_folds
from frozenseg.data.preparation import fss_mosaic
from frozenseg.data.verify.run import verify
from frozenseg.engine.evaluate import evaluate_dataset, plan
from frozenseg.engine.trainer import Trainer
from frozenseg.evaluation.results import read_results
from frozenseg.structures import BACKGROUND
from tests.data import raw_datasets
from tests.data.test_verify_rows import MAKERS, run, source_split

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).resolve().parents[1] / "configs/miniature/fusioner_clip_clip.yaml"
ROWS = [row for row in DATASET_SPLITS if row.kind == "episodes"]
# Dataset -> class -> its pixels in the items that ask for it, see raw_episodes.py.
ITEMS = {
    "pascal_5i_fold0_val": {"aeroplane": [4124]},
    "pascal_5i_fold1_val": {"car": [4524, 4524], "cat": [3000]},
    "pascal_5i_fold2_val": {"dog": [4524, 4524]},
    "pascal_5i_fold3_val": {"tvmonitor": [4524, 4524]},
    "coco_20i_fold0_val": {"person": [100], "dining table": [380]},
    "coco_20i_fold1_val": {"bicycle": [50], "cup": [20]},
    "coco_20i_fold2_val": {"car": [30]},
    "coco_20i_fold3_val": {"toothbrush": [100]},
}
SCORED_PIXELS = {"pascal_5i": 4 * 58 * 78, "coco_20i": 20 * 30}  # of an image
# The other rows differ from these in their words only.
THROUGH_THE_MODEL = [
    row for row in ROWS if row.split in ("val", "test", "fold1_val", "fold1_train")
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Gives the root with the prepared files of a row; those of a section and split are made once.

    Mosaics have 40 x 40 pixels, of 20 x 20 each.
    """
    roots: dict[tuple[str, str], Path] = {}

    def give(row) -> Path:
        section = row.origin.readme_section
        split = source_split(row) if section in MAKERS else "all"
        if (section, split) not in roots:
            root = roots[section, split] = tmp_path_factory.mktemp("benchmark")
            for maker in MAKERS.get(section, ()):
                getattr(raw_datasets, maker)(root, split)
            if section in MAKERS:
                run(row.origin.command, root)
            else:
                write_folds(root, {"train": 3, "val": 14, "mosaics": 8})
                write_novel_folds(root, 3)
        return roots[section, split]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fss_mosaic, "TILE", 20)
        yield give


@pytest.fixture(scope="module")
def cfg(tmp_path_factory):
    """A miniature Fusioner of one layer, on images of 32 to 64 pixels."""
    register_splits()  # the seen classes are those of the training set
    folder = tmp_path_factory.mktemp("evaluation")
    values = {
        "MODEL.DEVICE": "cpu",
        "MODEL.TEXT_CACHE_DIR": str(folder / "text"),
        "MODEL.FUSIONER.TEMPLATES": "simple",
        "MODEL.FUSIONER.LAYERS": 1,
        "OUTPUT_DIR": str(folder),
    }
    return load_config(CONFIG, [part for pair in values.items() for part in pair])


@pytest.fixture(scope="module")
def model(cfg):
    """It with random weights of its own: what it says is of no importance here."""
    torch.manual_seed(0)
    return build_model(cfg)


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    """A root that every row is registered with as long as the test runs."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    register_splits()
    yield tmp_path
    monkeypatch.undo()
    register_splits()


@pytest.mark.parametrize(
    ("family", "items"), [("pascal_5i", {"fold3_val": 2}), ("coco_20i", {"fold3_val": 1})]
)
def test_training_and_evaluation_on_published_files(family, items, cfg, datasets):
    """A Fusioner learns from the seen classes of a fold and is scored on the others."""
    for split in ("train", "val"):
        getattr(raw_datasets, f"make_{family}")(datasets, split)
    run(f"frozenseg data prepare {family} --splits train val", datasets)
    changed = cfg.clone()
    changed.merge_from_list(
        [
            *("DATASETS.TRAIN", (f"{family}_fold3_train",)),
            *("DATASETS.TEST", tuple(f"{family}_{name}" for name in items)),
            *("INPUT.IMAGE_SIZE", 64, "INPUT.EPISODES.AUGMENT", True),
            *("MODEL.FUSIONER.CROP", 64, "MODEL.FUSIONER.STRIDE", 48),
            *("SOLVER.MAX_ITER", 2, "SOLVER.IMS_PER_BATCH", 2, "SOLVER.WARMUP_ITERS", 1),
            *("OUTPUT_DIR", str(datasets / "output")),
        ]
    )
    trainer = Trainer(changed)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.resume_or_load(resume=False)
    trainer.train()
    moved = {
        name for name, value in trainer.model.state_dict().items() if (value != before[name]).any()
    }
    learned = {name for name, value in trainer.model.named_parameters() if value.requires_grad}
    assert moved
    assert moved <= learned  # the encoders stay as they are
    entries = read_results(datasets / "output/results.json")
    found = {entry["split"]: entry["metrics"]["episodes"]["items"] for entry in entries}
    assert found == items


class Oracle(torch.nn.Module):
    """Answers with the ground truth of what is asked for."""

    def set_vocabulary(self, vocabulary) -> None:
        self.vocabulary = vocabulary

    def forward(self, batch):
        return [{"semantic_labels": self.answer(item["labels"], item["asked"])} for item in batch]

    def answer(self, labels_HW, asked):
        known = torch.isin(labels_HW, torch.tensor(asked, dtype=labels_HW.dtype))
        return labels_HW.where(known, torch.tensor(BACKGROUND, dtype=labels_HW.dtype))


class SaysYes(Oracle):
    """Answers that every pixel is of the first class that is asked for."""

    def answer(self, labels_HW, asked):
        return torch.full_like(labels_HW, asked[0])


def scores_of(row, root, cfg, model):
    register_splits([row], root=root)
    return evaluate_dataset(model, plan(cfg, row.name))["metrics"]["episodes"]


@pytest.mark.parametrize("row", THROUGH_THE_MODEL, ids=lambda row: row.name)
def test_a_row_from_its_published_files_to_scores(row, prepared, cfg, model):
    root = prepared(row)
    report = verify(row, root, subset=True, progress=False)
    assert report.findings == [], report.text()
    assert report.images > 1
    register_splits([replace(row, test_size=(32, 64))], root=root)
    entry = evaluate_dataset(model, plan(cfg, row.name))
    assert set(entry["metrics"]) == {"episodes"}
    scores = entry["metrics"]["episodes"]
    assert entry["images"] == scores["items"] == len(DatasetCatalog.get(row.name)) > 0
    assert all(0 <= scores[key] <= 100 for key in ("mIoU", "FB_IoU"))
    assert entry["protocol"]["vocabulary"] == MetadataCatalog.get(row.name).vocabulary.digest


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_ground_truth_itself_scores_100(row, prepared, cfg):
    scores = scores_of(row, prepared(row), cfg, Oracle())
    for key in ("mIoU", "FB_IoU", "foreground_IoU", "background_IoU"):
        assert scores[key] == pytest.approx(100), key
    assert scores["items"] > 0


def test_every_fold_of_a_published_benchmark_was_counted():
    assert [row.name for row in ROWS if row.image_counts and row.split[5:] == "_val"] == list(ITEMS)


@pytest.mark.parametrize("name", ITEMS)
def test_yes_everywhere_scores_what_the_counts_of_the_items_say(name, prepared, cfg):
    row = find_split(name)
    scores = scores_of(row, prepared(row), cfg, SaysYes())
    items, scored = ITEMS[name], SCORED_PIXELS[row.benchmark]
    iou = {word: 100 * sum(pixels) / (len(pixels) * scored) for word, pixels in items.items()}
    found = {word: (group["IoU"], group["items"]) for word, group in scores["per_class"].items()}
    assert found == {
        word: (pytest.approx(iou[word]), len(pixels)) for word, pixels in items.items()
    }
    assert scores["mIoU"] == pytest.approx(sum(iou.values()) / len(iou))
    everything = [pixels for found in items.values() for pixels in found]
    share = 100 * sum(everything) / (len(everything) * scored)
    assert scores["foreground_IoU"] == pytest.approx(share)
    assert scores["FB_IoU"] == pytest.approx(share / 2)  # no pixel is called background
    assert scores["items"] == len(everything)


def test_a_mosaic_asks_for_its_four_classes_at_once(prepared, cfg):
    row = find_split("fss_mosaic_4_test")
    scores = scores_of(row, prepared(row), cfg, SaysYes())
    # Each mosaic has 4 objects of 10 x 10 pixels in 40 x 40; the first of its classes is said.
    assert scores["items"] == 60
    assert scores["classes"] == 240
    assert scores["mIoU"] == pytest.approx(100 * (60 * 100 / 1600) / 240)
    assert scores["foreground_IoU"] == pytest.approx(100 * 400 / 1600)
    assert scores["background_IoU"] == 0
