"""Learning rates and weight decays over a training."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from frozenseg.config import get_config
from frozenseg.engine.optimizer import CosineGroups, build_optimizer, build_schedule, with_epochs


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.fusion = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
        self.decoder = nn.Linear(2, 2)


def config(**changes):
    cfg = get_config()
    solver = cfg.SOLVER
    solver.LR_SCHEDULER_NAME, solver.CONSTANT_MODULES = "CosineGroups", ["decoder"]
    solver.BASE_LR, solver.BASE_LR_END, solver.MAX_ITER, solver.WARMUP_ITERS = 1e-3, 2e-6, 510, 10
    solver.WEIGHT_DECAY, solver.WEIGHT_DECAY_END = 0.01, 0.4
    solver.WEIGHT_DECAY_NORM, solver.WEIGHT_DECAY_BIAS = 0.0, 0.0
    for name, value in changes.items():
        solver[name] = value
    return cfg


def run(cfg, steps):
    """(learning rate, weight decay) of every group, before each step and after the last."""
    model = Model()
    optimizer = build_optimizer(cfg, model)
    schedule = build_schedule(cfg, optimizer)
    seen = []
    for _ in range(steps + 1):
        seen.append([(g["lr"], g["weight_decay"]) for g in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return optimizer, seen


def test_fusioners_schedule():
    cfg = config()
    optimizer, seen = run(cfg, 510)
    names = [[p.ndim for p in g["params"]] for g in optimizer.param_groups]
    assert names == [[2], [1, 1, 1], [2, 1]]  # weights; biases and norms; the decoder
    weights, biases, decoder = zip(*seen, strict=True)
    assert weights[0] == (0.0, pytest.approx(0.01))
    assert weights[5][0] == pytest.approx(5e-4)
    assert weights[10][0] == pytest.approx(1e-3)
    assert weights[260][0] == pytest.approx((1e-3 + 2e-6) / 2)  # half of the 500
    assert weights[510] == (pytest.approx(2e-6), pytest.approx(0.4))
    assert weights[255][1] == pytest.approx((0.01 + 0.4) / 2)
    assert [rate for rate, _ in biases] == [rate for rate, _ in weights]
    assert {decay for _, decay in biases} == {0.0}
    assert set(decoder) == {(1e-3, 0.0)}


def test_a_resumed_schedule_goes_on():
    cfg = config(MAX_ITER=20, WARMUP_ITERS=4)
    _, whole = run(cfg, 20)
    model = Model()
    optimizer = build_optimizer(cfg, model)
    schedule = build_schedule(cfg, optimizer)
    for _ in range(7):
        optimizer.step()
        schedule.step()
    states = optimizer.state_dict(), schedule.state_dict()
    other = build_optimizer(cfg, Model())
    resumed = build_schedule(cfg, other)
    other.load_state_dict(states[0])
    resumed.load_state_dict(states[1])
    for step in range(7, 21):
        now = [(g["lr"], g["weight_decay"]) for g in other.param_groups]
        for got, expected in zip(now, whole[step], strict=True):
            assert got == pytest.approx(expected), step
        other.step()
        resumed.step()


def test_without_an_end_the_weight_decay_stays():
    _, seen = run(config(WEIGHT_DECAY_END=-1.0), 40)
    assert {groups[0][1] for groups in seen} == {0.01}


def test_a_warm_up_that_never_ends_is_an_error():
    with pytest.raises(ValueError, match="WARMUP_ITERS"):
        run(config(WARMUP_ITERS=510), 1)


def test_a_constant_module_that_does_not_exist_is_an_error():
    with pytest.raises(ValueError, match=r"CONSTANT_MODULES: \['nothing'\].*leave them out"):
        build_optimizer(config(CONSTANT_MODULES=["nothing"]), Model())


def test_modules_of_the_same_beginning_are_different():
    model = nn.ModuleDict({"dec": nn.Linear(1, 1), "decoder": nn.Linear(1, 1)})
    groups = build_optimizer(config(CONSTANT_MODULES=["dec"]), model).param_groups
    assert [bool(group.get("constant")) for group in groups] == [True, False, False]


def test_epochs_become_iterations():
    cfg = get_config()
    assert with_epochs(cfg, 100) is cfg
    cfg.SOLVER.EPOCHS, cfg.SOLVER.WARMUP_EPOCHS, cfg.SOLVER.IMS_PER_BATCH = 510.0, 10.0, 32
    changed = with_epochs(cfg, 5000)
    assert math.floor(510 * 5000 / 32 + 0.5) == changed.SOLVER.MAX_ITER
    assert round(10 * 5000 / 32) == changed.SOLVER.WARMUP_ITERS
    assert cfg.SOLVER.MAX_ITER != changed.SOLVER.MAX_ITER


@pytest.mark.parametrize("key", ["CONSTANT_MODULES", "WEIGHT_DECAY_END", "BASE_LR_END"])
def test_keys_that_a_schedule_does_not_heed_are_refused(key):
    cfg = config(LR_SCHEDULER_NAME="WarmupMultiStepLR")
    for name, value in (("CONSTANT_MODULES", []), ("WEIGHT_DECAY_END", -1.0), ("BASE_LR_END", 0.0)):
        cfg.SOLVER[name] = cfg.SOLVER[name] if name == key else value
    with pytest.raises(ValueError, match=rf"ignores SOLVER\.{key}: set CosineGroups"):
        build_schedule(cfg, build_optimizer(cfg, Model()))


def test_detectron2s_schedules_stay():
    cfg = get_config()
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    assert not isinstance(build_schedule(cfg, optimizer), CosineGroups)
