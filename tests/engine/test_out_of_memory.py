"""A smaller retry where memory does not suffice, by a device that only claims to be full."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from frozenseg import device as module
from frozenseg.device import retry_out_of_memory
from frozenseg.engine.evaluate import evaluate
from frozenseg.evaluation.results import read_results


class Full(nn.Module):
    """Runs out of memory `times` times at images wider than 4, then works."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.times = times
        self.batches: list[int] = []

    def forward(self, samples):
        self.batches.append(len(samples))
        if self.times and any(sample["image"].shape[-1] > 4 for sample in samples):
            self.times -= 1
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return [sample["image"].sum() * self.weight for sample in samples]


def image(width):
    return {"image": torch.full((1, 2, width), 1.0), "file_name": f"{width}.jpg"}


class Device:
    """Stands for the GPU: the model's home until it is moved."""

    def __init__(self, model, monkeypatch):
        self.moves = []
        self.type = "cuda"
        monkeypatch.setattr(model, "parameters", lambda: iter([self]))
        monkeypatch.setattr(model, "to", self.move)
        self.device = self

    def move(self, where):
        self.moves.append(where)


def test_a_full_device_gets_a_second_chance_with_empty_caches(monkeypatch, caplog):
    freed = []
    monkeypatch.setattr(module, "_free_memory", lambda: freed.append(1))
    model = Full(times=1)
    with caplog.at_level(logging.WARNING), retry_out_of_memory(model):
        outputs = model([image(3)]) + model([image(6)]) + model([image(4)])
    assert [value.item() for value in outputs] == [6, 12, 8]
    assert len(freed) == 1
    assert "6.jpg" in caplog.text
    assert "1 images ran out of memory, 0 of them were computed on cpu" in caplog.text


@pytest.mark.slow
def test_then_the_image_is_computed_alone_on_the_cpu_and_the_model_returns(monkeypatch, caplog):
    model = Full(times=2)
    device = Device(model, monkeypatch)
    with caplog.at_level(logging.WARNING), retry_out_of_memory(model):
        outputs = model([image(6), image(3)])
    assert [value.item() for value in outputs] == [12, 6]
    assert model.batches == [2, 2, 1, 1]
    assert device.moves == ["cpu", device, "cpu", device]
    assert "1 images ran out of memory, 1 of them were computed on cpu" in caplog.text


@pytest.mark.slow
def test_where_there_is_nothing_smaller_the_error_names_image_and_remedy():
    with (
        pytest.raises(
            torch.cuda.OutOfMemoryError, match=r"6\.jpg.*twice: lower INPUT\.MAX_SIZE_TEST"
        ),
        retry_out_of_memory(model := Full(times=9)),
    ):
        model([image(6)])
    assert "forward" not in model.__dict__


def test_the_model_is_itself_again_afterwards_and_without_trouble_nothing_is_said(caplog):
    model = Full(times=0)
    with retry_out_of_memory(model), retry_out_of_memory(model):
        model([image(6)])
    assert "forward" not in model.__dict__
    assert not caplog.records


def test_other_errors_pass():
    model = nn.Linear(1, 1)
    with pytest.raises(RuntimeError, match="shapes"), retry_out_of_memory(model):
        model(torch.ones(1, 3))


@pytest.mark.slow
def test_an_evaluation_scores_the_same_with_retries(stand_in_cfg, tmp_path):
    from detectron2.modeling import build_model

    torch.manual_seed(0)
    model = build_model(stand_in_cfg)
    evaluate(stand_in_cfg, model)
    (expected,) = read_results(tmp_path / "out" / "results.json")
    outputs, failures = model.outputs, iter([True, False] * 9)

    def failing(sample):
        if next(failures):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return outputs(sample)

    model.outputs = failing
    with retry_out_of_memory(model):
        evaluate(stand_in_cfg, model)
    (entry,) = read_results(tmp_path / "out" / "results.json")
    assert entry["metrics"] == expected["metrics"]
