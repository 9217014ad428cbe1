"""The differences between versions and machines."""

from __future__ import annotations

import logging

import torch
from torch import nn

from frozenseg.config import get_config
from frozenseg.engine.compat import clip_section, unwrap, usable_device, wrap_for_processes


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


def test_the_device_falls_back_with_one_log_line(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with caplog.at_level(logging.INFO):
        assert usable_device("cuda", 1) == "cpu"
    assert len(caplog.messages) == 1
    assert "no GPU was found" in caplog.messages[0]
    assert usable_device("cpu", 4) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert usable_device("cuda", 1) == "cuda"
    assert usable_device("cuda", 0) == "cpu"


def test_the_clip_section_is_that_of_the_architecture():
    cfg = get_config()
    cfg.MODEL.META_ARCHITECTURE = "FCCLIP"
    assert clip_section(cfg) is cfg.MODEL.FC_CLIP
    cfg.MODEL.META_ARCHITECTURE = "FrozenSeg"
    assert clip_section(cfg) is cfg.MODEL.FROZEN_SEG
