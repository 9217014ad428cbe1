"""Every row of the catalog from end to end: files as they are published, prepare, verify, scores.

The tiny datasets are those of tests/data/raw_datasets.py, whose functions cite the official
formats and have their traps. What is in them was counted by hand (`FACTS`): the evaluators' ground
truth must have these pixels, segments and objects; a prediction that equals it scores 100, and one
that calls a single class by the name of another scores what follows from the counts alone. The
episodic benchmarks have their own test, test_every_episodic_benchmark.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Instances
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from frozenseg.build import build_model
from frozenseg.checkpoints.loading import load_weights
from frozenseg.config import load_config
from frozenseg.data.catalog.lookup import DATASET_SPLITS
from frozenseg.data.catalog.register import register_splits
from frozenseg.data.image_mask_pairs import read_semantic_labels
from frozenseg.data.reading import (
    ids_of_rgb,
    read_label_png,
    read_panoptic_png,
    semantic_of_panoptic,
)
from frozenseg.data.verify.run import verify
from frozenseg.engine.evaluate import evaluate_dataset, plan
from frozenseg.evaluation.evaluators import build_evaluators
from frozenseg.evaluation.prediction_folder import PredictionFolder
from frozenseg.evaluation.prediction_scores import score_predictions, truth_of
from frozenseg.evaluation.prediction_writer import INDEX
from frozenseg.evaluation.results import flat_scores
from tests.data import raw_datasets
from tests.data.raw_writers import save_json
from tests.data.test_verify_rows import MAKERS, run

ROOT = Path(__file__).resolve().parents[1]
ROWS = [row for row in DATASET_SPLITS if row.kind != "episodes"]
WEIGHTS = ROOT / "frozenseg/weights/miniature_fcclip.safetensors"
EDGES = (32, 64)  # of the network's input; the rows' own sizes would take minutes
MADE = {
    "Miniature world": tuple(
        ("miniature", "--train", "2", "--dev", "2", "--val", "2", *more)
        for more in ((), ("--novel",))
    ),
}


@dataclass(frozen=True)
class Facts:
    """What two images of a benchmark hold, by the dataset's own category ids.

    Attributes:
        pixels: labelled pixels of every class.
        segments: panoptic segments that are no crowds.
        objects: instances that are no crowds.
        wrong: a class, and an absent one of the same kind that it is mistaken for.
    """

    pixels: dict[int, int] = field(default_factory=dict)
    segments: dict[int, int] = field(default_factory=dict)
    objects: dict[int, int] = field(default_factory=dict)
    wrong: tuple[int, int] = (0, 0)


ADE = Facts(
    pixels={0: 584, 2: 296, 3: 135, 7: 15, 12: 50, 19: 4, 149: 16},
    segments={0: 1, 2: 1, 3: 1, 7: 1, 12: 2, 149: 1},  # the chair is no instance
    objects={7: 1, 12: 2, 149: 1},
    wrong=(12, 20),  # person, car
)
# Benchmark -> its facts; 600 pixels an image, see the docstrings of raw_datasets.py.
FACTS = {
    "coco_panoptic": Facts(
        pixels={187: 300, 1: 200, 200: 550, 95: 50},  # half of the persons are a crowd
        segments={187: 1, 1: 1, 200: 1, 95: 1},
        objects={1: 1},
        wrong=(1, 2),
    ),
    "coco_stuff_171": Facts(pixels={1: 300, 182: 200, 13: 300, 92: 300}, wrong=(182, 181)),
    "lvis": Facts(objects={1: 1, 1203: 1}, wrong=(1, 2)),
    "ade20k_150": ADE,
    "ade20k_847": Facts(pixels={0: 400, 846: 100, 300: 600}, wrong=(846, 845)),
    "cityscapes": Facts(
        pixels={7: 457, 26: 75, 23: 240, 22: 357},
        segments={7: 1, 26: 2, 23: 1, 22: 1},  # the group of cars is a crowd
        objects={26: 2},
        wrong=(26, 28),
    ),
    "mapillary_vistas": Facts(
        pixels={28: 250, 14: 210, 56: 40, 65: 588, 1: 12},
        segments={28: 1, 14: 1, 56: 2, 65: 1, 1: 1},
        objects={56: 2, 1: 1},
        wrong=(56, 55),
    ),
    "pascal_context_59": Facts(pixels={0: 400, 46: 300, 58: 100}, wrong=(58, 57)),
    "pascal_context_459": Facts(
        pixels={1: 200, 2: 400, 360: 300, 458: 100, 459: 100}, wrong=(458, 457)
    ),
    "pascal_voc_20": Facts(pixels={0: 100, 19: 100, 14: 200}, wrong=(14, 13)),
    "pascal_voc_21": Facts(pixels={0: 756, 1: 100, 20: 100, 15: 200}, wrong=(15, 14)),
    "bdd100k_19": Facts(pixels={10: 125, 13: 100, 11: 50, 12: 50, 0: 500, 14: 100}, wrong=(13, 15)),
    "bdd100k_40": Facts(
        pixels={30: 125, 35: 100, 31: 50, 32: 50, 7: 500, 40: 100},
        segments={30: 1, 35: 2, 7: 1, 40: 1},  # persons and rider are crowd and ignored
        objects={35: 2, 40: 1},
        wrong=(35, 36),
    ),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Gives the root with the prepared files of a row; a section's files are made once."""
    roots: dict[tuple[str, str], Path] = {}

    def give(row) -> Path:
        split = row.split if row.origin.readme_section in MAKERS else "all"
        key = row.origin.readme_section, split
        if key not in roots:
            root = tmp_path_factory.mktemp("benchmark")
            _make(*key, root)
            roots[key] = root
        return roots[key]

    return give


def _make(section: str, split: str, root: Path) -> None:
    if section in MADE:
        for words in MADE[section]:
            _run_plain(root, words)
        return
    for maker in MAKERS[section]:
        getattr(raw_datasets, maker)(root, split)
    if section == "LVIS":  # its class names are read from the validation file
        raw_datasets.make_lvis(root, "val")
    if section == "COCO":
        _add_coco_instances(root / "coco/annotations", split)
    rows = [row for row in DATASET_SPLITS if row.split == split]
    origins = [row.origin for row in rows if row.origin.readme_section == section]
    for command in dict.fromkeys(origin.command for origin in origins if origin.command):
        run(command, root)


def _run_plain(root: Path, words: tuple[str, ...]) -> None:
    """Runs a command that has no --workers."""
    command = [sys.executable, "-m", "frozenseg", "data", "prepare", *words, "--root", str(root)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


def _add_coco_instances(folder: Path, split: str) -> None:
    """https://cocodataset.org/#format-data, 1: the person as a polygon, the crowd as RLE."""
    content = json.loads((folder / f"panoptic_{split}2017.json").read_text())
    person = [10, 10, 20, 10, 20, 20, 10, 20]
    crowd = {"size": [20, 30], "counts": [410, *[10] * 19]}  # column by column
    common = {"image_id": 139, "category_id": 1, "area": 100}
    content["annotations"] = [
        {**common, "id": 1, "iscrowd": 0, "bbox": [10, 10, 10, 10], "segmentation": [person]},
        {**common, "id": 2, "iscrowd": 1, "bbox": [20, 10, 10, 10], "segmentation": crowd},
    ]
    save_json(folder / f"instances_{split}2017.json", content)


@pytest.fixture(scope="module")
def cfg(tmp_path_factory):
    """The miniature FC-CLIP with all tasks on and short prompts."""
    register_splits()  # seen classes are those of the training set
    folder = tmp_path_factory.mktemp("evaluation")
    values = {
        "MODEL.DEVICE": "cpu",
        "MODEL.TEXT_CACHE_DIR": str(folder / "text"),
        "MODEL.FC_CLIP.TEMPLATES": "simple",
        "MODEL.MASK_FORMER.TEST.RECALL_ON": True,
        "INPUT.MIN_SIZE_TEST": EDGES[0],
        "INPUT.MAX_SIZE_TEST": EDGES[1],
        "OUTPUT_DIR": str(folder),
    }
    opts = [part for pair in values.items() for part in pair]
    return load_config(ROOT / "configs/miniature/fcclip.yaml", opts)


@pytest.fixture(scope="module")
def model(cfg):
    """The shipped miniature model."""
    import frozenseg.mask_classification.model  # noqa: F401  registers the architectures

    built = build_model(cfg)
    load_weights(built, WEIGHTS)
    return built


def registered(row, root):
    """The row with a small test size, registered."""
    small = replace(row, test_size=None)
    register_splits([small], root=root)
    return small


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_from_its_published_files_to_scores(row, prepared, cfg, model):
    root = prepared(row)
    report = verify(row, root, subset=True, progress=False)
    assert report.findings == [], report.text()
    entry = evaluate_dataset(model, plan(cfg, registered(row, root).name))
    assert entry["images"] == report.images > 1
    metrics = entry["metrics"]
    assert {"panoptic", "instance", "semantic"} & set(metrics) == set(row.tasks)
    assert ("regions" in metrics) == (row.kind == "panoptic")
    assert ("instance_official" in metrics) == (row.kind == "panoptic" and bool(row.instance_json))
    for name, group in metrics.items():
        top = group["ground_truth"]["all"] if name == "semantic" else group["all"]
        values = [value for key, value in top.items() if key != "classes" and value is not None]
        assert values, name
        assert all(0 <= value <= 100 for value in values)
    threshold = entry["protocol"]["thresholds"]["object_mask"]
    assert threshold == (row.object_mask_threshold or 0.0)
    assert entry["protocol"]["ignore_label"] == row.ignore_label
    assert entry["protocol"]["vocabulary"] == MetadataCatalog.get(row.name).vocabulary.digest


class Oracle(torch.nn.Module):
    """Answers with the ground truth of a record, with some classes mistaken for others."""

    def __init__(self, row, mistakes, truth_of) -> None:
        super().__init__()
        self.row, self.mistakes, self.truth_of = row, mistakes, truth_of

    def set_vocabulary(self, vocabulary) -> None:
        self.vocabulary = vocabulary

    def forward(self, batch):
        return [self.answer(sample) for sample in batch]

    def said(self, label: int) -> int:
        return self.mistakes.get(label, label)

    def answer(self, sample):
        result = {}
        if self.row.kind == "panoptic":
            ids = ids_of_rgb(read_panoptic_png(sample["pan_seg_file_name"]))
            segments = [s for s in sample["segments_info"] if not s["iscrowd"]]
            mine = np.where(np.isin(ids, [s["id"] for s in segments]), ids, 0)
            named = [{**s, "category_id": self.said(s["category_id"])} for s in segments]
            result["panoptic_seg"] = (torch.from_numpy(mine), named)
            labels = semantic_of_panoptic(ids, sample["segments_info"], 0)
        if "sem_seg_file_name" in sample:
            labels = read_semantic_labels(sample, self.row.ignore_label)
        if "semantic" in self.row.tasks:
            named = [self.said(int(label)) for label in np.unique(labels)]
            _, places = np.unique(labels, return_inverse=True)
            told = np.maximum(np.array(named)[places].reshape(labels.shape), 0)
            result["semantic_labels"] = torch.from_numpy(told)
        if self.truth_of is not None:
            result["instances"] = self.instances(sample)
        return result

    def instances(self, sample):
        size, objects = self.truth_of(sample)
        objects = [one for one in objects if not one["iscrowd"]]
        found = Instances(size)
        masks = [coco_mask.decode(one["segmentation"]) for one in objects]
        found.pred_masks = torch.from_numpy(np.array(masks).reshape(-1, *size))
        found.scores = torch.ones(len(objects))
        labels = [self.said(one["category_id"]) for one in objects]
        found.pred_classes = torch.tensor(labels, dtype=torch.int64)
        return found


def oracle(row, mistakes):
    """The oracle of a registered row; its instances are those that the evaluator scores."""
    meta = MetadataCatalog.get(row.name)
    truth_of = None
    if "instance" in row.tasks:
        json_file = meta.get("json_file")
        first, *_ = build_evaluators(row, meta.vocabulary, ["instance"], json_file=json_file)
        truth_of = first.truth_of
    return Oracle(row, mistakes, truth_of)


def scores_of(row, root, cfg, mistakes):
    small = registered(row, root)
    found = evaluate_dataset(oracle(small, mistakes), plan(cfg, row.name))["metrics"]
    return found


def index_of(vocabulary, key: int) -> int:
    """A class by its category id in the dataset, or its index where it has none."""
    ids = vocabulary.dataset_ids
    return ids.index(key) if ids[0] is not None else key


@pytest.fixture
def no_regions(cfg):
    changed = cfg.clone()
    changed.MODEL.MASK_FORMER.TEST.RECALL_ON = False
    return changed


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_ground_truth_itself_scores_100(row, prepared, no_regions):
    metrics = scores_of(row, prepared(row), no_regions, {})
    expected = {"panoptic": ("PQ", "SQ", "RQ"), "instance": ("AP", "AP50", "AP75")}
    expected["instance_official"] = expected["instance"]
    for name, scores in expected.items():
        for score in scores if name in metrics else ():
            assert metrics[name]["all"][score] == pytest.approx(100), (name, score)
    if "semantic" in metrics:
        semantic = metrics["semantic"]
        assert semantic["pixel_accuracy"] == pytest.approx(100)
        assert semantic["fwIoU"] == pytest.approx(100)
        for convention in ("ground_truth", "ground_truth_or_predicted"):
            assert semantic[convention]["all"]["mIoU"] == pytest.approx(100)


COUNTED = [row for row in ROWS if row.benchmark in FACTS]


def test_every_row_of_a_real_benchmark_was_counted():
    rest = {row.origin.readme_section for row in ROWS if row not in COUNTED}
    assert rest == {*MADE, "MESS"}  # whose masks tests/data/preparation/test_mess.py counts


@pytest.mark.slow
@pytest.mark.parametrize("row", COUNTED, ids=lambda row: row.name)
def test_one_class_mistaken_for_another_scores_what_the_counts_say(row, prepared, no_regions):
    facts, root = FACTS[row.benchmark], prepared(row)
    register_splits([row], root=root)
    vocabulary = MetadataCatalog.get(row.name).vocabulary
    true, said = (index_of(vocabulary, key) for key in facts.wrong)
    metrics = scores_of(row, root, no_regions, {true: said})

    def without(counts: dict[int, int]) -> int:
        return len([key for key in counts if key != facts.wrong[0]])

    if "semantic" in row.tasks:
        semantic, right = metrics["semantic"], without(facts.pixels)
        # The mistaken class has IoU 0; so has the other one, which counts in one convention only.
        assert semantic["ground_truth"]["all"] == {
            "mIoU": pytest.approx(100 * right / (right + 1)),
            "classes": right + 1,
        }
        assert semantic["ground_truth_or_predicted"]["all"] == {
            "mIoU": pytest.approx(100 * right / (right + 2)),
            "classes": right + 2,
        }
        pixels = sum(facts.pixels.values())
        share = 100 * (pixels - facts.pixels[facts.wrong[0]]) / pixels
        assert semantic["pixel_accuracy"] == pytest.approx(share)
        assert semantic["fwIoU"] == pytest.approx(share)
    if "panoptic" in row.tasks:
        right = without(facts.segments)  # two more classes: one only missed, one only false
        assert metrics["panoptic"]["all"]["PQ"] == pytest.approx(100 * right / (right + 2))
    for name in ("instance", "instance_official"):
        if name in metrics:
            right = without(facts.objects)
            assert metrics[name]["all"]["AP"] == pytest.approx(100 * right / (right + 1)), name
            assert metrics[name]["all"]["classes"] == right + 1


@pytest.mark.slow
@pytest.mark.parametrize("row", COUNTED, ids=lambda row: row.name)
def test_the_ground_truth_that_is_scored_has_the_pixels_counted_by_hand(row, prepared):
    facts, root = FACTS[row.benchmark], prepared(row)
    register_splits([row], root=root)
    meta = MetadataCatalog.get(row.name)
    vocabulary, records = meta.vocabulary, DatasetCatalog.get(row.name)
    assert len(records) == 2
    for evaluator in build_evaluators(row, vocabulary, row.tasks, json_file=meta.get("json_file")):
        if hasattr(evaluator, "ignore_label"):
            found = sum(
                np.bincount(t[t >= 0], minlength=len(vocabulary))
                for t in (evaluator._truth(record)[0].ravel() for record in records)
            )
            wanted = {index_of(vocabulary, key): count for key, count in facts.pixels.items()}
            assert dict(enumerate(found.tolist())) == {
                **dict.fromkeys(range(len(vocabulary)), 0),
                **wanted,
            }
        if hasattr(evaluator, "truth_of"):
            objects = [one for record in records for one in evaluator.truth_of(record).objects]
            labels = [one["category_id"] for one in objects if not one["iscrowd"]]
            assert {label: labels.count(label) for label in labels} == {
                index_of(vocabulary, key): count for key, count in facts.objects.items()
            }


@pytest.mark.slow
@pytest.mark.parametrize("row", COUNTED, ids=lambda row: row.name)
def test_kept_predictions_have_the_ids_and_labels_of_the_dataset(
    row, prepared, no_regions, tmp_path, monkeypatch
):
    """Those of the oracle are the ground truth's own; read again they have the same scores."""
    root = prepared(row)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    small = registered(row, root)
    no_regions.TEST.SAVE_PREDICTIONS = True
    entry = evaluate_dataset(oracle(small, {}), plan(no_regions, row.name), tmp_path)
    folder = PredictionFolder(tmp_path / "predictions" / row.name / INDEX)
    again = flat_scores(score_predictions(folder, truth_of(folder)).metrics)
    assert again == {k: v for k, v in flat_scores(entry["metrics"]).items() if k in again}
    assert {key.split("/")[0] for key in again} >= set(row.tasks)
    if "panoptic" in row.tasks:
        truth = json.loads((root / row.panoptic_json).read_text())["annotations"]
        found = json.loads((folder.folder / "panoptic.json").read_text())["annotations"]
        assert sorted(map(categories_of, found)) == sorted(map(categories_of, truth))
    if row.kind in ("instances", "lvis"):
        truth = json.loads((root / row.instance_json).read_text())["annotations"]
        found = json.loads((folder.folder / "instance.json").read_text())
        truth = [one for one in truth if not one.get("iscrowd")]
        assert sorted(map(category_of, found)) == sorted(map(category_of, truth))
    for record in DatasetCatalog.get(row.name):
        if "sem_seg_file_name" in record and "semantic" in row.tasks:
            labels = read_label_png(record["sem_seg_file_name"])
            mine = read_label_png(folder.map_path("semantic", record["image_id"]))
            assert (mine == labels)[labels != row.ignore_label].all()
            assert not (mine == row.ignore_label).any()


def category_of(annotation):
    return annotation["image_id"], annotation["category_id"]


def categories_of(annotation):
    segments = [each for each in annotation["segments_info"] if not each.get("iscrowd")]
    return annotation["image_id"], sorted(each["category_id"] for each in segments)


PANOPTIC = [row for row in COUNTED if row.kind == "panoptic"]
ANNOTATED = [row for row in COUNTED if row.instance_json]


@pytest.mark.parametrize("row", PANOPTIC, ids=lambda row: row.name)
def test_panopticapi_scores_the_prepared_files_against_themselves(row, prepared):
    """The official function on the prepared files, without any of our readers."""
    from panopticapi.evaluation import pq_compute_single_core

    root = prepared(row)
    content = json.loads((root / row.panoptic_json).read_text())
    categories = {one["id"]: one for one in content["categories"]}
    pairs = []
    for one in content["annotations"]:
        kept = [s for s in one["segments_info"] if not s["iscrowd"]]
        counts = {s["category_id"] for s in kept}
        assert counts <= set(FACTS[row.benchmark].segments)
        pairs.append((one, {**one, "segments_info": [dict(s) for s in one["segments_info"]]}))
    folder = str(root / row.panoptic_masks)
    scores, _ = pq_compute_single_core(0, pairs, folder, folder, categories).pq_average(
        categories, isthing=None
    )
    assert scores["pq"] == 1
    assert scores["n"] == len(FACTS[row.benchmark].segments)


@pytest.mark.parametrize("row", ANNOTATED, ids=lambda row: row.name)
def test_pycocotools_reads_the_prepared_objects(row, prepared):
    coco = COCO(str(prepared(row) / row.instance_json))
    labels = [one["category_id"] for one in coco.anns.values() if not one.get("iscrowd")]
    counted = {label: labels.count(label) for label in labels}
    assert counted == FACTS[row.benchmark].objects
    for one in coco.anns.values():
        assert coco.annToMask(one).sum() == pytest.approx(one["area"], rel=0.1)
