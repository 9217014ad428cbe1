"""Every config key below, at and above its range; NaN, infinities and wrong types; relations."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from frozenseg.config import get_config, load, load_config
from frozenseg.config.keys import DETECTRON2_KEYS, KEYS, Key
from frozenseg.config.ranges import FRACTION, Range, Text, allowed, whole
from frozenseg.files import flatten

ROWS = (*KEYS, *DETECTRON2_KEYS)
DEFAULTS = dict(flatten(get_config()))
STEP = 1e-6  # beside the end of a range
WRONG_TYPES: tuple[object, ...] = (True, 1, 0.5, "text", [0.5], {"a": 1})


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("ranges") / "empty.yaml"
    path.write_text("{}", encoding="utf-8")
    return path


def in_type(row: Key, value: object) -> object:
    """`value` as the key takes it: a list of three for a key that takes a list."""
    return [value] * 3 if isinstance(DEFAULTS[row.name], (list, tuple)) else value


def wrong_values(row: Key) -> list[object]:
    """Values that the key must refuse."""
    default, accepted = DEFAULTS[row.name], row.accepted
    if isinstance(accepted, Range):
        step = 1 if accepted.whole else STEP
        outside = [
            *accepted.without,
            accepted.low - step,
            accepted.high + step,
            10**400,
            -(10**400),
        ]
        wrong = [*outside, math.nan, math.inf, -math.inf, "nan", "inf", "1e999", "", "many"]
        if accepted.whole:
            wrong += [0.5, 1.0]
        return [in_type(row, value) for value in (*wrong, True)]
    if isinstance(accepted, Text):
        wrong = ["\0", *([] if accepted.empty else ["", "  "])]
        wrong = [in_type(row, value) for value in wrong]
        if isinstance(DEFAULTS[row.name], str):  # as a command line gives them
            wrong += ["[3,5]", "(1,)", "{}", "True", *([] if accepted.empty else ["None"])]
        return [*wrong, 7, {"a": 1}]
    kinds = (type(default), *([int] if isinstance(default, float) else []))
    wrong = [value for value in WRONG_TYPES if type(value) not in kinds]
    return [*wrong, math.nan, *(["no such choice"] if accepted else [])]


def right_values(row: Key) -> list[object]:
    """Values at the ends of the key's range, all of its choices."""
    accepted = row.accepted
    if isinstance(accepted, Range):
        ends = [end for end in (accepted.low, accepted.high) if end not in accepted.without]
        return [in_type(row, end) for end in ends]
    return list(accepted) if isinstance(accepted, tuple) else [in_type(row, "text")]


def test_every_key_that_is_read_has_a_range_choices_or_a_truth_value_and_one_line_of_meaning():
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert row.meaning
        assert "\n" not in row.meaning
        assert row.accepted or isinstance(DEFAULTS[row.name], bool), row.name
        default = DEFAULTS[row.name]
        assert default is None or allowed(default, row.accepted), row.name


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_values_out_of_range_or_of_a_wrong_type_are_one_line(row, empty):
    for value in wrong_values(row):
        with pytest.raises(ValueError, match=r"^command line: ") as caught:
            load_config(empty, [row.name, value])
        message = str(caught.value)
        assert message.startswith(f"command line: {row.name}"), value
        assert "\n" not in message
        assert len(message) < 600
        if isinstance(row.accepted, (Range, Text)) and not isinstance(value, dict):
            assert str(row.accepted) in message


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_ends_of_a_range_and_all_choices_are_accepted(row, empty, monkeypatch):
    monkeypatch.setattr(load, "RELATIONS", ())  # of this value alone
    for value in right_values(row):
        found = dict(flatten(load_config(empty, [row.name, value])))[row.name]
        assert list(found) == value if isinstance(value, list) else found == value


@pytest.mark.parametrize("value", [math.nan, math.inf, True, "0.5", None, [0.5], 1.1, -0.1, 1j])
def test_a_range_holds_finite_numbers_between_its_ends(value):
    assert value not in FRACTION


def test_ranges_and_their_words():
    assert 0 in FRACTION
    assert np.float32(1) in FRACTION
    assert 1.0 not in whole(0)
    assert np.int64(1) in whole(0)
    assert 2**31 not in whole(0)
    assert 0 not in Range(0, 1, without=(0,))
    assert str(FRACTION) == "a number from 0 to 1"
    assert str(whole(-1, 5)) == "a whole number from -1 to 5"
    assert str(Range(0, 1, without=(0,))) == "a number from 0 to 1, not 0"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD", 2.0),
        ("MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD", -1),
        ("INPUT.MIN_SIZE_TEST", -5),
        ("MODEL.MASK_FORMER.NHEADS", 0),
        ("SOLVER.CHECKPOINT_PERIOD", 0),
        ("MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", -3),
        ("MODEL.MASK_FORMER.TRAIN_NUM_POINTS", 0),
        ("TEST.SAM_MASK_GENERATION.PRED_IOU_THRESH", "nan"),
        ("OUTPUT_DIR", ""),
    ],
)
def test_the_value_is_named_with_its_file_and_the_range(key, value, tmp_path):
    path = tmp_path / "mine.yaml"
    tree: object = value
    for name in reversed(key.split(".")):
        tree = {name: tree}
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    with pytest.raises(ValueError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: {key} expects a")
    assert f"got {value!r}" in str(caught.value)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (
            ["MODEL.MASK_FORMER.NHEADS", 7],
            "MODEL.MASK_FORMER.HIDDEN_DIM = 256, MODEL.MASK_FORMER.NHEADS = 7: a multiple",
        ),
        (["MODEL.FUSIONER.HEADS", 3], "MODEL.FUSIONER.WIDTH = 512, MODEL.FUSIONER.HEADS = 3: "),
        (["MODEL.SEM_SEG_HEAD.CONVS_DIM", 252], "DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS = 8: "),
        (["SOLVER.ACCUMULATION_STEPS", 3], "SOLVER.IMS_PER_BATCH = 16, SOLVER.ACC.* = 3: a multi"),
        (["MODEL.PIXEL_MEAN", [1.0]], r"MODEL.PIXEL_MEAN = \[1.0\]: three numbers"),
        (["SOLVER.STEPS", (5, 3)], r"SOLVER.STEPS = \(5, 3\): each must be larger than"),
        (["SOLVER.STEPS", (5, 5)], r"SOLVER.STEPS = \(5, 5\): each must be larger than"),
        (["INPUT.MIN_SCALE", 3.0], "INPUT.MIN_SCALE = 3.0, INPUT.MAX_SCALE = 2.0: the second"),
        (["MODEL.FUSIONER.STRIDE", 300], "STRIDE = 300, .*CROP = 224: the windows would leave"),
        (["SOLVER.WARMUP_EPOCHS", 2.0, "SOLVER.EPOCHS", 1.0], "SOLVER.EPOCHS = 1.0: the warm-up"),
        (["INPUT.MIN_SIZE_TEST", 31], "INPUT.MIN_SIZE_TEST = 31: 0, .* or at least 32 is needed"),
        (["SOLVER.WEIGHT_DECAY_END", -0.5], "SOLVER.WEIGHT_DECAY_END = -0.5: -1, or a number"),
        (["SOLVER.NESTEROV", True, "SOLVER.MOMENTUM", 0.0], "SOLVER.MOMENTUM = 0.0: Nesterov's"),
    ],
)
def test_values_that_contradict_each_other_are_one_line(opts, message, empty):
    with pytest.raises(ValueError, match=f"^command line: .*{message}") as caught:
        load_config(empty, opts)
    assert "\n" not in str(caught.value)


def test_a_contradiction_names_both_places(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("SOLVER: {IMS_PER_BATCH: 6}", encoding="utf-8")
    with pytest.raises(ValueError, match=f"^{path} and command line: SOLVER.IMS_PER_BATCH = 6, "):
        load_config(path, ["SOLVER.ACCUMULATION_STEPS", "4"])


def test_a_longest_side_below_the_shortest_is_a_warning(empty, caplog):
    load_config(empty, ["INPUT.MAX_SIZE_TEST", "64"])
    [record] = caplog.records
    assert record.getMessage() == (
        "command line: INPUT.MIN_SIZE_TEST = 800, INPUT.MAX_SIZE_TEST = 64: the longest side "
        "alone decides on the size of test images"
    )


def laughs(levels: int) -> str:
    """YAML of a few lines that stands for 10^levels values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (laughs(9), r", line \d+: not valid YAML: more than 1000000 values, with all aliases"),
        ("SEED: &a [*a]", ", line 1: not valid YAML: an alias .* stands inside what it names"),
        ("A: &a {B: *a}", ", line 1: not valid YAML: an alias .* stands inside what it names"),
        ("A: " + "[" * 40 + "]" * 40, ", line 1: not valid YAML: nested more than 30 levels deep"),
        ("A: " + "{a: " * 5000 + "}" * 5000, ": nested more than 30 levels deep"),
        ("A: " + "[" * 100_000, ": nested more than 30 levels deep"),
        ("SEED: " + "9" * 5000, ": not a YAML text file: .*4300 digits"),
        ("SEED: 0x" + "9" * 5000, ": SEED expects a whole number .* thousands of digits"),
        ("SEED: 2001-99-99", ": not a YAML text file: month must be in 1..12"),
        ("_BASE_: 3", ": _BASE_ expects a file or a list of files, got 3"),
        ("_BASE_: [[a]]", ": _BASE_ expects a file"),
    ],
)
def test_yaml_that_stands_for_too_much_is_one_line(text, message, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"^{path}{message}") as caught:
        load_config(path)
    assert len(str(caught.value)) < 500


def test_aliases_and_a_byte_order_mark_are_read(tmp_path):
    path = tmp_path / "mine.yaml"
    text = "INPUT: &sizes {MIN_SIZE_TEST: 64, MAX_SIZE_TEST: 96}\nSOLVER: {STEPS: &s [1, 2]}"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load_config(path).INPUT.MIN_SIZE_TEST == 64


@pytest.mark.parametrize("value", ["(" * 5000, "[" * 5000, "-" * 100_000 + "1", "9" * 5000])
def test_no_word_of_the_command_line_is_too_much(value, empty):
    with pytest.raises(ValueError, match=r"^command line: SEED expects a whole number"):
        load_config(empty, ["SEED", value])


@pytest.mark.golden
def test_every_value_of_the_released_files_is_accepted(shared_dir, empty, monkeypatch):
    monkeypatch.setattr(load, "RELATIONS", ())  # of this value alone
    text = (shared_dir / "released_config_keys.txt").read_text(encoding="utf-8")
    pairs = [line.split(": ", 1) for line in text.splitlines() if ": " in line and line[0] != "#"]
    assert len(pairs) >= 75
    for key, values in pairs:
        for value in values.split(" | "):
            read = yaml.safe_load(value)
            load_config(empty, [key, "" if read is None else read])
