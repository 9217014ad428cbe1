"""The benchmarks: one row per split, and where their files are.

Names that users of the family know (`openvocab_...`) stay valid. A new benchmark is a new row.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from frozenseg.data.miniature_classes import ALL, SEEN, vocabulary_text
from frozenseg.vocab import Vocabulary

ROOT_VARIABLE = "DETECTRON2_DATASETS"


@dataclass(frozen=True)
class Benchmark:
    """One split of one benchmark; all paths are relative to the root of the data sets.

    Attributes:
        name: registered name, as in DATASETS.TRAIN and DATASETS.TEST.
        benchmark, split: how results call it.
        tasks: what its ground truth can score, of "panoptic", "instance", "semantic".
        vocabulary: name of a built-in table, a file (.txt, .tsv, .json; relative to the root like
            all paths), or the classes themselves ("red disk, scarlet disk; grass:stuff").
        images, panoptic_masks, semantic_masks: folders; without `semantic_masks` the semantic
            ground truth is derived from the panoptic one.
        panoptic_json: annotation file in COCO panoptic format; instances are its thing segments.
        category_ids: the data set's own id of every class, in vocabulary order; () means those of
            the vocabulary, or 0..C-1 if it has none.
        prepare: the command that makes the files, for error messages.
        test_size: (shortest edge, longest edge) of test images; None takes INPUT.*_SIZE_TEST.
        ignore_label: the value of semantic masks that is not scored.
    """

    name: str
    benchmark: str
    split: str
    tasks: tuple[str, ...]
    vocabulary: str
    images: str
    panoptic_json: str = ""
    panoptic_masks: str = ""
    semantic_masks: str = ""
    category_ids: tuple[int, ...] = ()
    prepare: str = ""
    test_size: tuple[int, int] | None = None
    ignore_label: int = 255


SHAPES_SEEN_IDS = (1, 2, 3, 4, 5, 6, 9, 10)
SHAPES_CLASSES = (
    "red disk, scarlet disk; green disk; red square, red box; blue square, blue box;"
    "green triangle; blue triangle; blue disk; red triangle; grass:stuff; brick:stuff; water:stuff"
)
SHAPES_SEEN_CLASSES = ";".join(SHAPES_CLASSES.split(";")[i - 1] for i in SHAPES_SEEN_IDS)
PREPARE_SHAPES = "python datasets/prepare_shapes.py"


def _coco_panoptic(split: str) -> Benchmark:
    return Benchmark(
        name=f"openvocab_coco_2017_{split}_panoptic_with_sem_seg",
        benchmark="coco_panoptic",
        split=split,
        tasks=("panoptic", "instance", "semantic"),
        vocabulary="coco_panoptic",
        images=f"coco/{split}2017",
        panoptic_json=f"coco/annotations/panoptic_{split}2017.json",
        panoptic_masks=f"coco/panoptic_{split}2017",
        prepare="see datasets/README.md, section COCO",
    )


def _shapes(split: str, vocabulary: str, category_ids: tuple[int, ...]) -> Benchmark:
    return Benchmark(
        name=f"shapes_{split}_panoptic",
        benchmark="shapes",
        split=split,
        tasks=("panoptic", "instance", "semantic"),
        vocabulary=vocabulary,
        images=f"shapes/{split}",
        panoptic_json=f"shapes/panoptic_{split}.json",
        panoptic_masks=f"shapes/panoptic_{split}",
        semantic_masks=f"shapes/semantic_{split}",
        category_ids=category_ids,
        prepare=PREPARE_SHAPES,
    )


def _miniature(split: str, classes: tuple[int, ...]) -> Benchmark:
    return Benchmark(
        name=f"miniature_{split}_panoptic",
        benchmark="miniature",
        split=split,
        tasks=("panoptic", "instance", "semantic"),
        vocabulary=vocabulary_text(classes),
        images=f"miniature/{split}",
        panoptic_json=f"miniature/panoptic_{split}.json",
        panoptic_masks=f"miniature/panoptic_{split}",
        category_ids=tuple(index + 1 for index in classes),
        prepare="python datasets/prepare_miniature.py",
    )


BENCHMARKS: tuple[Benchmark, ...] = (
    _coco_panoptic("train"),
    _coco_panoptic("val"),
    Benchmark(
        name="openvocab_ade20k_panoptic_val",
        benchmark="ade20k_150",
        split="val",
        tasks=("panoptic", "instance", "semantic"),
        vocabulary="ade20k_150",
        images="ADEChallengeData2016/images/validation",
        panoptic_json="ADEChallengeData2016/ade20k_panoptic_val.json",
        panoptic_masks="ADEChallengeData2016/ade20k_panoptic_val",
        semantic_masks="ADEChallengeData2016/annotations_detectron2/validation",
        prepare="see datasets/README.md, section ADE20K",
    ),
    _shapes("train", SHAPES_SEEN_CLASSES, SHAPES_SEEN_IDS),
    _shapes("val", SHAPES_CLASSES, tuple(range(1, 12))),
    _miniature("train", SEEN),
    _miniature("dev", ALL),
    _miniature("val", ALL),
)


def find_benchmark(name: str, rows: Iterable[Benchmark] = BENCHMARKS) -> Benchmark:
    """The row of a registered name. Raises: ValueError that names the nearest known ones."""
    by_name = {row.name: row for row in rows}
    if name not in by_name:
        near = difflib.get_close_matches(name, by_name, n=3, cutoff=0.3) or sorted(by_name)
        raise ValueError(f"unknown data set {name!r}; did you mean {', '.join(near)}?")
    return by_name[name]


def load_vocabulary(source: str, root: Path | None = None) -> Vocabulary:
    """The classes of a row: given inline (with ";"), by a class file, or by a built-in table.

    The name of a file is relative to `root`, by default `datasets_root()`.
    """
    if ";" in source:
        return Vocabulary.parse(source)
    if Path(source).suffix in (".txt", ".tsv", ".json"):
        folder = root if root is not None else datasets_root()
        return Vocabulary.from_file(folder / Path(source).expanduser())
    return Vocabulary.from_table(source)


def datasets_root() -> Path:
    """Absolute folder of all data sets: $DETECTRON2_DATASETS, else `datasets/` of a checkout.

    Never depends on the working directory unless the variable's own value is relative.
    Raises: ValueError if the variable is unset and the package does not run from a checkout.
    """
    value = os.environ.get(ROOT_VARIABLE, "")
    if value:
        return Path(value).expanduser().absolute()
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "train_net.py").is_file():
        return checkout / "datasets"
    raise ValueError(
        f"${ROOT_VARIABLE} is not set: set it to the folder that holds coco/, "
        "ADEChallengeData2016/ and so on"
    )
