"""What resuming says of the file and of this config, and what it refuses."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
import torch

from frozenseg.engine.trainer import Trainer
from tests.engine.test_trainer import train


@pytest.fixture
def half(stand_in_cfg):
    """The config of a run of 3 of 6 iterations that left its checkpoint."""
    stand_in_cfg.merge_from_list(["DATASETS.TEST", ()])
    train(stand_in_cfg, stop_after=3)
    return stand_in_cfg


def resumed(cfg, caplog, **options):
    """The trainer after resuming, and the three lines that it said."""
    cfg.merge_from_list([part for pair in options.items() for part in pair])
    trainer = Trainer(cfg)
    caplog.clear()
    caplog.set_level(logging.INFO, "frozenseg")
    trainer.resume_or_load(resume=True)
    return trainer, [r.getMessage() for r in caplog.records if r.name.endswith("engine.trainer")]


def test_three_lines_say_what_is_taken_and_what_is_not(half, caplog):
    _, (taken, ignored, used) = resumed(half, caplog)
    assert re.search(r"Resuming from \S+model_0000002\.pth: 3 of 6 iterations .* are done\.", taken)
    for part in ("weights", "learning rate now 0.01", "moments", "schedule", "seed 7", "place in"):
        assert part in taken
    assert ignored.endswith("since the file decides: nothing")
    assert used.endswith("used from now on: nothing")


def test_another_learning_rate_and_seed_are_named_and_the_files_stay(half, caplog):
    options = {"SOLVER.BASE_LR": 0.5, "SEED": 8, "SOLVER.STEPS": (5,), "MODEL.WEIGHTS": "x.pth"}
    trainer, (_, ignored, used) = resumed(half, caplog, **options)
    assert "SEED 8 (stays 7), SOLVER.BASE_LR 0.5 (stays 0.01), MODEL.WEIGHTS;" in ignored
    assert "start anew" in ignored
    assert "SOLVER.STEPS [5] (was [4])" in used
    assert trainer.seed == 7
    trainer.cfg.defrost()
    trainer.train()
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.001)  # 0.01 after STEPS


def test_a_run_past_its_end_says_that_nothing_is_left(half, caplog, capsys):
    trainer, (taken, _, used) = resumed(half, caplog, **{"SOLVER.MAX_ITER": 2, "SOLVER.STEPS": ()})
    assert "3 of 2 iterations (SOLVER.MAX_ITER) are done, and none is left: only the eval" in taken
    assert "SOLVER.MAX_ITER 2 (was 6)" in used
    trainer.train()
    assert not re.search("lr: N/A", caplog.text)


def test_a_folder_without_a_checkpoint_says_that_training_starts_at_0(
    half, caplog, tmp_path, monkeypatch
):
    trainer, (line,) = resumed(half, caplog, OUTPUT_DIR=str(tmp_path / "empty"))
    assert re.search(r"--resume: \S+/empty has no checkpoint: training starts at iteration 0", line)
    assert (trainer.start_iter, trainer.done) == (0, -1)


def test_a_new_run_in_a_folder_of_another_one_says_that_it_overwrites(half, caplog):
    Trainer(half).resume_or_load(resume=False)
    assert "has checkpoints of an earlier run, which this one overwrites" in caplog.text


@pytest.mark.parametrize(
    ("key", "value"), [("SOLVER.OPTIMIZER", "SGD"), ("SOLVER.LR_SCHEDULER_NAME", "CosineGroups")]
)
def test_states_of_another_optimizer_or_schedule_are_refused(half, caplog, key, value):
    with pytest.raises(ValueError, match=rf"{key} is '{value}', but '\w+' in the run to resume"):
        resumed(half, caplog, **{key: value})


def edit(cfg, change):
    path = Path(cfg.OUTPUT_DIR) / "model_0000002.pth"
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


@pytest.mark.parametrize("part", ["optimizer", "seed", "iteration"])
def test_a_file_without_a_state_is_an_error_that_names_it(half, caplog, part):
    edit(half, lambda content: content["trainer"].pop(part))
    message = rf"model_0000002\.pth: its 'trainer' state .*it has no {part}.*no other checkpoint"
    with pytest.raises(ValueError, match=message):
        resumed(half, caplog)


def test_a_file_without_a_config_is_compared_by_its_learning_rate(half, caplog):
    edit(half, lambda content: content["trainer"].pop("config"))
    _, (_, ignored, used) = resumed(half, caplog, **{"SOLVER.BASE_LR": 0.5})
    assert "SOLVER.BASE_LR 0.5 (stays 0.01)" in ignored
    assert "has no config" in used


@pytest.mark.slow
def test_a_longer_cosine_training_falls_to_its_own_end(stand_in_cfg, caplog):
    """Length and end are the config's; the file gives place and first values."""
    rates = []
    for resume, last in ((False, 4), (True, 6)):
        options = ["SOLVER.MAX_ITER", last, "DATASETS.TEST", (), "SOLVER.WEIGHT_DECAY_END", 0.5]
        options += ["SOLVER.LR_SCHEDULER_NAME", "CosineGroups", "SOLVER.WARMUP_ITERS", 0]
        stand_in_cfg.merge_from_list([*options, "SOLVER.STEPS", ()])
        trainer, _ = train(stand_in_cfg, resume=resume)
        rates.append({(g["lr"], g["weight_decay"]) for g in trainer.optimizer.param_groups})
        assert trainer.scheduler.steps == last
    assert rates[0] == rates[1] == {(0.0, 0.0), (0.0, 0.5)}
