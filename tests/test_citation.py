"""CITATION.cff is what the Citation File Format 1.2.0 asks for, and true to the package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import frozenseg

ROOT = Path(__file__).resolve().parents[1]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
# Keys of the schema (github.com/citation-file-format, schema guide 1.2.0) that this file may use.
KEYS = {
    *("cff-version", "type", "title", "message", "version", "license", "authors", "abstract"),
    *("keywords", "references", "date-released", "repository-code", "url", "doi"),
}
REFERENCE_KEYS = {
    *("type", "title", "notes", "authors", "collection-title", "year", "url", "identifiers"),
    *("doi", "journal", "conference"),
}


def check_authors(authors):
    assert authors
    for author in authors:
        assert set(author) in ({"name"}, {"given-names", "family-names"})
        assert all(isinstance(value, str) and value.strip() for value in author.values())


def test_what_the_format_requires_is_there():
    assert CITATION["cff-version"] == "1.2.0"
    assert set(CITATION) <= KEYS
    assert CITATION["type"] == "software"
    for key in ("title", "message", "abstract"):
        assert isinstance(CITATION[key], str)
        assert CITATION[key].strip()
    check_authors(CITATION["authors"])
    assert len(set(CITATION["keywords"])) == len(CITATION["keywords"])


def test_version_and_licence_are_those_of_the_package():
    assert CITATION["version"] == frozenseg.__version__
    assert f'license = "{CITATION["license"]}"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("work", CITATION["references"], ids=lambda work: work["notes"])
def test_a_reference_is_complete(work):
    assert set(work) <= REFERENCE_KEYS
    assert work["type"] in ("article", "conference-paper")
    assert (work["type"] == "conference-paper") == ("collection-title" in work)
    check_authors(work["authors"])
    assert isinstance(work["year"], int)
    (number,) = (each["value"].removeprefix("arXiv:") for each in work["identifiers"])
    assert all(each["type"] == "other" for each in work["identifiers"])
    assert re.fullmatch(r"\d{4}\.\d{5}", number)
    assert work["url"] == f"https://arxiv.org/abs/{number}"
    # A paper appears on arXiv (yymm) in the year of its publication or the one before.
    assert work["year"] - 2000 - int(number[:2]) in (0, 1)


def test_the_papers_of_all_models_are_there():
    names = {work["notes"] for work in CITATION["references"]}
    assert names == {"FC-CLIP", "FrozenSeg", "Fusioner", "Mask2Former", "SAM", "CLIP"}
