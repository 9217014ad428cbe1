"""The rows of the catalog: every benchmark split that this project trains on or is scored on.

Splits of one family differ in a few fields; each function below writes out its family's rows. Those
of the episodic benchmarks are in `episode_rows.py`, those of MESS in `mess_rows.py`.
The layout of every family is described in datasets/README.md. Image counts are those of the
official releases.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from frozenseg.data.catalog.episode_rows import EPISODIC
from frozenseg.data.catalog.mess_rows import MESS_ROWS
from frozenseg.data.catalog.split import FOLDERS, PREPARE, TASKS, DatasetSplit, Origin
from frozenseg.data.miniature.classes import ALL, SEEN_OF, vocabulary_text

COCO_COUNTS = {"train": 118287, "val": 5000}
LVIS_COUNTS = {"train": 100170, "val": 19809}
ADE_COUNTS = {"train": 20210, "val": 2000}
ADE_FULL_COUNTS = {"train": 25574, "val": 2000}
CITYSCAPES_COUNTS = {"train": 2975, "val": 500}
VISTAS_COUNTS = {"train": 18000, "val": 2000}
LARGE = (1024, 2560)  # test size of street scenes, FC-CLIP (arXiv:2308.02487), section 4.1


# What the ground truth of an evaluator can score; of the others, all tasks.
TASKS_OF = {
    **dict.fromkeys(("sem_seg", "cityscapes_sem_seg"), ("semantic",)),
    **dict.fromkeys(("coco", "lvis", "cityscapes_instance"), ("instance",)),
}


def _row(short: str, evaluator: str, benchmark: str, **fields: Any) -> DatasetSplit:
    """The split openvocab_<short>, also known as <short>; built-in words are the benchmark's."""
    names = {"name": f"openvocab_{short}", "aliases": (short,), "vocabulary": benchmark}
    tasks = TASKS_OF.get(evaluator, TASKS)
    return DatasetSplit(
        benchmark=benchmark, tasks=tasks, evaluator=evaluator, **{**names, **fields}
    )


def _downloaded(section: str, mistake: str = "") -> Origin:
    """Files that are used as they are published."""
    return Origin(readme_section=section, common_mistake=mistake)


def _coco(split: str) -> tuple[DatasetSplit, ...]:
    panoptic = f"coco_2017_{split}_panoptic"
    row = partial(_row, split=split, images=f"coco/{split}2017", image_counts=(COCO_COUNTS[split],))
    return (
        row(
            f"{panoptic}_with_sem_seg",
            "coco_panoptic_seg",
            aliases=(panoptic, f"{panoptic}_with_sem_seg"),
            benchmark="coco_panoptic",
            classes=133,
            panoptic_json=f"coco/annotations/panoptic_{split}2017.json",
            panoptic_masks=f"coco/panoptic_{split}2017",
            instance_json=f"coco/annotations/instances_{split}2017.json",
            origin=_downloaded("COCO"),
        ),
        row(
            f"coco_2017_{split}_sem_seg",
            "sem_seg",
            benchmark="coco_panoptic",
            classes=133,
            semantic_masks=f"coco/panoptic_semseg_{split}2017",
            origin=Origin.prepared(
                "coco",
                split,
                "COCO",
                mistake="the maps hold class indices 0..132, not COCO's category ids 1..200",
            ),
            aliases=(),
        ),
        row(
            f"coco_2017_{split}_stuff_sem_seg",
            "sem_seg",
            benchmark="coco_stuff_171",
            classes=171,
            semantic_masks=f"coco/stuffthingmaps_detectron2/{split}2017",
            origin=Origin.prepared(
                "coco_stuff",
                split,
                "COCO-Stuff",
                mistake="labels 171..181 are those of the raw stuffthingmaps (0..181 with gaps)",
            ),
        ),
        row(
            f"lvis_v1_{split}",
            "lvis",
            benchmark="lvis",
            # The smaller of the two files; both list the same classes.
            vocabulary="coco/annotations/lvis_v1_val.json",
            classes=1203,
            shared_names=True,
            images="coco",
            instance_json=f"coco/annotations/lvis_v1_{split}.json",
            origin=_downloaded("LVIS", "LVIS v1 has category ids 1..1203, LVIS v0.5 has 1..1230"),
            image_counts=(LVIS_COUNTS[split],),
        ),
    )


ADE = "ADEChallengeData2016"


def _ade20k(split: str) -> tuple[DatasetSplit, ...]:
    folder = FOLDERS[split]
    row = partial(
        _row,
        benchmark="ade20k_150",
        split=split,
        classes=150,
        images=f"{ADE}/images/{folder}",
        image_counts=(ADE_COUNTS[split],),
    )
    prepared = partial(Origin.prepared, "ade20k", split, "ADE20K")
    mistake = (
        "the raw annotations have 0 for unlabelled pixels and 1..150 for the classes; the prepared "
        "ones 0..149 and 255"
    )
    return (
        row(
            f"ade20k_panoptic_{split}",
            "ade20k_panoptic_seg",
            panoptic_json=f"{ADE}/ade20k_panoptic_{split}.json",
            panoptic_masks=f"{ADE}/ade20k_panoptic_{split}",
            semantic_masks=f"{ADE}/annotations_detectron2/{folder}",
            instance_json=f"{ADE}/ade20k_instance_{split}.json",
            origin=prepared(mistake=mistake, labels_start_at_one=True),
        ),
        row(
            f"ade20k_instance_{split}",
            "coco",
            instance_json=f"{ADE}/ade20k_instance_{split}.json",
            origin=prepared(
                words="--parts instance",
                mistake="category ids are those of the 150 classes (7: bed), not the raw 1..100",
            ),
        ),
        row(
            f"ade20k_sem_seg_{split}",
            "sem_seg",
            semantic_masks=f"{ADE}/annotations_detectron2/{folder}",
            origin=prepared(
                words="--parts semantic",
                mistake=mistake,
                labels_start_at_one=True,
            ),
        ),
    )


ADE_FULL = "ADE20K_2021_17_01"


def _ade20k_full(split: str) -> DatasetSplit:
    return _row(
        f"ade20k_full_sem_seg_{split}",
        "sem_seg",
        benchmark="ade20k_847",
        split=split,
        vocabulary=f"{ADE_FULL}/classes_847.tsv",
        classes=847,
        shared_names=True,
        images=f"{ADE_FULL}/images_detectron2/{FOLDERS[split]}",
        semantic_masks=f"{ADE_FULL}/annotations_detectron2/{FOLDERS[split]}",
        semantic_suffix=".tif",
        ignore_label=65535,
        origin=Origin.prepared(
            "ade20k_full",
            split,
            "ADE20K-Full",
            words="--classes FILE",
            mistake="847 classes need 16-bit maps; an 8-bit copy has lost its labels above 255",
            images_made=True,
        ),
        image_counts=(ADE_FULL_COUNTS[split],),
    )


def _cityscapes(split: str) -> tuple[DatasetSplit, ...]:
    truth = f"cityscapes/gtFine/{split}"
    prepared = partial(Origin.prepared, "cityscapes", split, "Cityscapes")
    row = partial(
        _row,
        benchmark="cityscapes",
        split=split,
        classes=19,
        images=f"cityscapes/leftImg8bit/{split}",
        image_suffix="_leftImg8bit.png",
        semantic_suffix="_gtFine_labelTrainIds.png",
        instance_suffix="_gtFine_instanceIds.png",
        city_folders=True,
        image_counts=(CITYSCAPES_COUNTS[split],),
        test_size=LARGE,
    )
    return (
        row(
            f"cityscapes_fine_panoptic_{split}",
            "cityscapes_panoptic_seg",
            panoptic_json=f"cityscapes/gtFine/cityscapes_panoptic_{split}.json",
            panoptic_masks=f"cityscapes/gtFine/cityscapes_panoptic_{split}",
            semantic_masks=truth,
            origin=prepared(
                mistake="labelIds are not labelTrainIds: label maps hold train ids 0..18 and 255, "
                "the panoptic file label ids 7..33 (createPanopticImgs without --use-train-id)",
            ),
        ),
        row(
            f"cityscapes_fine_instance_seg_{split}",
            "cityscapes_instance",
            instance_masks=truth,
            origin=_downloaded(
                "Cityscapes",
                "instanceIds are 16-bit maps of 1000 * label id + number (24000..33999 for "
                "instances), not instanceTrainIds and not 8-bit copies",
            ),
        ),
        row(
            f"cityscapes_fine_sem_seg_{split}",
            "cityscapes_sem_seg",
            semantic_masks=truth,
            origin=prepared(
                mistake="labelIds (0..33) are not labelTrainIds (0..18 and 255)",
            ),
        ),
    )


def _mapillary(split: str) -> tuple[DatasetSplit, ...]:
    folder = f"mapillary_vistas/{FOLDERS[split]}"
    row = partial(
        _row,
        benchmark="mapillary_vistas",
        split=split,
        classes=65,
        images=f"{folder}/images",
        semantic_masks=f"{folder}/labels",
        ignore_label=65,
        origin=_downloaded(
            "Mapillary Vistas",
            "release 1.2 has the labels 0..65 (65 is unlabelled), release 2.0 has 0..123",
        ),
        image_counts=(VISTAS_COUNTS[split],),
        test_size=LARGE,
    )
    return (
        row(
            f"mapillary_vistas_panoptic_{split}",
            "mapillary_vistas_panoptic_seg",
            panoptic_json=f"{folder}/panoptic/panoptic_2018.json",
            panoptic_masks=f"{folder}/panoptic",
        ),
        row(
            f"mapillary_vistas_sem_seg_{split}",
            "sem_seg",
        ),
    )


def _pascal_context(classes: int) -> DatasetSplit:
    full = classes == 459
    return _row(
        f"pascal_ctx{classes}_sem_seg_val",
        "sem_seg",
        aliases=(f"pascal_ctx{classes}_sem_seg_val", f"ctx{classes}_sem_seg_val"),
        benchmark=f"pascal_context_{classes}",
        split="val",
        vocabulary="VOCdevkit/VOC2010/labels.txt" if full else "pascal_context_59",
        classes=classes,
        shared_names=full,
        images="pascal_ctx_d2/images/validation",
        semantic_masks=f"pascal_ctx_d2/annotations_ctx{classes}/validation",
        semantic_suffix=".tif" if full else ".png",
        ignore_label=65535 if full else 255,
        origin=Origin.prepared(
            "pascal_context",
            "val",
            "Pascal Context",
            words=f"--classes {classes}",
            mistake="459 classes need 16-bit maps, and the raw ones have the labels 1..459"
            if full
            else "labels 0..59 are those with background as 0; prepared maps have 0..58 and 255",
            labels_start_at_one=not full,
            images_made=True,
        ),
        image_counts=(5104, 5105),
    )


def _pascal_voc(classes: int) -> DatasetSplit:
    return _row(
        f"pascal{classes}_sem_seg_val",
        "sem_seg",
        benchmark=f"pascal_voc_{classes}",
        split="val",
        classes=classes,
        images="pascal_voc_d2/images/validation",
        semantic_masks=f"pascal_voc_d2/annotations_pascal{classes}/validation",
        origin=Origin.prepared(
            "pascal_voc",
            "val",
            "Pascal VOC",
            mistake="labels 0..20 are those of SegmentationClass with background as 0; without "
            "background they are 0..19 and 255"
            if classes == 20
            else "the labels of SegmentationClass are 0..20, and 255 along the borders of objects",
            labels_start_at_one=classes == 20,
            images_made=True,
        ),
        image_counts=(1449,),
    )


def _bdd100k() -> tuple[DatasetSplit, ...]:
    row = partial(_row, split="val", images="bdd100k/images/10k/val", image_counts=(1000,))
    semantic, panoptic = "bdd10k_val_sem_seg", "bdd10k_40_panoptic_val"
    return (
        row(
            semantic,
            "sem_seg",
            "bdd100k_19",
            name=semantic,
            aliases=(f"openvocab_{semantic}",),
            classes=19,
            semantic_masks="bdd100k/labels/sem_seg/masks/val",
            mess_domain="general",
            origin=_downloaded(
                "BDD100K",
                "labels/sem_seg/masks has train ids 0..18 and 255; colormaps are pictures",
            ),
        ),
        row(
            panoptic,
            "coco_panoptic_seg",
            "bdd100k_40",
            name=panoptic,
            aliases=(f"openvocab_{panoptic}",),
            classes=40,
            panoptic_json="bdd100k/labels/pan_seg/panoptic_val.json",
            panoptic_masks="bdd100k/labels/pan_seg/panoptic_val",
            origin=Origin.prepared(
                "bdd100k",
                "val",
                "BDD100K",
                mistake="the raw bitmasks hold category, flags and instance number, not "
                "segment ids",
            ),
            object_mask_threshold=0.4,  # the released configs of FC-CLIP and FrozenSeg for BDD100K
        ),
    )


def _miniature(benchmark: str, split: str) -> DatasetSplit:
    classes = SEEN_OF[benchmark] if split == "train" else ALL
    return DatasetSplit(
        name=f"{benchmark}_{split}_panoptic",
        benchmark=benchmark,
        split=split,
        tasks=TASKS,
        vocabulary=vocabulary_text(classes),
        images=f"{benchmark}/{split}",
        panoptic_json=f"{benchmark}/panoptic_{split}.json",
        panoptic_masks=f"{benchmark}/panoptic_{split}",
        category_ids=tuple(index + 1 for index in classes),
        origin=Origin(
            f"{PREPARE} miniature" + " --novel" * (benchmark == "miniature_novel"),
            made_folder=benchmark,
            readme_section="Miniature world",
            images_made=True,
        ),
        evaluator="coco_panoptic_seg",
    )


DATASET_SPLITS: tuple[DatasetSplit, ...] = (
    *_coco("train"),
    *_coco("val"),
    *_ade20k("train"),
    *_ade20k("val"),
    _ade20k_full("train"),
    _ade20k_full("val"),
    *_cityscapes("train"),
    *_cityscapes("val"),
    *_mapillary("train"),
    *_mapillary("val"),
    *(_pascal_context(classes) for classes in (59, 459)),
    *(_pascal_voc(classes) for classes in (20, 21)),
    *_bdd100k(),
    *(_miniature(name, split) for name in SEEN_OF for split in ("train", "dev", "val")),
    *MESS_ROWS,
    *EPISODIC,
)
