"""Vocabularies, results, configs and command lines that are wrong."""

from __future__ import annotations

import argparse
import contextlib
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frozenseg.cli.main import COMMANDS, parser_of
from frozenseg.config import load_config
from frozenseg.config.keys import KEYS
from frozenseg.predict.words import read_words
from frozenseg.vocab import Vocabulary
from tests.fuzz import outcomes
from tests.fuzz.mutations import NUMBERS, ODD, damaged, files_of, mutated, yaml_bytes
from tests.fuzz.outcomes import attempt, budget, command, require_no_parts

ENTRY = {
    "benchmark": "ade20k_150",
    "dataset": "openvocab_ade20k_panoptic_val",
    "split": "val",
    "images": 2000,
    "seconds": 1.5,
    "ignored_pixels": 1.0,
    "warnings": ["one class alone is 100 by construction"],
    "metrics": {
        "panoptic": {"all": {"PQ": 18.0, "SQ": 70.0, "RQ": 30.0, "classes": 150}},
        "instance": {"all": {"AP": 11.0, "AP50": 20.0}, "per_class": {"wall": {"AP": None}}},
        "semantic": {
            "ground_truth": {"all": {"mIoU": 25.0}},
            "ground_truth_or_predicted": {"all": {"mIoU": 24.0}},
            **{"fwIoU": 50.0, "pixel_accuracy": 60.0},
        },
    },
    "protocol": {
        "model": {"architecture": "FCCLIP", "clip": "RN50"},
        "ensemble": {"enabled": True, "alpha": 0.4, "beta": 0.8},
        "thresholds": {"object_mask": 0.0, "overlap": 0.8},
        "words": {"set": "own"},
        "trained_on": ["openvocab_coco_2017_train_panoptic_with_sem_seg"],
        "instance_ground_truth": {"instance": "thing segments"},
    },
}
EPISODE_ENTRY = {
    **{"benchmark": "pascal_5i", "dataset": "pascal_5i_fold0_val", "split": "fold0_val"},
    **{"images": 1000, "seconds": 2.0},
    "metrics": {"episodes": {"mIoU": 60.0, "FB_IoU": 70.0, "items": 1000, "classes": 5}},
    "protocol": {
        "model": {"architecture": "Fusioner", "visual": "clip_rn50", "language": "clip_rn50"},
        "trained_on": ["pascal_5i_fold0_train"],
    },
}
RESULTS = {"format": 1, "results": [ENTRY, EPISODE_ENTRY], "skipped": {"coco": "not there"}}
FORMS = (
    ["cat, kitten", "dog", "sky:stuff"],
    {"cat": ["kitten"], "dog": None, "sky:stuff": []},
    {"classes": [{"name": "cat", "id": 3, "isthing": 1, "color": [1, 2, 3]}, {"name": "sky"}]},
    {"categories": [{"id": 3, "name": "cat", "isthing": 1}, {"id": 5, "name": "sky_(blue)"}]},
)
LISTS = {
    ".txt": "3: cat, kitten\n4: dog\n# a remark\n7: sky:stuff\n",
    ".tsv": "id\tname\tisthing\tsynonyms\tcolor\n3\tcat\t1\tkitten\t#ff0000\n4\tsky\t0\t\t1,2,3\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("published", [(), ("--published", "fcclip/r50")])
def test_results(tmp_path_factory, published):
    path = tmp_path_factory.mktemp("results") / "results.json"

    @budget
    @given(files_of(RESULTS))
    def check(content):
        path.write_bytes(content)
        figures = path.with_name("figures.json")
        figures.unlink(missing_ok=True)
        named = (str(path), "choose one with --published", "occurs twice")
        command("compare", path, "--json", figures, *published, named=named)
        if figures.is_file():
            for row in json.loads(figures.read_text())["rows"]:
                outcomes.require_percents({run: f["value"] for run, f in row["runs"].items()})
        require_no_parts(path.parent)

    check()


def check_words(path, *words):
    outcome, printed = command("data", "words", *words, named=(str(path), "class", "WORDS"))
    outcomes.require(outcome == 2 or "classes, digest" in printed, "frozenseg data words: no table")


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS, ids=["list", "names", "objects", "categories"])
def test_json_vocabularies(tmp_path_factory, form):
    path = tmp_path_factory.mktemp("words") / "words.json"

    @budget
    @given(files_of(form))
    def check(content):
        path.write_bytes(content)
        check_words(path, path)

    check()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", list(LISTS))
def test_class_lists(tmp_path_factory, suffix):
    path = tmp_path_factory.mktemp("words") / f"words{suffix}"
    cells = st.sampled_from((*map(str, NUMBERS[:8]), "nan", "cat", "id", ":stuff", "#", "é", "٣"))
    lines = st.lists(st.lists(cells, max_size=6).map("\t".join), max_size=5).map("\n".join)

    @budget
    @given(damaged(LISTS[suffix].encode()) | lines.map(str.encode))
    def check(content):
        path.write_bytes(content)
        check_words(path, path)

    check()


@pytest.mark.slow
def test_words_in_a_line():
    parts = st.sampled_from(("cat", "sky", ":stuff", ";", ",", " ", "\n", ":", "'", "/", "é", "\t"))
    texts = st.lists(parts, max_size=9).map("".join) | st.text(max_size=30)

    @budget
    @given(texts.filter(lambda text: not text.startswith("-") and not text.startswith("get")))
    def check(text):
        command("data", "words", text, named=("class", "word", "file", "file name", repr(text)[:5]))

    check()


@pytest.mark.slow
def test_words_from_python():
    @budget
    @given(st.sampled_from(FORMS[:2]).flatmap(mutated) | st.sampled_from(ODD))
    def check(words):
        named = ("class", "vocab", "name", "file", "unknown key", "given")
        read = attempt("python words", lambda: read_words(words), named)
        assert isinstance(read, (str, Vocabulary))

    check()


def config_tree():
    """The keys of the miniature model's config as sections."""
    tree = {}
    for key in KEYS:
        *sections, name = key.name.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = list(key.default) if isinstance(key.default, tuple) else key.default
    return tree


@pytest.mark.slow
def test_config_yaml(tmp_path_factory):
    path = tmp_path_factory.mktemp("configs") / "model.yaml"

    @budget
    @given(files_of(config_tree(), yaml_bytes))
    def check(content):
        path.write_bytes(content)
        attempt("load config", lambda: load_config(path), ("model.yaml",))

    check()


@pytest.mark.slow
def test_opts():
    names = st.sampled_from([key.name for key in KEYS])
    values = st.sampled_from(ODD).map(str) | st.text(max_size=12)

    @budget
    @given(st.lists(st.one_of(names, values), min_size=1, max_size=2) | st.tuples(names, values))
    def check(opts):
        call = lambda: load_config("configs/miniature/fcclip.yaml", list(opts))  # noqa: E731
        attempt("load --opts", call, ("command line",))

    check()


def typed_options():
    """(command, option or "", its action) of all options that read a number."""
    for name in COMMANDS:
        for action in parser_of(name)._actions:
            if action.type is not None and action.option_strings:
                yield name, action.option_strings[-1]


@pytest.mark.slow
def test_numbers_of_command_lines():
    values = st.sampled_from(NUMBERS).map(str) | st.sampled_from(
        ("", "x", "1e3", "0x10", "١", "1_0")
    )

    @budget
    @given(st.sampled_from(list(typed_options())), values)
    def check(option, value):
        name, flag = option
        said, args = io.StringIO(), argparse.Namespace()
        with contextlib.redirect_stderr(said):
            try:
                parser_of(name).parse_known_args([f"{flag}={value}"], args)
                outcomes.report("options", "accepted", "")
                return
            except SystemExit as ended:
                outcomes.require(ended.code == 2, f"options: {name} {flag} {value}: {ended.code}")
        errors = [line for line in said.getvalue().splitlines() if "error: " in line]
        outcomes.report("options", "error", errors[0] if errors else said.getvalue())
        outcomes.require(len(errors) == 1, f"options: {name} {flag} {value}: {said.getvalue()}")

    check()
