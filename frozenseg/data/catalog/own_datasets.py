"""Datasets of one's own: rows of the catalog in a YAML file, no code.

    name: my_streets_val
    images: images                # paths are relative to the YAML file
    semantic_masks: masks         # one label per pixel: the index of the class, 255 ignored
    classes: classes.txt          # or a list, or the name of a built-in table

    name: my_kitchen_val
    images: images
    panoptic_json: panoptic.json  # COCO panoptic format; without `classes` its own categories
    panoptic_masks: panoptic

Several rows are a list of such mappings. `KEYS` has all keys; datasets/README.md explains them,
docs/own_data.md goes from photographs to a trained model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta
from typing_extensions import TypedDict

from frozenseg.config.ranges import SMALLEST
from frozenseg.config.sources import read_yaml
from frozenseg.data.catalog.lookup import DATASET_SPLITS, class_of_category, load_vocabulary
from frozenseg.data.catalog.split import (
    EXIF,
    PATH_FIELDS,
    TASKS,
    DatasetSplit,
    Origin,
    is_class_file,
)
from frozenseg.errors import nearest
from frozenseg.files import check_typed
from frozenseg.vocab.class_lists import read_entries
from frozenseg.vocab.class_tables import table_entries
from frozenseg.vocab.colors import parse_color

SUFFIXES = (".yaml", ".yml")
Text = Annotated[str, Meta(min_length=1)]
LABELS = 1 << 16  # values of a pixel of a mask
Label = Annotated[int, Meta(ge=-1, lt=LABELS)]
Edge = Annotated[int, Meta(ge=0, lt=1 << 16)]


class OwnDataset(TypedDict, total=False):
    """The keys of a dataset, all of which may be missing here, and what they may be."""

    name: Text
    benchmark: Text
    split: Text
    tasks: Annotated[list[str], Meta(min_length=1)]
    classes: Text | Annotated[list[Any], Meta(min_length=1)]
    images: Text
    image_list: Text
    panoptic_json: Text
    panoptic_masks: Text
    semantic_masks: Text
    instance_json: Text
    category_ids: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(min_length=1)]
    mask_values: Text
    ignore_label: Label
    ignore_colors: list[Text | list[int]]
    image_suffix: Text
    semantic_suffix: Text
    exif: Text
    test_size: tuple[Edge, Edge]
    object_mask_threshold: Annotated[float, Meta(ge=0, le=1)]
    prepare: Text


KEYS = tuple(OwnDataset.__annotations__)
CHOICES = {"mask_values": ("index", "id", "color"), "exif": EXIF}  # the first is the default
PATHS = (*(field for field in PATH_FIELDS if field != "instance_masks"), "instance_json")
MASK_MISTAKE = (
    "the masks hold the indices of the classes, 0 the first, or with `mask_values: id` ids, with "
    "`mask_values: color` colours"
)
COLOR_FILE = (
    "a .tsv or .json file with a colour for every class, such as the lines 'name<TAB>color', "
    "'road<TAB>#804080'"
)
TASKS_OF = {"panoptic": TASKS, "instances": ("instance",), "semantic": ("semantic",)}
EVALUATORS = {"panoptic": "coco_panoptic_seg", "instances": "coco", "semantic": "sem_seg"}


def is_dataset_file(name: str | Path) -> bool:
    """Whether `name` is meant as the path of a YAML file (it need not exist)."""
    return Path(name).suffix.lower() in SUFFIXES


def read_dataset_file(path: str | Path) -> tuple[DatasetSplit, ...]:
    """The rows of a YAML file; their paths are absolute.

    Raises: FileNotFoundError; ValueError that names file, row and key for unknown, missing or
        contradicting keys, wrong types, and names that occur twice or belong to a benchmark.
    """
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such dataset file; check the path")
    content = read_yaml(file)
    entries = content if isinstance(content, list) else [content]
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(
            f"{file}: must hold one dataset (name: ..., images: ..., ...) or a list of them"
        )
    rows = tuple(_row(entry, file, number) for number, entry in enumerate(entries, 1))
    # A name that a benchmark has would replace it without a word.
    taken = {name for row in DATASET_SPLITS for name in row.names}
    for row in rows:
        if row.name in taken:
            raise ValueError(f"{file}: name {row.name!r} is taken; choose another one")
        taken.add(row.name)
    return rows


def _row(entry: Mapping[str, Any], file: Path, number: int) -> DatasetSplit:
    where = f"{file}: dataset {entry.get('name', number)!r}"
    _check_keys(entry, where)
    paths: dict[str, Any] = {key: _absolute(file, entry[key]) for key in PATHS if key in entry}
    json_file = paths.get("panoptic_json") or paths.get("instance_json", "")
    classes = _classes(entry["classes"], file, where) if "classes" in entry else ""
    row = DatasetSplit(
        **paths,
        name=entry["name"],
        benchmark=entry.get("benchmark", entry["name"]),
        split=entry.get("split", "val"),
        tasks=(),
        vocabulary=classes or json_file,
        shared_names=not classes,
        category_ids=tuple(entry.get("category_ids", ())),
        labels_are_ids=entry.get("mask_values") == "id",
        label_colors=_label_colors(entry, classes, where),
        ignore_label=entry.get("ignore_label", 255),
        image_suffix=entry.get("image_suffix", ""),
        semantic_suffix=entry.get("semantic_suffix", ".png"),
        exif=entry.get("exif", EXIF[0]),
        test_size=tuple(entry["test_size"]) if "test_size" in entry else None,
        object_mask_threshold=entry.get("object_mask_threshold"),
        origin=Origin(
            entry.get("prepare", ""),
            common_mistake=MASK_MISTAKE if "semantic_masks" in entry else "",
        ),
    )
    if classes:
        _check_ids(row, file.parent, where)
    tasks = _tasks(entry, TASKS_OF[row.kind], where)
    return replace(row, tasks=tasks, evaluator=EVALUATORS[row.kind])


def _check_keys(entry: Mapping[str, Any], where: str) -> None:
    """Raises ValueError for keys that are unknown, missing, or of a wrong type."""
    for key in entry:
        if key not in KEYS:
            near = nearest(key, KEYS, cutoff=0.6)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(KEYS)}"
            raise ValueError(f"{where}: unknown key {key!r}; {hint}")
    _check_values(entry, where)
    _check_truth(entry, where)


def _check_values(entry: Mapping[str, Any], where: str) -> None:
    check_typed(entry, OwnDataset, where, "see 'Datasets of your own' in datasets/README.md")
    shortest, longest = entry.get("test_size", (0, 0))
    if shortest > longest or 0 < shortest < SMALLEST:
        raise ValueError(
            f"{where}: test_size must be [shortest edge, longest edge], of {SMALLEST} pixels or "
            f"more ([0, 0] keeps the size), got {entry['test_size']}"
        )
    for key, choices in CHOICES.items():
        if entry.get(key, choices[0]) not in choices:
            raise ValueError(f"{where}: {key} must be {' or '.join(choices)}, got {entry[key]!r}")


def _check_truth(entry: Mapping[str, Any], where: str) -> None:
    truths = [key for key in ("panoptic_json", "instance_json", "semantic_masks") if key in entry]
    missing = [key for key in ("name", "images") if key not in entry]
    if "panoptic_json" in entry and "panoptic_masks" not in entry:
        missing.append("panoptic_masks")
    if truths in ([], ["semantic_masks"]) and "classes" not in entry:
        missing.append("classes")
    if not truths:
        missing.append("one of panoptic_json, instance_json, semantic_masks")
    if missing:
        raise ValueError(f"{where}: lacks {', '.join(missing)}")
    if len(truths) > 1 and truths != ["panoptic_json", "semantic_masks"]:
        raise ValueError(f"{where}: has {' and '.join(truths)}; make them datasets of their own")


def _classes(given: str | list[Any], file: Path, where: str) -> str:
    """`DatasetSplit.vocabulary` of the key `classes`."""
    if isinstance(given, str):
        return _absolute(file, given) if is_class_file(given) else given
    texts = []
    for number, item in enumerate(given, 1):
        names = item if isinstance(item, list) else [item]
        if not names or not all(isinstance(name, str) and ";" not in name for name in names):
            raise ValueError(
                f"{where}: class {number} is {item!r}, not a text: put it in quotes (YAML reads "
                "no and 3 as other things, and 'sky: stuff' needs to be sky:stuff)"
            )
        texts.append(", ".join(names))
    return "; ".join(texts) + ";"


def _label_colors(
    entry: Mapping[str, Any], classes: str, where: str
) -> tuple[tuple[int, int], ...]:
    """`DatasetSplit.label_colors`; () unless the masks are coloured pictures.

    Raises: ValueError for a class without a colour, and for a colour of two meanings.
    """
    if entry.get("mask_values") != "color":
        if "ignore_colors" in entry:
            raise ValueError(f"{where}: ignore_colors needs mask_values: color")
        return ()
    if "ignore_label" in entry:
        raise ValueError(f"{where}: masks of colours have ignore_colors, not ignore_label")
    if not classes or ";" in classes:
        raise ValueError(f"{where}: mask_values: color needs `classes`, {COLOR_FILE}")
    try:
        entries = read_entries(Path(classes)) if is_class_file(classes) else table_entries(classes)
        ignored = [parse_color(color, "ignore_colors") for color in entry.get("ignore_colors", ())]
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(f"{where}: {error}") from error
    meaning: dict[tuple[int, ...], tuple[int, str]] = {}
    of_classes = [(each.color, index, each.names[0]) for index, each in enumerate(entries)]
    for color, index, name in (*of_classes, *((color, -1, "ignored") for color in ignored)):
        if color is None:
            raise ValueError(
                f"{where}: class {name!r} has no colour: `classes` must be {COLOR_FILE}"
            )
        if color in meaning and meaning[color][0] != index:
            both = f"{meaning[color][1]!r} and {name!r}"
            raise ValueError(f"{where}: {both} have one colour, {list(color)}: change one of them")
        meaning[color] = (index, name)
    return tuple((r + 256 * g + 65536 * b, index) for (r, g, b), (index, _) in meaning.items())


def _check_ids(row: DatasetSplit, folder: Path, where: str) -> None:
    """Reads the class list. Raises ValueError if its ids are missing or clash with ignore_label."""
    try:
        vocabulary = load_vocabulary(row.vocabulary, folder)
        ids = class_of_category(row, vocabulary)
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(f"{where}: classes: {error}") from error
    has_ids = bool(row.category_ids) or vocabulary.dataset_ids[0] is not None
    if not has_ids and (row.kind != "semantic" or row.labels_are_ids):
        raise ValueError(
            f"{where}: the classes have no ids: add category_ids, or a class file with lines such "
            "as '7: cat' (or leave classes out to take those of the annotation file)"
        )
    if row.labels_are_ids and max(ids) >= LABELS:
        raise ValueError(
            f"{where}: a class has the id {max(ids)}, which no mask can hold: the ids of "
            f"`mask_values: id` are at most {LABELS - 1}"
        )
    labels = ids if row.labels_are_ids else {index: index for index in range(len(vocabulary))}
    if row.semantic_masks and not row.label_colors and row.ignore_label in labels:
        name = vocabulary.names[labels[row.ignore_label]]
        raise ValueError(
            f"{where}: ignore_label {row.ignore_label} is the label of class {name!r}; choose a "
            "value that no class has (masks of ids need mask_values: id)"
        )


def _tasks(entry: Mapping[str, Any], possible: tuple[str, ...], where: str) -> tuple[str, ...]:
    tasks = tuple(entry.get("tasks", possible))
    wrong = [task for task in tasks if task not in possible]
    if wrong:
        raise ValueError(
            f"{where}: tasks has {wrong[0]!r}, but its files can score {', '.join(possible)}"
        )
    return tasks


def _absolute(file: Path, path: str) -> str:
    return str(file.parent / Path(path).expanduser())
