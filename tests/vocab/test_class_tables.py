"""The benchmark tables: counts, order, flags and ids against facts; words unique; replaceable."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest

from frozenseg.vocab.class_tables import table_names
from frozenseg.vocab.vocabulary import Vocabulary, seen_classes

# table: (classes, things, first and last official name, first and last id)
FACTS = {
    "ade20k_150": (150, 100, ("wall", "flag"), (0, 149)),
    "bdd100k_19": (19, 8, ("road", "bicycle"), (0, 18)),
    "bdd100k_40": (40, 10, ("dynamic", "truck"), (1, 40)),
    "cityscapes": (19, 8, ("road", "bicycle"), (7, 33)),
    "coco_panoptic": (133, 80, ("person", "rug-merged"), (1, 200)),
    "coco_stuff_171": (171, 80, ("person", "wood"), (1, 182)),
    "mapillary_vistas": (65, 37, ("Bird", "Ego Vehicle"), (1, 65)),
    "pascal_context_59": (59, 34, ("aeroplane", "wood"), (0, 58)),
    "pascal_voc_20": (20, 20, ("aeroplane", "tvmonitor"), (0, 19)),
    "pascal_voc_21": (21, 20, ("background", "tvmonitor"), (0, 20)),
}

# Official names at contiguous ids, spread over the longer tables.
PLACES = {
    "ade20k_150": {20: "car", 63: "blind", 82: "light", 100: "poster", 126: "animal", 139: "fan"},
    "bdd100k_40": {18: "parking sign", 29: "sky", 30: "person", 35: "caravan"},
    "coco_panoptic": {
        11: "stop sign",
        56: "chair",
        79: "toothbrush",
        80: "banner",
        116: "tree-merged",
    },
    "coco_stuff_171": {79: "toothbrush", 80: "banner", 99: "dirt", 160: "wall-concrete"},
    "mapillary_vistas": {8: "Crosswalk - Plain", 19: "Person", 27: "Sky", 43: "Pothole", 55: "Car"},
    "pascal_context_59": {11: "bus", 22: "dog", 36: "person", 49: "table", 54: "tvmonitor"},
}


def official(vocabulary: Vocabulary) -> list[str]:
    return [item.official for item in vocabulary.classes]


def test_every_table_has_facts() -> None:
    assert table_names() == sorted(FACTS)


@pytest.mark.parametrize("name", sorted(FACTS))
def test_counts_order_and_ids(name: str) -> None:
    vocabulary = Vocabulary.from_table(name)
    classes, things, ends, id_ends = FACTS[name]
    assert (len(vocabulary), sum(vocabulary.thing_mask)) == (classes, things)
    assert all(item.is_thing is not None for item in vocabulary.classes)
    names, ids = official(vocabulary), vocabulary.dataset_ids
    assert (names[0], names[-1]) == ends
    assert (ids[0], ids[-1]) == id_ends
    ascending = [number for number in ids if number is not None]
    assert ids == sorted(set(ascending))  # ascending, so that the index is the rank of the id
    for index, expected in PLACES.get(name, {}).items():
        assert names[index] == expected


@pytest.mark.parametrize("name", sorted(FACTS))
def test_names_words_and_colors_are_unique(name: str) -> None:
    vocabulary = Vocabulary.from_table(name)  # raises if two classes share a word
    words = [word.casefold() for word in vocabulary.all_synonyms]
    assert len(set(words)) == len(words)
    assert len(set(official(vocabulary))) == len(vocabulary)
    assert len(set(vocabulary.colors)) == len(vocabulary)


@pytest.mark.parametrize("name", sorted(FACTS))
def test_words_are_natural_language(name: str) -> None:
    for word in Vocabulary.from_table(name).all_synonyms:
        assert word == word.lower()
        assert word.replace(" ", "").replace("-", "").isalpha(), word
        assert not word.endswith(("-merged", "-other", "-stuff"))
        assert len(word.split()) <= 6


@pytest.mark.parametrize("name", sorted(FACTS))
def test_file_says_where_the_facts_are_from(name: str) -> None:
    file = resources.files("frozenseg.vocab") / "tables" / f"{name}.json"
    table = json.loads(file.read_text(encoding="utf-8"))
    assert table["name"] == name
    assert all(table[key] for key in ("title", "source", "ids"))


def test_relations_between_tables() -> None:
    voc_20, voc_21 = Vocabulary.from_table("pascal_voc_20"), Vocabulary.from_table("pascal_voc_21")
    assert voc_21.names == ("background", *voc_20.names)
    assert voc_21.synonyms[1:] == voc_20.synonyms
    assert voc_21.colors[1:] == voc_20.colors
    panoptic, stuff = (
        Vocabulary.from_table("coco_panoptic"),
        Vocabulary.from_table("coco_stuff_171"),
    )
    assert panoptic.classes[:80] == stuff.classes[:80]
    cityscapes, bdd = Vocabulary.from_table("cityscapes"), Vocabulary.from_table("bdd100k_19")
    assert cityscapes.synonyms == bdd.synonyms
    voc_in_context = set(official(voc_20)) - {"diningtable"}
    assert voc_in_context < set(official(Vocabulary.from_table("pascal_context_59")))
    assert set(official(bdd)) < set(official(Vocabulary.from_table("bdd100k_40")))


def test_pascal_context_is_alphabetical_by_official_name() -> None:
    # the prepared annotations number the 59 classes in this order
    names = official(Vocabulary.from_table("pascal_context_59"))
    assert names == sorted(names)


def test_common_classes_of_coco_are_seen_elsewhere() -> None:
    coco = Vocabulary.from_table("coco_panoptic")
    assert all(seen_classes(Vocabulary.from_table("pascal_voc_20"), coco))
    ade = Vocabulary.from_table("ade20k_150")
    seen = dict(zip(ade.names, seen_classes(ade, coco), strict=True))
    assert all(seen[name] for name in ("car", "sofa", "wall"))
    assert not any(seen[name] for name in ("escalator", "chandelier"))


@pytest.mark.golden
def test_ade20k_agrees_with_the_golden_vocabulary(shared_dir: Path) -> None:
    path = shared_dir / "golden" / "fcclip_tiny_convnext" / "vocab.json"
    golden = json.loads(path.read_text())
    for name, prefix in (("ade20k_150", "test"), ("coco_panoptic", "train")):
        table = Vocabulary.from_table(name)
        released = [set(text.split(",")) for text in golden[f"{prefix}_stuff_classes"]]
        assert len(released) == len(table)
        same = [
            bool(words & {*item.synonyms, item.official})
            for words, item in zip(released, table.classes, strict=True)
        ]
        assert sum(same) >= 0.95 * len(table)  # a shifted list would share far fewer
    things = Vocabulary.from_table("ade20k_150").thing_mask
    ids = [index for index, is_thing in enumerate(things) if is_thing]
    assert ids == golden["test_thing_contiguous_ids"]


@pytest.mark.parametrize("name", sorted(FACTS))
def test_an_external_file_replaces_the_words(name: str, tmp_path: Path) -> None:
    table = Vocabulary.from_table(name)
    path = tmp_path / "words.txt"
    rows = ["0:invalid_class_id"]
    rows += [f"{index}:word {index},other word" for index in range(1, len(table) + 1)]
    path.write_text("\n".join(rows[:1] + rows[:0:-1]))
    replaced = table.with_words(path)
    assert replaced.synonyms[0] == ("word 1", "other word")
    assert replaced.names == tuple(f"word {index}" for index in range(1, len(table) + 1))
    assert replaced.thing_mask == table.thing_mask
    assert replaced.dataset_ids == table.dataset_ids
    assert official(replaced) == official(table)
    path.write_text("\n".join(rows[:-1]))
    message = rf"words.txt: {len(table) - 1} classes, but {len(table)} are needed"
    with pytest.raises(ValueError, match=message):
        table.with_words(path)


def test_unknown_table_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="'cityscape'; did you mean 'cityscapes'"):
        Vocabulary.from_table("cityscape")
    with pytest.raises(ValueError, match=r"'lvis' is read from the dataset: use .*from_lvis"):
        Vocabulary.from_table("lvis")
