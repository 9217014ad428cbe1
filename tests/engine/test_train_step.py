"""One step: its random state, and what it changes."""

from __future__ import annotations

import torch
from detectron2.utils.events import EventStorage
from torch import nn

from frozenseg.engine.precision import Precision
from frozenseg.engine.train_step import TrainStep, step_seed


class Noise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.draws: list[float] = []

    def forward(self, batch):
        self.draws.append(torch.rand(()).item())
        return {"loss_a": self.weight.sum() * batch, "loss_b": self.weight.sum() * 2}


def steps(seed, iterations):
    model = Noise()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = TrainStep(model, [3.0] * 9, optimizer, precision=Precision("cpu"), seed=seed)
    with EventStorage():
        for trainer.iter in iterations:
            trainer.run_step()
    return model


def test_the_random_state_depends_on_seed_and_iteration_alone():
    torch.manual_seed(1)
    draws = steps(5, range(4)).draws
    torch.manual_seed(2)
    assert steps(5, range(2, 4)).draws == draws[2:]
    assert len(set(draws)) == 4
    assert steps(6, range(4)).draws != draws


def test_all_losses_count_and_gradients_do_not_add_up_over_steps():
    model = steps(0, range(2))
    torch.testing.assert_close(model.weight.detach(), torch.tensor([1 - 2 * 0.1 * (3.0 + 2)]))


def test_seeds_of_steps_differ_and_fit_torch():
    seeds = {step_seed(s, i, r) for s in range(4) for i in range(20) for r in range(4)}
    assert len(seeds) == 320
    for seed in (min(seeds), max(seeds)):
        torch.Generator().manual_seed(seed)
