"""The differences between versions and machines."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frozenseg.config import get_config
from frozenseg.engine.compat import clip_section, random_encoders, unwrap, wrap_for_processes


def test_one_process_needs_no_wrapper():
    model = nn.Linear(1, 1)
    assert wrap_for_processes(model) is model
    assert unwrap(model) is model


def test_a_cpu_model_can_be_wrapped_for_several_processes(tmp_path, monkeypatch):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1
    )
    try:
        monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
        model = nn.Linear(1, 1)
        wrapped = wrap_for_processes(model)
        assert wrapped is not model
        assert unwrap(wrapped) is model
    finally:
        torch.distributed.destroy_process_group()


def test_the_clip_section_is_that_of_the_architecture():
    cfg = get_config()
    cfg.MODEL.META_ARCHITECTURE = "FCCLIP"
    assert clip_section(cfg) is cfg.MODEL.FC_CLIP
    cfg.MODEL.META_ARCHITECTURE = "FrozenSeg"
    assert clip_section(cfg) is cfg.MODEL.FROZEN_SEG


@pytest.mark.parametrize(
    ("weights", "random"),
    [("", True), ("openai:", True), ("openai", False), ("openai:RN50.pt", False)],
)
@pytest.mark.parametrize(
    ("architecture", "section"), [("FCCLIP", "FC_CLIP"), ("FrozenSeg", "FROZEN_SEG")]
)
def test_which_encoders_get_no_weights_from_the_config(architecture, section, weights, random):
    cfg = get_config()
    cfg.MODEL.META_ARCHITECTURE = architecture
    cfg.MODEL[section].CLIP_PRETRAINED_WEIGHTS = weights
    cfg.MODEL.SAM_PRETRAINED_WEIGHTS = "sam_vit_b.pth"
    key = f"MODEL.{section}.CLIP_PRETRAINED_WEIGHTS"
    assert random_encoders(cfg) == ({"backbone.": key} if random else {})


@pytest.mark.parametrize(("architecture", "needed"), [("FCCLIP", False), ("FrozenSeg", True)])
def test_a_sam_without_weights_is_random_where_there_is_one(architecture, needed):
    cfg = get_config()
    cfg.MODEL.META_ARCHITECTURE = architecture
    expected = {"sam.": "MODEL.SAM_PRETRAINED_WEIGHTS"} if needed else {}
    assert random_encoders(cfg) == expected
