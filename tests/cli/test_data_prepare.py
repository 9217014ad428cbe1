"""`frozenseg data prepare`: its options."""

from __future__ import annotations

import logging
from importlib import import_module
from pathlib import Path

import pytest

from frozenseg.cli.data_prepare import BENCHMARKS, main, preparation_of
from frozenseg.cli.main import parser_of


def parse(*words):
    return parser_of("data prepare").parse_args(words)


def test_defaults_are_the_validation_split_below_the_root(monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    preparation = preparation_of(parse("ade20k"))
    assert preparation.root == tmp_path
    assert preparation.splits == ("val",)
    assert 1 <= preparation.workers <= 8
    assert not preparation.overwrite
    assert not preparation.allow_empty


def test_options_reach_the_preparation():
    words = "--root data --splits val train val --workers 3 --overwrite --allow-empty".split()
    preparation = preparation_of(parse("ade20k", *words))
    assert preparation.root == Path.cwd() / "data"
    assert preparation.splits == ("val", "train")
    assert (preparation.workers, preparation.overwrite, preparation.allow_empty) == (3, True, True)
    assert logging.getLogger().isEnabledFor(logging.WARNING)


def test_a_benchmark_without_splits_has_no_such_option():
    assert preparation_of(parse("fss_mosaic")).splits == ()
    with pytest.raises(SystemExit):
        parse("fss_mosaic", "--splits", "val")


@pytest.mark.parametrize("words", [["--workers", "0"], ["--workers", "x"], ["--splits", "test"]])
def test_wrong_values_are_refused(words):
    with pytest.raises(SystemExit) as end:
        parse("ade20k", *words)
    assert end.value.code == 2


def test_every_benchmark_names_a_function_that_exists():
    for row in BENCHMARKS.values():
        module, _, function = row.convert.partition(":")
        assert callable(getattr(import_module(f"frozenseg.data.preparation.{module}"), function))


def test_options_follow_the_preparation_in_order(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(
        "frozenseg.data.preparation.ade20k.prepare_ade20k", lambda *given: seen.append(given)
    )
    args = parse("ade20k", "--root", str(tmp_path), "--parts", "semantic", "semantic", "--debug")
    assert args.debug
    assert main(args) == 0
    [(preparation, parts)] = seen
    assert (preparation.root, parts) == (tmp_path, ("semantic",))
