"""Datasets on disk that are wrong: loading, verifying and scoring them."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from hypothesis import given
from PIL import Image
from pycocotools import mask as coco_mask

from frozenseg.data.catalog.lookup import row_vocabulary
from frozenseg.data.catalog.own_datasets import read_dataset_file
from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.data.proposals.reader import ProposalFolder
from frozenseg.data.reading import rgb_of_ids
from frozenseg.data.records import load_records
from frozenseg.data.verify.run import verify
from frozenseg.evaluation.evaluators import build_evaluators
from frozenseg.files import file_digest
from tests.fuzz import outcomes
from tests.fuzz.mutations import files_of, json_bytes, yaml_bytes
from tests.fuzz.outcomes import attempt, budget, command, require_percents

SIZE = (6, 8)
NAMES = ("a", "b")
WORDS = "cat; dog; sky:stuff"
CATEGORIES = [
    {"id": 7, "name": "cat", "isthing": 1, "frequency": "f"},
    {"id": 9, "name": "dog", "isthing": 1, "frequency": "c"},
    {"id": 20, "name": "sky", "isthing": 0, "frequency": "r"},
]
IDS = np.repeat([1, 300, 70_000], (16, 16, 16)).reshape(SIZE)  # of cat, dog, sky
LABELS = np.repeat([0, 1, 2], 16).reshape(SIZE).astype(np.uint8)
IMAGES = [
    {
        **{"id": number, "file_name": f"{name}.png", "height": SIZE[0], "width": SIZE[1]},
        "coco_url": f"http://x.y/images/{name}.png",
        "neg_category_ids": [20],
        "not_exhaustive_category_ids": [9],
    }
    for number, name in enumerate(NAMES)
]
SEGMENTS = [
    {"id": number, "category_id": category, "area": 16, "iscrowd": 0, "bbox": [0, 0, 8, 2]}
    for number, category in ((1, 7), (300, 9), (70_000, 20))
]
PANOPTIC = {
    "images": IMAGES,
    "annotations": [
        {"image_id": number, "file_name": f"{name}.png", "segments_info": SEGMENTS}
        for number, name in enumerate(NAMES)
    ],
    "categories": CATEGORIES,
}
ROWS_OF = ((7, [0, 0, 8, 2]), (9, [0, 2, 8, 2]))  # category and box of cat and dog
RLE = coco_mask.encode(np.asfortranarray(LABELS == 0).astype(np.uint8))["counts"].decode()
MASKS = (  # of cat, dog, cat, dog
    [[0, 0, 8, 0, 8, 2, 0, 2]],
    {"size": list(SIZE), "counts": [2, *([2, 4] * 7), 2, 2]},
    {"size": list(SIZE), "counts": RLE},
    [[0, 2, 8, 2, 8, 4, 0, 4], [0, 2, 4, 2, 4, 4]],
)
INSTANCES = {
    "images": IMAGES,
    "annotations": [
        {
            **{"id": number + 1, "image_id": number // 2, "area": 16, "iscrowd": 0},
            **{"category_id": category, "bbox": box, "segmentation": mask},
        }
        for number, (mask, (category, box)) in enumerate(zip(MASKS, ROWS_OF * 2, strict=True))
    ],
    "categories": CATEGORIES[:2],
}
EPISODES = {
    "format": 1,
    "images": [
        {
            **{"image": f"images/{name}.png", "labels": f"labels/{name}.png"},
            **{"width": SIZE[1], "height": SIZE[0], "pixels": {"1": 16, "2": 16, "3": 16}},
        }
        for name in NAMES
    ],
}
OWN = {
    "name": "fuzz_val",
    "images": "images",
    "panoptic_json": "panoptic.json",
    "panoptic_masks": "panoptic",
    "tasks": ["panoptic", "semantic"],
    "image_suffix": ".png",
    "test_size": [64, 96],
    "object_mask_threshold": 0.5,
    "exif": "turn",
}
OWN_MASKS = {
    "name": "fuzz_masks_val",
    "benchmark": "fuzz",
    "images": "images",
    "semantic_masks": "masks",
    "classes": ["cat", ["dog", "puppy"], "sky:stuff"],
    "category_ids": [0, 1, 2],
    "mask_values": "id",
    "ignore_label": 255,
    "semantic_suffix": ".png",
}
ROW = DatasetSplit("fuzz_val", "fuzz", "val", ("instance",), WORDS, "images", image_suffix=".png")
ROW = replace(ROW, category_ids=(7, 9, 20))
ROWS = {
    "panoptic": replace(
        ROW,
        tasks=("panoptic", "instance", "semantic"),
        panoptic_json="panoptic.json",
        panoptic_masks="panoptic",
        evaluator="coco_panoptic_seg",
    ),
    "instances": replace(ROW, instance_json="instances.json", evaluator="coco"),
    "lvis": replace(ROW, images="", instance_json="lvis.json", evaluator="lvis"),
    "episodes": replace(
        ROW, tasks=("episodes",), category_ids=(1, 2, 3), episodes_json="episodes.json"
    ),
}
VALID = {"panoptic": PANOPTIC, "instances": INSTANCES, "lvis": INSTANCES, "episodes": EPISODES}
VALID["lvis"] = {**INSTANCES, "categories": CATEGORIES}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two images with masks of every kind, and their annotation files in order."""
    root = tmp_path_factory.mktemp("fuzz")
    maps = {"panoptic": rgb_of_ids(IDS), "masks": LABELS, "labels": LABELS + 1}
    maps["images"] = np.zeros((*SIZE, 3), np.uint8)
    for kind, pixels in maps.items():
        (root / kind).mkdir()
        for name in NAMES:
            Image.fromarray(pixels.astype(np.uint8)).save(root / kind / f"{name}.png")
    for kind, content in VALID.items():
        (root / f"{kind}.json").write_bytes(json_bytes(content))
    return root


def truth(_record):
    """What a model outputs that errs nowhere: 100 on the files in order."""
    instances = Instances(SIZE)
    instances.pred_masks = torch.from_numpy(np.stack([LABELS == 0, LABELS == 1]))
    instances.pred_classes, instances.scores = torch.tensor([0, 1]), torch.tensor([0.9, 0.8])
    segments = [{"id": i + 1, "category_id": i, "isthing": i < 2} for i in range(3)]
    labels = torch.from_numpy(LABELS.astype(np.int64))
    return {
        "instances": instances,
        "panoptic_seg": (labels.int() + 1, segments),
        "semantic_labels": labels,
    }


def load_and_score(row, root):
    """The scores of `truth`; None for episodes, whose labels only the mapper reads."""
    words = row_vocabulary(row, root)
    records = load_records(row, words, root)
    if row.kind == "episodes":
        return records
    json_file = str(root / row.instance_json) if row.instance_json else None
    evaluators = build_evaluators(row, words, row.tasks, json_file=json_file)
    scores = {}
    for evaluator in evaluators:
        evaluator.reset()
        for record in records:
            evaluator.process([record], [truth(record)])
        scores |= evaluator.evaluate()
    require_percents(scores)
    return scores


def check_row(row, root, named):
    """Loads, scores and verifies; what cannot be loaded is an error of verify."""
    loaded = attempt(f"load {row.kind}", lambda: load_and_score(row, root), named)
    found = verify(row, root, images=0, progress=False)
    outcomes.require(
        not isinstance(loaded, str) or found.errors > 0,
        f"{row.kind} cannot be used, but verify finds no error: {loaded}",
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(ROWS))
def test_the_files_in_order_score_100(folder, kind):
    scores = load_and_score(ROWS[kind], folder)
    report = verify(ROWS[kind], folder, images=0, progress=False)
    assert not report.errors, report.text()
    if kind != "episodes":
        found = [
            row["all"].get("PQ", row["all"].get("AP")) for row in scores.values() if "all" in row
        ]
        assert found == pytest.approx([100] * len(found))


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(ROWS))
def test_annotation_files(folder, kind):
    path = folder / f"{kind}.json"

    @budget
    @given(files_of(VALID[kind]))
    def check(content):
        path.write_bytes(content)
        check_row(ROWS[kind], folder, (f"{kind}.json", str(folder), "fuzz_val"))

    try:
        check()
    finally:
        path.write_bytes(json_bytes(VALID[kind]))


@pytest.mark.slow
@pytest.mark.parametrize("valid", [OWN, OWN_MASKS], ids=["panoptic", "masks"])
def test_dataset_yaml(folder, valid):
    path = folder / "own.yaml"

    @budget
    @given(files_of(valid, yaml_bytes))
    def check(content):
        path.write_bytes(content)
        command("data", "verify", path, named=("own.yaml",), codes=(0, 1))
        rows = attempt("load own.yaml", lambda: read_dataset_file(path), ("own.yaml",))
        for row in () if isinstance(rows, str) else rows:
            check_row(row, folder, (str(folder), row.name))

    check()


@pytest.fixture(scope="module")
def proposals(tmp_path_factory, folder):
    """A folder of proposals with one record: (folder, index, record)."""
    root = tmp_path_factory.mktemp("proposals")
    rle = coco_mask.encode(np.asfortranarray(LABELS == 0).astype(np.uint8))
    rle = {"size": list(SIZE), "counts": rle["counts"].decode()}
    record = {
        "image": "a.png",
        "sha256": file_digest(folder / "images/a.png"),
        **{"height": SIZE[0], "width": SIZE[1]},
        "masks": [{"segmentation": rle, "area": 16, "predicted_iou": 0.9, "stability_score": 1}],
    }
    line = gzip.compress(json.dumps(record).encode(), mtime=0)
    index = {
        **{"format": "frozenseg proposals", "version": 1, "complete": True, "source": {}},
        **{"shard_size": 8, "failures": {"b.png": "damaged"}},
        "images": {"a.png": [0, 0, len(line), *SIZE, 1], "b.png": None},
    }
    return root, index, record


def write_proposals(root, index, record_bytes):
    line = gzip.compress(record_bytes, mtime=0)
    (root / "shard_00000.jsonl.gz").write_bytes(line)
    index["images"]["a.png"][2] = len(line)
    (root / "index.json").write_bytes(json_bytes(index))


@pytest.mark.slow
def test_proposal_index(folder, proposals):
    root, index, record = proposals
    write_proposals(root, index, json_bytes(record))

    @budget
    @given(files_of(index))
    def check(content):
        (root / "index.json").write_bytes(content)
        masks = attempt(
            "load proposal index",
            lambda: ProposalFolder(root).masks(folder / "images/a.png", SIZE),
            (str(root),),
        )
        assert isinstance(masks, str) or masks.shape[1:] == SIZE

    check()


@pytest.mark.slow
def test_proposal_records(folder, proposals):
    root, index, record = proposals

    @budget
    @given(files_of(record))
    def check(content):
        write_proposals(root, index, content)
        masks = attempt(
            "load proposal record",
            lambda: ProposalFolder(root).masks(folder / "images/a.png", SIZE),
            (str(root), "a.png"),
        )
        assert isinstance(masks, str) or masks.shape[1:] == SIZE

    check()
