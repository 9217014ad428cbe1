"""What is checked before a run, and where its log goes."""

from __future__ import annotations

import logging
import sys
from argparse import Namespace

import pytest
import torch
from detectron2.modeling import build_model

from frozenseg.engine import run as module
from frozenseg.engine.run import check_inputs, set_up_logging, train_or_evaluate
from frozenseg.predict.predictor import build_predictor


@pytest.fixture(autouse=True)
def _logging_as_pytest_has_it(monkeypatch, request):
    if "log_file" not in request.node.name:
        monkeypatch.setattr(module, "set_up_logging", lambda *_, **__: None)


def test_a_complete_config_passes(stand_in_cfg):
    check_inputs(stand_in_cfg, eval_only=False)


@pytest.mark.parametrize("split", ["TRAIN", "TEST"])
def test_unknown_data_sets_are_reported_before_training(stand_in_cfg, split):
    stand_in_cfg.DATASETS[split] = ("shapes_valid_panoptic",)
    with pytest.raises(ValueError, match=r"shapes_valid_panoptic.*did you mean"):
        check_inputs(stand_in_cfg, eval_only=False)


def test_weights_must_exist_and_evaluation_needs_some(stand_in_cfg, tmp_path):
    with pytest.raises(ValueError, match=r"--eval-only needs weights"):
        check_inputs(stand_in_cfg, eval_only=True)
    stand_in_cfg.MODEL.WEIGHTS = str(tmp_path / "none.pth")
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        check_inputs(stand_in_cfg, eval_only=False)


def test_there_is_one_file_to_start_from_and_it_must_exist(stand_in_cfg, tmp_path):
    stand_in_cfg.MODEL.INIT_FROM = str(tmp_path / "none.pth")
    with pytest.raises(FileNotFoundError, match=r"none\.pth.*check MODEL\.INIT_FROM"):
        check_inputs(stand_in_cfg, eval_only=False)
    torch.save({}, tmp_path / "some.pth")
    stand_in_cfg.MODEL.INIT_FROM = stand_in_cfg.MODEL.WEIGHTS = str(tmp_path / "some.pth")
    with pytest.raises(ValueError, match=r"MODEL\.WEIGHTS and MODEL\.INIT_FROM are both set"):
        check_inputs(stand_in_cfg, eval_only=False)
    check_inputs(stand_in_cfg, eval_only=True)  # evaluation starts from MODEL.WEIGHTS alone


def test_wandb_that_is_not_installed_is_reported_before_training(stand_in_cfg, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    stand_in_cfg.WANDB_PROJECT = "project"
    with pytest.raises(ValueError, match="WANDB_PROJECT"):
        check_inputs(stand_in_cfg, eval_only=False)


def test_a_recipe_goes_before_the_config_and_after_the_command_line(tmp_path, monkeypatch):
    seen = {}
    (tmp_path / "recipe.yaml").write_text("SOLVER:\n  BASE_LR: 0.5\n  MAX_ITER: 7\n  STEPS: (3,)\n")
    (tmp_path / "config.yaml").write_text("SOLVER:\n  BASE_LR: 0.1\n  IMS_PER_BATCH: 2\n")
    monkeypatch.setattr(module, "launch", lambda main, args, **_: seen.update(args[0].SOLVER))
    opts = ["SOLVER.MAX_ITER", "9", "OUTPUT_DIR", str(tmp_path / "out")]
    files = {"config_file": tmp_path / "config.yaml", "recipe": tmp_path / "recipe.yaml"}
    machines = {"num_gpus": 0, "num_machines": 1, "machine_rank": 0, "dist_url": "auto"}
    module.run(Namespace(**files, **machines, opts=opts, debug=False, eval_only=False))
    found = (seen["BASE_LR"], seen["IMS_PER_BATCH"], seen["MAX_ITER"], seen["STEPS"])
    assert found == (0.5, 2, 9, (3,))


@pytest.mark.parametrize("clip_weights", ["", "openai:"])
def test_weights_that_leave_clip_random_are_refused(stand_in_cfg, tmp_path, clip_weights):
    """By --eval-only and by the demo's predictor; with the encoder in the file both work."""
    state = build_model(stand_in_cfg).state_dict()
    trained = {name: value for name, value in state.items() if not name.startswith("backbone.")}
    torch.save(trained, tmp_path / "trained.pth")
    torch.save(state, tmp_path / "full.pth")
    stand_in_cfg.MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS = clip_weights
    stand_in_cfg.MODEL.WEIGHTS = str(tmp_path / "trained.pth")
    message = r"trained\.pth holds no backbone.*MODEL\.FC_CLIP\.CLIP_PRETRAINED_WEIGHTS"
    with pytest.raises(ValueError, match=message):
        build_predictor(stand_in_cfg)
    with pytest.raises(ValueError, match=message):
        train_or_evaluate(stand_in_cfg.clone(), Namespace(eval_only=True, debug=True))
    _, report = build_predictor(stand_in_cfg, weights=str(tmp_path / "full.pth"))
    assert report is not None
    assert len(report.frozen) == 2


def test_a_wrong_device_is_reported_before_anything_is_built(stand_in_cfg, tmp_path, monkeypatch):
    stand_in_cfg.MODEL.DEVICE = "gpu"
    monkeypatch.setattr(module, "load_config", lambda *_, **__: stand_in_cfg)
    args = Namespace(config_file="", recipe=None, opts=[], debug=False, num_gpus=0, eval_only=False)
    with pytest.raises(ValueError, match=r"MODEL\.DEVICE 'gpu' is not a device"):
        module.run(args)


def test_the_log_file_keeps_what_the_console_leaves_out(tmp_path, capsys):
    set_up_logging(str(tmp_path))
    log = logging.getLogger("frozenseg.test")
    log.info("a plain line")
    try:
        raise ValueError("inside")
    except ValueError:
        log.exception("it failed")
    shown, kept = capsys.readouterr().out, (tmp_path / "log.txt").read_text()
    assert "a plain line" in shown
    assert "a plain line" in kept
    assert "inside" not in shown
    assert "ValueError: inside" in kept
