"""Prompt templates: the released wording, user files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from frozenseg.vocab.templates import TEMPLATE_SETS, fill_templates, get_templates, read_templates


@pytest.mark.parametrize("name", sorted(TEMPLATE_SETS))
def test_every_template_has_one_place_for_the_name(name: str) -> None:
    templates = get_templates(name)
    assert len(set(templates)) == len(templates) > 0
    assert all(template.count("{}") == 1 for template in templates)
    assert not any(brace in template.replace("{}", "") for template in templates for brace in "{}")


def test_vild_14_wording() -> None:
    templates = get_templates("vild_14")
    assert len(templates) == 14
    assert templates[1] == "This is a photo of a {}"  # no full stop, as released
    assert templates[5] == "a photo of a small {}."
    assert templates[-1] == "There is a large {} in the scene."


def test_fusioner_32_families() -> None:
    templates = get_templates("fusioner_32")
    assert len(templates) == 32
    assert templates[0] == "a photo of a {}."
    assert "a cropped photo of the {} in the scene." in templates
    assert "this is one {} in the scene." in templates
    for family, count in {
        "bad photo": 4,
        "cropped photo": 4,
        "masked photo": 4,
        "small": 4,
        "medium": 4,
        "large": 4,
        "this is one": 2,
        "in the scene": 16,
        "photo of the": 14,
    }.items():
        assert sum(family in template for template in templates) == count, family


@pytest.mark.golden
def test_vild_14_makes_the_recorded_prompts(shared_dir: Path) -> None:
    path = shared_dir / "golden" / "fcclip_tiny_convnext" / "vocab.json"
    golden = json.loads(path.read_text())
    synonyms = golden["test_stuff_classes"][0].split(",")
    templates = get_templates("vild_14")
    made = [prompt for name in synonyms for prompt in fill_templates(templates, name)]
    assert len(golden["test_prompts"]) >= 14
    assert made[: len(golden["test_prompts"])] == golden["test_prompts"]


def test_names_with_braces_are_taken_literally() -> None:
    assert fill_templates(("a {}.",), "{0} {}") == ["a {0} {}."]


def test_user_file(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("# mine\n\n a drawing of a {}. \nthe {}\n")
    assert read_templates(path) == get_templates(str(path)) == ("a drawing of a {}.", "the {}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("the {}\nno place\n", "prompts.txt:2: a template needs exactly one {}"),
        ("{} and {}\n", "prompts.txt:1: a template needs exactly one {}"),
        ("the {}\n\nthe {}\n", "prompts.txt:3: the template of line 1 again"),
        ("# none\n", "prompts.txt: no template in the file"),
        ("", "prompts.txt: the file is empty"),
    ],
)
def test_bad_user_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_templates(path)


def test_unknown_set_names_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match="unknown template set 'vild'; use one of fusioner_32, simple, vild_14"
    ):
        get_templates("vild")
    with pytest.raises(FileNotFoundError, match=r"none.txt"):
        get_templates("none.txt")
