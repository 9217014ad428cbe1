"""Every number that a command takes on its command line has a range."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from frozenseg.cli import options
from frozenseg.cli.main import COMMANDS, main, parser_of
from frozenseg.config.ranges import Range


def numbers(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The options of a parser and of its subcommands that take numbers from a range."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for part in action.choices.values():
                yield from numbers(part)
        elif action.type is not None and not action.choices:
            try:
                value = action.type("1")
            except argparse.ArgumentTypeError as error:
                value = 1 if "number" in str(error) else None
            if isinstance(value, (int, float)):
                yield action


OPTIONS = [(name, action) for name in COMMANDS for action in numbers(parser_of(name))]


def test_the_options_are_found():
    found = {(name, action.option_strings[0]) for name, action in OPTIONS}
    for one in (
        *(("train", "--num-gpus"), ("train", "--num-machines"), ("train", "--machine-rank")),
        *(("sam-masks", "--pred-iou-thresh"), ("segment", "--score-threshold"), ("app", "--port")),
        *(("data prepare", "--train"), ("benchmark", "--size"), ("evaluate", "--num-gpus")),
    ):
        assert one in found


@pytest.mark.parametrize(
    ("name", "action"), OPTIONS, ids=[f"{name} {act.option_strings[0]}" for name, act in OPTIONS]
)
def test_numbers_out_of_range_are_refused(name, action):
    for text in ("nan", "inf", "-inf", "1e999", "-99999999", "9" * 40, "9" * 5000, "x", "", "1j"):
        with pytest.raises(argparse.ArgumentTypeError, match=r"expects a (whole )?number from "):
            action.type(text)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "train --config-file x --num-gpus -1",
            "--num-gpus: expects a whole number from 0 to 1024",
        ),
        ("train --config-file x --num-machines 0", "--num-machines: expects a whole number from 1"),
        ("train --config-file x --machine-rank -5", "--machine-rank: expects a whole number from"),
        (
            "sam-masks --images . --sam vit_b --weights x --output x --pred-iou-thresh nan",
            "--pred-iou-thresh: expects a number from -100 to 1, got nan",
        ),
        ("segment --score-threshold 1.5", "--score-threshold: expects a number from 0 to 1"),
        ("app --port 70000", "--port: expects a whole number from 0 to 65535, got 70000"),
    ],
)
def test_the_message_names_option_range_and_value(words, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_ends_and_kinds():
    assert options.number(Range(0, 1))("1e-3") == 0.001
    assert options.whole(0)("0") == 0
    with pytest.raises(argparse.ArgumentTypeError, match=r"whole number from 0 to 7, got 1\.0"):
        options.whole(0, 7)("1.0")
