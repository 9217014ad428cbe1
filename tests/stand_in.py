"""A stand-in for a model (a few convolutions, random points in its loss) on a tiny dataset."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Instances
from torch import nn

from frozenseg.config import get_config
from frozenseg.data.catalog.register import register_splits
from frozenseg.structures import PER_IMAGE
from tests.shapes_world import register_shapes, write_shapes


class StandIn(nn.Module):
    """Per-pixel classification with a frozen first layer; answers like the real models."""

    loss_divisors = MappingProxyType({"loss_ce": PER_IMAGE})

    def __init__(self, cfg) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 6, 3, padding=1).requires_grad_(False)
        self.sem_seg_head = nn.Sequential(nn.GroupNorm(2, 6), nn.Conv2d(6, 11, 1))
        self.void_embedding = nn.Embedding(1, 6)
        self.to(cfg.MODEL.DEVICE)

    def set_vocabulary(self, vocabulary) -> None:
        self.vocabulary = vocabulary

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        features = (
            self.backbone(image[None].float() / 255) + self.void_embedding.weight[..., None, None]
        )
        return self.sem_seg_head(features)

    def forward(self, batch):
        return self.losses(batch) if self.training else [self.outputs(sample) for sample in batch]

    def losses(self, batch):
        total = 0.0
        for sample in batch:
            logits = self.logits(sample["image"])
            masks, classes = sample["instances"].gt_masks, sample["instances"].gt_classes
            labels = torch.full(masks.shape[1:], -1)
            for mask, label in zip(masks, classes, strict=True):
                labels[mask] = label
            points = torch.rand(1, 40, 1, 2) * 2 - 1
            chosen = F.grid_sample(labels[None, None].float(), points, mode="nearest").long()
            sampled = F.grid_sample(logits.float(), points)[..., 0]
            loss = F.cross_entropy(sampled, chosen[..., 0][:, 0], ignore_index=-1, reduction="sum")
            total = total + loss / 40
        return {"loss_ce": total / len(batch)}

    def outputs(self, sample):
        size = (sample["height"], sample["width"])
        scores = F.interpolate(self.logits(sample["image"]), size).softmax(1)[0]
        scores = scores[: len(self.vocabulary)]
        labels = scores.argmax(0)
        segments = [
            {"id": i + 1, "category_id": i, "isthing": self.vocabulary.thing_mask[i]}
            for i in labels.unique().tolist()
        ]
        instances = Instances(size)
        things = [s["category_id"] for s in segments if s["isthing"]]
        instances.pred_classes = torch.tensor(things, dtype=torch.int64)
        instances.scores = torch.ones(len(things))
        instances.pred_masks = torch.stack([labels == i for i in things] or [labels < 0])[
            : len(things)
        ]
        panoptic = (labels.int() + 1, segments)
        return {"sem_seg": scores, "panoptic_seg": panoptic, "instances": instances}


if "StandIn" not in META_ARCH_REGISTRY:
    META_ARCH_REGISTRY.register(StandIn)


@pytest.fixture(scope="session")
def shapes_root(tmp_path_factory) -> Path:
    """5 training and 2 validation images of 32 x 40."""
    root = tmp_path_factory.mktemp("datasets")
    write_shapes(root / "shapes", train=5, val=2, size=(32, 40))
    return root


@pytest.fixture
def stand_in_cfg(shapes_root, tmp_path, monkeypatch):
    """A config that trains the stand-in for 6 iterations on the CPU."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(shapes_root))
    register_splits()
    register_shapes(shapes_root)
    cfg = get_config()
    cfg.merge_from_list(
        [
            *("MODEL.META_ARCHITECTURE", "StandIn", "MODEL.DEVICE", "cpu", "SEED", 7),
            *("DATASETS.TRAIN", ("shapes_train_panoptic",)),
            *("DATASETS.TEST", ("shapes_val_panoptic",)),
            *("INPUT.IMAGE_SIZE", 32, "INPUT.MIN_SIZE_TEST", 32, "INPUT.FORMAT", "RGB"),
            *("DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 6),
            *("SOLVER.STEPS", (4,), "SOLVER.BASE_LR", 0.01, "SOLVER.WARMUP_ITERS", 2),
            *("SOLVER.CHECKPOINT_PERIOD", 3, "OUTPUT_DIR", str(tmp_path / "out")),
            *("MODEL.MASK_FORMER.TEST.PANOPTIC_ON", True),
            *("MODEL.MASK_FORMER.TEST.INSTANCE_ON", True),
            *("SOLVER.CLIP_GRADIENTS.ENABLED", True),
            *("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "full_model"),
            *("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 0.5),
        ]
    )
    return cfg
