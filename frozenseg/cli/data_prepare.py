"""Converts what a benchmark publishes to the files that this project reads.

    frozenseg data prepare ade20k                          validation, all parts
    frozenseg data prepare ade20k --splits train val --parts semantic
    frozenseg data prepare miniature --root data           the synthetic world of this project

`frozenseg data prepare NAME --help` says what is made and from what. An image whose output is
complete is not made again, so a stopped run goes on where it stopped.
Exit code: 0; 1 if an image could not be converted (each is named, nothing half-written stays);
2 if the published files are missing; 130 after Ctrl-C. Where files belong: datasets/README.md.
"""

from __future__ import annotations

import argparse
import logging
import os
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from frozenseg.cli.options import SEED, add_shared, whole
from frozenseg.cli.program import add_debug_flag
from frozenseg.data.catalog.mess_rows import CROP, MESS_SETS

if TYPE_CHECKING:
    from frozenseg.data.preparation.work import Preparation

MOST_WORKERS = 8  # more rarely help: the disk is busy by then
Options = dict[str, dict[str, Any]]  # option -> what argparse takes


def _parts(*names: str) -> Options:
    return {"--parts": {"nargs": "+", "choices": names, "default": names, "help": "default: all"}}


@dataclass(frozen=True)
class Benchmark:
    """What `frozenseg data prepare NAME` makes.

    Attributes:
        convert: "module:function" of `frozenseg.data.preparation`; the function takes a
            `Preparation`, then the values of `options` in their order.
        summary, makes: its line in the list, and what is written where.
        options: beside those of all benchmarks.
        splits: that can be chosen; () where there is one only.
    """

    convert: str
    summary: str
    makes: str
    options: Options
    splits: tuple[str, ...] = ("train", "val")


BENCHMARKS = {
    "ade20k": Benchmark(
        "ade20k:prepare_ade20k",
        "ADE20K with 150 classes: semantic masks, panoptic and instance annotations",
        "Below ADEChallengeData2016/: annotations_detectron2/<split>/*.png (0..149, 255 "
        "ignored), ade20k_panoptic_<split>.json and folder, ade20k_instance_<split>.json. "
        "--parts semantic needs no instance annotations.",
        _parts("semantic", "panoptic", "instance"),
    ),
    "ade20k_full": Benchmark(
        "ade20k_full:prepare_ade20k_full",
        "ADE20K-Full with 847 classes (A-847): images and 16-bit semantic masks",
        "Below ADE20K_2021_17_01/: images_detectron2/<split>/*.jpg, "
        "annotations_detectron2/<split>/*.tif (0..846, 65535 ignored), classes_847.tsv. The "
        "release's index is a pickle and is not loaded; the list of the 847 is given with "
        "--classes: the file register_ade20k_full.py that Mask2Former publishes "
        "(mask2former/data/datasets/), which is read and not run, or a .tsv with the columns "
        "id, trainId and name, or a .json with a list of such objects. id is the number in "
        "the pixels, R // 10 * 256 + G.",
        {
            "--classes": {
                "type": Path,
                "required": True,
                "metavar": "FILE",
                "help": "class list, see below",
            },
            "--short-edge": {
                "type": int,
                "choices": (0, 512),
                "default": 512,
                "help": "larger images are scaled to it, as for the published scores; 0: none is",
            },
        },
    ),
    "bdd100k": Benchmark(
        "bdd100k:prepare_bdd100k",
        "BDD100K: panoptic annotations from bitmasks",
        "Below bdd100k/labels/pan_seg/: panoptic_<split>.json and folder (category ids "
        "1..40). The semantic masks of BDD100K are published ready-made.",
        {},
    ),
    "cityscapes": Benchmark(
        "cityscapes:prepare_cityscapes",
        "Cityscapes: masks of train ids and panoptic annotations",
        "Below cityscapes/gtFine/: <split>/<city>/*_labelTrainIds.png (0..18, 255 ignored) "
        "and cityscapes_panoptic_<split>.json and folder, as the official scripts name and "
        "fill them.",
        _parts("semantic", "panoptic"),
    ),
    "coco": Benchmark(
        "coco:prepare_coco_semantic",
        "COCO: semantic masks from the panoptic annotations",
        "Below coco/: panoptic_semseg_<split>2017/*.png (0..132, 255 where there is no segment).",
        {},
    ),
    "coco_20i": Benchmark(
        "coco_20i:prepare_coco_20i",
        "COCO-20i: label maps of the objects of COCO 2014, and the index of episodes",
        "Below coco/: annotations_coco_20i/<split>2014/*.png (0 background, 1..80), and "
        "coco_20i/{train,val}.json. Smaller objects lie on larger ones. Which items a fold "
        "has follows from the index; nothing is drawn at random.",
        {},
    ),
    "coco_stuff": Benchmark(
        "coco:prepare_coco_stuff",
        "COCO-Stuff 164k: labels without gaps",
        "Below coco/: stuffthingmaps_detectron2/<split>2017/*.png (0..170, 255 ignored).",
        {},
    ),
    "fss_mosaic": Benchmark(
        "fss_mosaic:prepare_fss_mosaic",
        "Mosaic-4: 2x2 mosaics of pictures of four test classes of FSS-1000",
        "fss_mosaic_4/images/*.png, labels/*.png (0 background, 1..240), classes.txt and "
        "test.json, from fewshot_data/<class>/{1..10}.{jpg,png} and the list of the 240 test "
        "classes. No picture is used twice; the same seed gives the same mosaics. Files "
        "without a partner are left out, with a message.",
        {
            "--classes": {
                "type": Path,
                "metavar": "FILE",
                "help": "names of the test classes, one per line "
                "(default: fewshot_data/fss_test_set.txt)",
            },
            "--seed": {"type": SEED, "default": 0, "help": "another number, other mosaics"},
        },
        splits=(),
    ),
    "mapillary": Benchmark(
        "mapillary:prepare_mapillary",
        "Mapillary Vistas v1.2: semantic masks with 255 for unlabelled pixels",
        "Below mapillary_vistas/: annotations_detectron2/<split>/*.png (0..64, 255 ignored). "
        "The panoptic annotations are published in COCO's format and need no preparation.",
        {},
    ),
    "mess": Benchmark(
        "mess:prepare_mess",
        f"MESS: images and semantic masks of {len(MESS_SETS)} of its 22 sets",
        "mess/<set>/images and mess/<set>/labels/*.png (from 0, 255 ignored). Large images (iSAID, "
        f"Potsdam, UAVid) are cut into squares of {CROP} pixels. datasets/README.md says where the "
        "published files belong, and which sets are not here.",
        {
            "--sets": {
                "nargs": "+",
                "choices": tuple(MESS_SETS),
                "default": (),
                "metavar": "SET",
                "help": f"{', '.join(MESS_SETS)} (default: those whose published files are there)",
            }
        },
        splits=(),
    ),
    "pascal_5i": Benchmark(
        "pascal_5i:prepare_pascal_5i",
        "PASCAL-5i: label maps of VOC 2012 and SBD, and the index of episodes",
        "VOCdevkit/VOC2012/SegmentationClassAug/*.png (0 background, 1..20, 255 border) and "
        "pascal_5i/{train,val}.json. Only the training split needs SBD. Which items a fold "
        "has follows from the index; nothing is drawn at random.",
        {},
    ),
    "pascal_context": Benchmark(
        "pascal:prepare_pascal_context",
        "PASCAL Context: images and masks of 59 and 459 classes",
        "Below pascal_ctx_d2/: images/<split>/*.jpg, annotations_ctx59/<split>/*.png (0..58, "
        "255 ignored), annotations_ctx459/<split>/*.tif (16 bits, 0..458, 65535 ignored).",
        {"--classes": {"nargs": "+", "type": int, "choices": (59, 459), "default": (59, 459)}},
    ),
    "pascal_voc": Benchmark(
        "pascal:prepare_pascal_voc",
        "PASCAL VOC 2012: images and masks with and without the background class",
        "Below pascal_voc_d2/: images/<split>/*.jpg, annotations_pascal21/<split>/*.png "
        "(0..20, 255 ignored) and annotations_pascal20/<split>/*.png (0..19, 255 ignored, "
        "background too).",
        {},
    ),
}
MINIATURE = (
    "COCO panoptic format under <root>/miniature: train and dev (seen classes only) and val (all "
    "classes); with --novel under <root>/miniature_novel, where train and dev lack whole shapes "
    "(star, ring, moon) and the wood. With --folds instead the episodes for Fusioner: "
    "miniature_folds/ (train and val with all classes, of which each of four folds holds out some) "
    "and miniature_mosaic_4/ (mosaics of four single things); with --folds --novel also "
    "miniature_novel_folds/ (for each fold training scenes without its shapes and colours). About "
    "20 ms and 50 KB an image; finished splits are left alone."
)
# Split -> scenes; with --folds the second.
SCENES = {"train": 2000, "dev": 100, "val": 200}
FOLDS = {"train": 2000, "val": 300, "mosaics": 200}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One parser for each benchmark."""
    names = parser.add_subparsers(dest="name", required=True, metavar="NAME", title="benchmarks")
    for name, row in BENCHMARKS.items():
        own = _add_parser(names, name, row.summary, row.makes)
        if row.splits:
            note = "default: val, which is what an evaluation needs"
            own.add_argument("--splits", nargs="+", choices=row.splits, default=["val"], help=note)
        for option, words in row.options.items():
            own.add_argument(option, **words)
        most = min(MOST_WORKERS, os.cpu_count() or 1)
        own.add_argument("--workers", type=whole(1), default=most, help="processes: %(default)s")
        own.add_argument("--overwrite", action="store_true", help="make files that are there again")
        add_shared(own, "--allow-empty")
    own = _add_parser(names, "miniature", "the miniature world of this project", MINIATURE)
    own.add_argument("--folds", action="store_true", help="write the episodes for Fusioner")
    unseen = "whole shapes are unseen, not colours; with --folds: in training scenes of each fold"
    own.add_argument("--novel", action="store_true", help=unseen)
    own.add_argument("--train", type=whole(0), help="training scenes (2000; seen classes, or all)")
    own.add_argument("--dev", type=whole(0), help="held-out scenes of seen classes (100)")
    own.add_argument("--val", type=whole(0), help="validation scenes of all classes (200, 300)")
    own.add_argument("--mosaics", type=whole(0), help="with --folds: mosaics (200)")
    own.add_argument("--seed", type=SEED, default=0, help="another number, another world")


def _add_parser(names: Any, name: str, summary: str, makes: str) -> argparse.ArgumentParser:
    own: argparse.ArgumentParser = names.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=textwrap.fill(makes, 88),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_debug_flag(own, default=argparse.SUPPRESS)
    add_shared(own, "--root", type=Path)
    return own


def main(args: argparse.Namespace) -> int:
    """Makes what is not there yet; 1 if an image could not be converted."""
    if args.name == "miniature":
        return _write_miniature(args)
    convert, values = conversion_of(args)
    preparation = preparation_of(args)
    convert(preparation, *values)
    return preparation.finish()


def missing_files(args: argparse.Namespace) -> tuple[str, ...]:
    """The published files and folders that the command would ask for in vain, below the root."""
    from frozenseg.data.preparation.work import InspectedError, Inspection

    if args.name == "miniature":
        return ()
    convert, values = conversion_of(args)
    try:
        convert(Inspection(_root(args), tuple(args.splits)), *values)
    except InspectedError as inspected:
        return inspected.missing
    raise AssertionError(f"{args.name}: the conversion does not begin with Preparation.require")


def conversion_of(args: argparse.Namespace) -> tuple[Callable[..., None], list[Any]]:
    """The function that makes what is asked for, and what it takes after the `Preparation`."""
    row = BENCHMARKS[args.name]
    values = (getattr(args, option[2:].replace("-", "_")) for option in row.options)
    options = [tuple(dict.fromkeys(v)) if isinstance(v, list) else v for v in values]
    return resolve_name(f"frozenseg.data.preparation.{row.convert}"), options


def preparation_of(args: argparse.Namespace) -> Preparation:
    """What the options of all benchmarks ask for; progress goes to the log (stderr)."""
    from frozenseg.data.preparation.work import Preparation

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return Preparation(
        root=_root(args),
        splits=tuple(dict.fromkeys(getattr(args, "splits", ()))),
        workers=args.workers,
        overwrite=args.overwrite,
        allow_empty=args.allow_empty,
    )


def _root(args: argparse.Namespace) -> Path:
    from frozenseg.data.catalog.lookup import datasets_root

    root: Path = args.root or datasets_root()
    return root.expanduser().absolute()


def _write_miniature(args: argparse.Namespace) -> int:
    """Writes the splits that are not there yet. Raises: ValueError for a size of the other kind."""
    from frozenseg.data.miniature.classes import SEEN_OF
    from frozenseg.data.miniature.dataset import write_miniature
    from frozenseg.data.miniature.folds import write_folds, write_novel_folds

    root = _root(args)
    given = {key: getattr(args, key) for key in (*SCENES, "mosaics")}
    known = FOLDS if args.folds else SCENES
    foreign = [key for key, number in given.items() if number is not None and key not in known]
    if foreign:
        raise ValueError(
            f"--{foreign[0]} is used {'without' if args.folds else 'with'} --folds only"
        )
    counts = {key: default if given[key] is None else given[key] for key, default in known.items()}
    if args.folds:
        write_folds(root, counts, seed=args.seed)
        if args.novel:
            write_novel_folds(root, counts["train"], seed=args.seed)
    else:
        name = "miniature_novel" if args.novel else "miniature"
        root /= name
        write_miniature(root, counts, seed=args.seed, seen=SEEN_OF[name])
    print(f"{root}: " + ", ".join(f"{number} {split}" for split, number in counts.items()))
    return 0
