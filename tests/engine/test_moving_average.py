"""The moving average of the trained weights: its values, its files, its evaluation."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from frozenseg.engine import trainer as module
from frozenseg.engine.moving_average import MovingAverage
from frozenseg.engine.trainer import Trainer
from frozenseg.evaluation.results import read_results


def test_the_average_follows_the_formula():
    model = nn.Linear(1, 1, bias=False)
    average = MovingAverage(model, 0.5)
    nn.init.constant_(model.weight, 1.0)
    average.before_train()
    expected = 1.0
    for step, value in enumerate((2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0, 55.0, 89.0, 144.0)):
        nn.init.constant_(model.weight, value)
        average.trainer = SimpleNamespace(iter=step)
        average.after_step()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert decay == 0.5
    assert average.weights()["weight"].item() == pytest.approx(expected)


def test_the_model_has_the_average_only_within_the_context():
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1).requires_grad_(False))
    average = MovingAverage(model, 0.9)
    average.load_state_dict({"0.weight": torch.tensor([[7.0]]), "0.bias": torch.tensor([8.0])})
    own = {name: value.clone() for name, value in model.state_dict().items()}
    seen = {}

    def look():
        with average.applied():
            seen.update({name: value.clone() for name, value in model.state_dict().items()})
            raise KeyError

    with pytest.raises(KeyError):
        look()
    assert seen["0.weight"].item() == 7
    assert torch.equal(seen["1.weight"], own["1.weight"])
    assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("decay", [1.0, -0.1, 2.0])
def test_a_decay_outside_the_range_is_an_error_with_the_key(decay):
    with pytest.raises(ValueError, match=r"SOLVER\.EMA_DECAY"):
        MovingAverage(nn.Linear(1, 1), decay)


def saved(folder, name):
    return torch.load(Path(folder) / name, weights_only=True)


@pytest.mark.slow
def test_training_is_the_same_and_the_average_is_saved_and_evaluated(stand_in_cfg, monkeypatch):
    plain = Trainer(stand_in_cfg)
    plain.train()
    output = stand_in_cfg.OUTPUT_DIR
    stand_in_cfg.merge_from_list(["SOLVER.EMA_DECAY", 0.9, "OUTPUT_DIR", f"{output}_ema"])
    scored = {}
    evaluate = module.evaluate

    def spy(cfg, model, checkpoint):
        scored.update({n: p.detach().clone() for n, p in model.named_parameters()})
        return evaluate(cfg, model, checkpoint=checkpoint)

    monkeypatch.setattr(module, "evaluate", spy)
    trainer = Trainer(stand_in_cfg)
    trainer.train()
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, trainer.model.state_dict()[name]), name
    averaged = saved(stand_in_cfg.OUTPUT_DIR, "model_final_ema.pth")["model"]
    final = saved(stand_in_cfg.OUTPUT_DIR, "model_final.pth")["model"]
    assert set(averaged) == set(final)
    assert not torch.equal(averaged["sem_seg_head.1.weight"], final["sem_seg_head.1.weight"])
    assert all(torch.equal(scored[name], value) for name, value in averaged.items())
    (entry,) = read_results(Path(stand_in_cfg.OUTPUT_DIR) / "results.json")
    assert entry["checkpoint"] == "model_final_ema.pth"
    assert entry["checkpoint_hash"] is not None


@pytest.mark.slow
def test_a_resumed_run_has_the_same_average(stand_in_cfg):
    stand_in_cfg.merge_from_list(["SOLVER.EMA_DECAY", 0.9, "DATASETS.TEST", ()])
    straight = Trainer(stand_in_cfg)
    straight.train()
    folder = Path(stand_in_cfg.OUTPUT_DIR)
    expected = saved(folder, "model_final_ema.pth")["model"]
    (folder / "model_final_ema.pth").unlink()
    (folder / "last_checkpoint").write_text("model_0000002.pth")
    resumed = Trainer(stand_in_cfg)
    resumed.resume_or_load(resume=True)
    assert resumed.start_iter == 3
    resumed.train()
    again = saved(folder, "model_final_ema.pth")["model"]
    assert all(torch.equal(value, again[name]) for name, value in expected.items())


@pytest.mark.slow
def test_an_average_switched_on_later_starts_from_the_weights_of_then(stand_in_cfg):
    stand_in_cfg.merge_from_list(["DATASETS.TEST", (), "SOLVER.MAX_ITER", 3])
    first = Trainer(stand_in_cfg)
    first.train()
    stand_in_cfg.SOLVER.EMA_DECAY = 0.9
    second = Trainer(stand_in_cfg)
    second.resume_or_load(resume=True)
    second.average.before_train()
    trained = dict(first.model.named_parameters())
    for name, value in second.average.weights().items():
        assert torch.equal(value, trained[name])
