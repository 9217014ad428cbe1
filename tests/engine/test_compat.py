"""The differences between versions and machines."""

from __future__ import annotations

import torch
from torch import nn

from frozenseg.engine.launch import unwrap, wrap_for_processes


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
