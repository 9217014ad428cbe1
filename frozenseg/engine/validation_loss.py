"""The training loss on test sets, without augmentation: the same numbers for any run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.build import trivial_batch_collator
from detectron2.utils import comm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from frozenseg.data.loader import SeededDataset
from frozenseg.data.mappers.masks import build_mapper
from frozenseg.engine.precision import Precision
from frozenseg.engine.train_step import step_seed
from frozenseg.progress import bar
from frozenseg.vocab import Vocabulary

logger = logging.getLogger(__name__)

VALIDATION_LOSS = "validation_loss"  # below a dataset, among its scores


def sets_with_loss(cfg: CfgNode) -> list[str]:
    """Those of DATASETS.TEST that have training targets: the mapper's kind, the training classes.

    Raises: ValueError if there are none.
    """
    words = Vocabulary.from_metadata(MetadataCatalog.get(cfg.DATASETS.TRAIN[0]))
    mapper: Any = build_mapper(_plain(cfg), is_train=True)
    needs = getattr(getattr(mapper, "targets", None), "needs", ("asked",))
    reasons = {}
    for name in cfg.DATASETS.TEST:
        if Vocabulary.from_metadata(MetadataCatalog.get(name)) != words:
            reasons[name] = f"has other classes than {cfg.DATASETS.TRAIN[0]}"
        elif not set(needs) & DatasetCatalog.get(name)[0].keys():
            reasons[name] = f"has no {' or '.join(needs)}"
    found = [name for name in cfg.DATASETS.TEST if name not in reasons]
    why = "; ".join(f"{name} {reason}" for name, reason in reasons.items())
    if not found:
        raise ValueError(
            "TEST.VALIDATION_LOSS: no set of DATASETS.TEST has training targets "
            f"({why or 'empty'}): add one with the classes of the training, or set it False"
        )
    if why:
        logger.warning("TEST.VALIDATION_LOSS leaves out: %s", why)
    return found


def validation_loss(cfg: CfgNode, model: nn.Module, name: str, precision: Precision) -> float:
    """The mean over the images of dataset `name` of the summed training losses.

    Images are resized to fit the training square, without flip or crop, one at a time. Every
    process computes all of them, so that the number does not depend on how many there are.
    """
    mapper = build_mapper(_plain(cfg), is_train=True)
    dataset = SeededDataset(DatasetCatalog.get(name), mapper, seed=0)
    images = range(len(dataset))
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_size=1,
        sampler=list(zip(images, images, strict=True)),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=trivial_batch_collator,
    )
    total = 0.0
    was = model.training
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()  # its statistics are those of training
    try:
        with torch.no_grad(), torch.random.fork_rng():
            shown = comm.is_main_process()
            for index, batch in enumerate(bar(loader, f"loss on {name}", "image", shown=shown)):
                torch.manual_seed(step_seed(0, index, 0))
                with precision.autocast():
                    losses: Mapping[str, torch.Tensor] = model(batch)
                total += float(sum(losses.values(), start=torch.zeros(())))
    finally:
        model.train(was)
    return total / len(dataset)


def _plain(cfg: CfgNode) -> CfgNode:
    """The config without augmentation."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.INPUT.MIN_SCALE = cfg.INPUT.MAX_SCALE = 1.0
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.INPUT.EPISODES.AUGMENT = False
    cfg.freeze()
    return cfg
