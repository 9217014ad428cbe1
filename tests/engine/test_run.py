"""What is checked before a run, and where its log goes."""

from __future__ import annotations

import logging

import pytest

from frozenseg.engine.run import check_inputs, set_up_logging


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


def test_the_log_file_keeps_what_the_console_leaves_out(tmp_path, capsys):
    names = ("fvcore", "detectron2", "frozenseg")
    before = {name: logging.getLogger(name).__dict__.copy() for name in names}
    handlers = {name: list(logging.getLogger(name).handlers) for name in names}
    try:
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
    finally:
        for name in names:
            for handler in set(logging.getLogger(name).handlers) - set(handlers[name]):
                logging.getLogger(name).removeHandler(handler)
                handler.close()
            logging.getLogger(name).propagate = before[name]["propagate"]
            logging.getLogger(name).setLevel(before[name]["level"])
