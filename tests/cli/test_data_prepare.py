"""The command line of the prepare scripts."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from frozenseg.data.preparation.arguments import make_parser, start


def test_defaults_are_the_validation_split_below_the_root(monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    preparation = start(make_parser("x").parse_args([]))
    assert preparation.root == tmp_path
    assert preparation.splits == ("val",)
    assert 1 <= preparation.workers <= 8
    assert not preparation.overwrite
    assert not preparation.allow_empty


def test_options_reach_the_preparation():
    words = "--root data --splits val train val --workers 3 --overwrite --allow-empty".split()
    preparation = start(make_parser("x").parse_args(words))
    assert preparation.root == Path.cwd() / "data"
    assert preparation.splits == ("val", "train")
    assert (preparation.workers, preparation.overwrite, preparation.allow_empty) == (3, True, True)
    assert logging.getLogger().isEnabledFor(logging.WARNING)


def test_a_benchmark_without_splits_has_no_such_option():
    parser = make_parser("x", splits=())
    assert start(parser.parse_args([])).splits == ()
    with pytest.raises(SystemExit):
        parser.parse_args(["--splits", "val"])


@pytest.mark.parametrize("words", [["--workers", "0"], ["--workers", "x"], ["--splits", "test"]])
def test_wrong_values_are_refused(words):
    with pytest.raises(SystemExit) as end:
        make_parser("x").parse_args(words)
    assert end.value.code == 2
