"""Batches give each image what it gets alone, over a stand-in that tells how it was called."""

import numpy as np
import pytest
import torch
from torch import nn

from frozenseg.predict.predictor import Predictor, segment_together
from frozenseg.vocab import Vocabulary


class BrightnessModel(nn.Module):
    """Everything is "bright" or "dark"; remembers the sizes of its batches."""

    def __init__(self):
        super().__init__()
        self.vocabulary = Vocabulary.parse("dark; bright")
        self.batches = []

    def forward(self, batch):
        self.batches.append([(each["height"], each["width"]) for each in batch])
        outputs = []
        for each in batch:
            kind = int(each["image"].float().mean() > 128)
            ids = torch.ones(each["height"], each["width"], dtype=torch.int32)
            outputs.append({"panoptic_seg": (ids, [{"id": 1, "category_id": kind}])})
        return outputs


def picture(value, size):
    return np.full((*size, 3), value, dtype=np.uint8)


WIDE, TALL = (20, 30), (30, 20)
IMAGES = [picture(200, WIDE), picture(10, TALL), picture(20, WIDE), picture(220, TALL)]
NAMES = ["bright", "dark", "dark", "bright"]


@pytest.mark.parametrize(
    ("independent", "batches"),
    [(True, [[WIDE, WIDE], [TALL, TALL]]), (False, [[WIDE], [TALL], [WIDE], [TALL]])],
)
def test_images_of_one_size_share_a_batch_unless_they_would_change_each_other(independent, batches):
    model = BrightnessModel()
    model.batch_independent = independent
    found = segment_together(Predictor(model, shortest_edge=0), IMAGES)
    assert [each.segments[0].name for each in found] == NAMES
    assert [each.label_map.shape for each in found] == [WIDE, TALL, WIDE, TALL]
    assert model.batches == batches


def test_no_images():
    assert segment_together(Predictor(BrightnessModel()), []) == []
