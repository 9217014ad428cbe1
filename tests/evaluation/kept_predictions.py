"""A model that is wrong in many ways, and a dataset with large ids, for tests of predictions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.structures import Instances

from frozenseg.config import get_config
from frozenseg.data.catalog.register import register_splits
from frozenseg.data.reading import ids_of_rgb, read_panoptic_png, semantic_of_panoptic
from tests.shapes_world import VAL, write_shapes

IDS = (7, 300, 12, 90, 5, 44, 1000, 2, 61, 255, 18)  # of the classes; one is the ignored label
NAME = "kept_val"
ROW = replace(VAL, name=NAME, category_ids=IDS)
EMPTY = 2  # the image without any prediction


def write_dataset(root: Path, images: int = 5) -> None:
    """The shapes with other category ids; the largest thing of two images is a crowd."""
    write_shapes(root / "shapes", train=1, val=images, size=(96, 120))
    path = root / "shapes/panoptic_val.json"
    content = json.loads(path.read_text())
    for category in content["categories"]:
        category["id"] = IDS[category["id"] - 1]
    for annotation in content["annotations"]:
        for segment in annotation["segments_info"]:
            segment["category_id"] = IDS[segment["category_id"] - 1]
        things = [s for s in annotation["segments_info"] if IDS.index(s["category_id"]) < 8]
        if annotation["image_id"] in (1, 3):
            max(things, key=lambda s: s["area"])["iscrowd"] = 1
    path.write_text(json.dumps(content))
    register_splits([ROW], root)


def config(output: Path):
    """Evaluates on the CPU, in this process, and keeps the predictions."""
    cfg = get_config()
    cfg.merge_from_list(
        [
            *("MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", 0, "INPUT.MIN_SIZE_TEST", 96),
            *("DATASETS.TEST", (NAME,), "OUTPUT_DIR", str(output), "TEST.SAVE_PREDICTIONS", True),
            *("MODEL.MASK_FORMER.TEST.PANOPTIC_ON", True),
            *("MODEL.MASK_FORMER.TEST.INSTANCE_ON", True),
            *("MODEL.META_ARCHITECTURE", "StandIn"),
        ]
    )
    return cfg


class WrongOften(torch.nn.Module):
    """The ground truth, moved by `shift` pixels, with a class wrong now and then."""

    def __init__(self, shift: int = 2) -> None:
        super().__init__()
        self.shift = shift

    def set_vocabulary(self, vocabulary: Any) -> None:
        self.vocabulary = vocabulary

    def forward(self, batch):
        return [self.answer(sample) for sample in batch]

    def answer(self, sample):
        ids = ids_of_rgb(read_panoptic_png(sample["pan_seg_file_name"]))
        ids = np.roll(ids, self.shift, axis=1)
        segments = [dict(s) for s in sample["segments_info"] if (ids == s["id"]).any()]
        if sample["image_id"] == EMPTY:
            ids, segments = np.zeros_like(ids), []
        for number, segment in enumerate(segments):
            if number % 3 == 2:
                segment["category_id"] = (segment["category_id"] + 1) % len(self.vocabulary)
            segment["isthing"] = self.vocabulary.thing_mask[segment["category_id"]]
        things = [s for s in segments if s["isthing"]]
        found = Instances(ids.shape)
        masks = [ids == s["id"] for s in things] + [np.roll(ids == s["id"], 3) for s in things]
        found.pred_masks = torch.from_numpy(np.array(masks, bool).reshape(-1, *ids.shape))
        found.scores = torch.linspace(1 / 3, 0.9, 5)[torch.arange(len(masks)) % 5]  # some are equal
        found.pred_classes = torch.tensor([s["category_id"] for s in things] * 2, dtype=torch.int64)
        labels = torch.from_numpy(semantic_of_panoptic(ids, segments, -1))
        return {
            "panoptic_seg": (torch.from_numpy(ids), segments),
            "instances": found,
            "semantic_labels": labels,
        }
