"""datasets/README.md: every section that a message names, every script, every name of a row."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from frozenseg.cli.data_prepare import BENCHMARKS
from frozenseg.cli.main import parser_of
from frozenseg.data.catalog.downloads import DOWNLOADS
from frozenseg.data.catalog.lookup import DATASET_SPLITS, fullest_splits
from frozenseg.data.catalog.own_datasets import KEYS
from frozenseg.data.catalog.split import PREPARE
from frozenseg.data.preparation import (
    ade20k,
    ade20k_full,
    bdd100k,
    cityscapes,
    coco,
    coco_20i,
    fss_mosaic,
    mapillary,
    pascal,
    pascal_5i,
)
from frozenseg.evaluation.published import published_models

FOLDER = Path(__file__).resolve().parents[2] / "datasets"
TEXT = (FOLDER / "README.md").read_text(encoding="utf-8")
SECTIONS = set(re.findall(r"^## (.+)$", TEXT, re.MULTILINE))
SOURCES = (
    ade20k.SOURCE,
    ade20k_full.SOURCE,
    bdd100k.SOURCE,
    cityscapes.SOURCE,
    coco.COCO,
    coco.STUFF,
    coco_20i.SOURCE,
    fss_mosaic.SOURCE,
    mapillary.SOURCE,
    pascal.VOC,
    pascal.CONTEXT,
    pascal_5i.SOURCE,
)


def expand(pattern: str) -> list[str]:
    """The names that a text with {a,b} stands for."""
    match = re.search(r"\{([^}]*)\}", pattern)
    if match is None:
        return [pattern]
    before, after = pattern[: match.start()], pattern[match.end() :]
    return [name for word in match[1].split(",") for name in expand(before + word + after)]


def test_sections_that_messages_name_are_there():
    assert {source.section for source in SOURCES} <= SECTIONS
    assert {row.origin.readme_section for row in DATASET_SPLITS} <= SECTIONS


def test_downloads_are_those_of_the_sections():
    sections = {text.partition("\n")[0]: text for text in TEXT.split("\n## ")}
    for section, download in DOWNLOADS.items():
        for page in re.findall(r"http\S+", download.page):
            assert f"<{page}>" in sections[section]
    published = {name for model in published_models() for name in model.scores}
    rows = [row for name, row in fullest_splits().items() if name in published]
    assert {row.origin.readme_section for row in rows} <= set(DOWNLOADS)


def test_every_command_is_described_and_knows_its_options():
    commands = re.findall(r"frozenseg (data prepare (?!NAME)[^#`\n]+)", TEXT)
    for command in commands:
        parser_of("data prepare").parse_args(command.split()[2:])
    assert {command.split()[2] for command in commands} == {*BENCHMARKS, "miniature"}


def test_the_table_has_every_name():
    rows = re.findall(r"^\|[^|]*\| `([a-z0-9_{},]+)` \|", TEXT, re.MULTILINE)
    named = {name for row in rows for name in expand(row)}
    assert named == {row.name for row in DATASET_SPLITS}


def test_the_table_names_the_preparation_of_each_row():
    lines = re.findall(r"^\|[^|]*\| `([a-z0-9_{},]+)` \| `?([^|`]+)`? \|", TEXT, re.MULTILINE)
    named = {name: made_by.strip() for names, made_by in lines for name in expand(names)}
    for row in DATASET_SPLITS:
        words = row.origin.command.removeprefix(f"{PREPARE} ").split()
        assert named[row.name] == (words[0] if words else "nothing")


def test_links_within_the_page_have_a_heading():
    anchors = set(re.findall(r"\]\(#([a-z0-9-]+)\)", TEXT))
    assert anchors <= {section.lower().replace(" ", "-") for section in SECTIONS}


@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_your_own_dataset_is_explained(key):
    table = TEXT[TEXT.index("## Datasets of your own") :]
    assert re.search(rf"^\|[^|]*`{key}`", table, re.MULTILINE)


def test_it_is_plain_text():
    assert TEXT.isascii()
    long = [line for line in TEXT.splitlines() if len(line) > 100 and not line.startswith("|")]
    assert long == []
