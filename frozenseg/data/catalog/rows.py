"""The rows of the catalog: every benchmark split that this project trains on or is scored on.

Splits of one family differ in a few fields; each function below writes out its family's rows. Those
of the episodic benchmarks are in `episode_rows.py`.
The layout of every family is described in datasets/README.md. Image counts are those of the
official releases.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from frozenseg.data.catalog.episode_rows import EPISODIC
from frozenseg.data.catalog.split import FOLDERS, PREPARE, TASKS, DatasetSplit, Origin
from frozenseg.data.miniature.classes import ALL, SEEN, vocabulary_text

COCO_COUNTS = {"train": 118287, "val": 5000}
LVIS_COUNTS = {"train": 100170, "val": 19809}
ADE_COUNTS = {"train": 20210, "val": 2000}
ADE_FULL_COUNTS = {"train": 25574, "val": 2000}
CITYSCAPES_COUNTS = {"train": 2975, "val": 500}
VISTAS_COUNTS = {"train": 18000, "val": 2000}
LARGE = (1024, 2560)  # test size of street scenes, FC-CLIP (arXiv:2308.02487), section 4.1


def _prepared(
    name: str,
    split: str,
    section: str,
    *,
    words: str = "",
    mistake: str = "",
    labels_start_at_one: bool = False,
    images_made: bool = False,
) -> Origin:
    """Files that `frozenseg data prepare NAME` makes; without --splits those of validation."""
    splits = "" if split == "val" else f"--splits {split}"
    return Origin(
        command=" ".join(filter(None, (PREPARE, name, words, splits))),
        redo_flag="--overwrite",
        readme_section=section,
        images_made=images_made,
        common_mistake=mistake,
        labels_start_at_one=labels_start_at_one,
    )


def _downloaded(section: str, mistake: str = "") -> Origin:
    """Files that are used as they are published."""
    return Origin(readme_section=section, common_mistake=mistake)


def _coco(split: str) -> tuple[DatasetSplit, ...]:
    panoptic = f"coco_2017_{split}_panoptic"
    return (
        DatasetSplit(
            name=f"openvocab_{panoptic}_with_sem_seg",
            aliases=(panoptic, f"{panoptic}_with_sem_seg"),
            benchmark="coco_panoptic",
            split=split,
            tasks=TASKS,
            vocabulary="coco_panoptic",
            classes=133,
            images=f"coco/{split}2017",
            panoptic_json=f"coco/annotations/panoptic_{split}2017.json",
            panoptic_masks=f"coco/panoptic_{split}2017",
            instance_json=f"coco/annotations/instances_{split}2017.json",
            origin=_downloaded("COCO"),
            image_counts=(COCO_COUNTS[split],),
            evaluator="coco_panoptic_seg",
        ),
        DatasetSplit(
            name=f"openvocab_coco_2017_{split}_sem_seg",
            benchmark="coco_panoptic",
            split=split,
            tasks=("semantic",),
            vocabulary="coco_panoptic",
            classes=133,
            images=f"coco/{split}2017",
            semantic_masks=f"coco/panoptic_semseg_{split}2017",
            origin=_prepared(
                "coco",
                split,
                "COCO",
                mistake="the maps hold class indices 0..132, not COCO's category ids 1..200",
            ),
            image_counts=(COCO_COUNTS[split],),
            evaluator="sem_seg",
        ),
        DatasetSplit(
            name=f"openvocab_coco_2017_{split}_stuff_sem_seg",
            aliases=(f"coco_2017_{split}_stuff_sem_seg",),
            benchmark="coco_stuff_171",
            split=split,
            tasks=("semantic",),
            vocabulary="coco_stuff_171",
            classes=171,
            images=f"coco/{split}2017",
            semantic_masks=f"coco/stuffthingmaps_detectron2/{split}2017",
            origin=_prepared(
                "coco_stuff",
                split,
                "COCO-Stuff",
                mistake="labels 171..181 are those of the raw stuffthingmaps (0..181 with gaps)",
            ),
            image_counts=(COCO_COUNTS[split],),
            evaluator="sem_seg",
        ),
        DatasetSplit(
            name=f"openvocab_lvis_v1_{split}",
            aliases=(f"lvis_v1_{split}",),
            benchmark="lvis",
            split=split,
            tasks=("instance",),
            # The smaller of the two files; both list the same classes.
            vocabulary="coco/annotations/lvis_v1_val.json",
            classes=1203,
            shared_names=True,
            images="coco",
            instance_json=f"coco/annotations/lvis_v1_{split}.json",
            origin=_downloaded("LVIS", "LVIS v1 has category ids 1..1203, LVIS v0.5 has 1..1230"),
            image_counts=(LVIS_COUNTS[split],),
            evaluator="lvis",
        ),
    )


ADE = "ADEChallengeData2016"


def _ade20k(split: str) -> tuple[DatasetSplit, ...]:
    folder = FOLDERS[split]
    common: dict[str, Any] = {
        "benchmark": "ade20k_150",
        "split": split,
        "vocabulary": "ade20k_150",
        "classes": 150,
        "images": f"{ADE}/images/{folder}",
        "image_counts": (ADE_COUNTS[split],),
    }
    prepared = partial(_prepared, "ade20k", split, "ADE20K")
    mistake = (
        "the raw annotations have 0 for unlabelled pixels and 1..150 for the classes; the prepared "
        "ones 0..149 and 255"
    )
    return (
        DatasetSplit(
            **common,
            name=f"openvocab_ade20k_panoptic_{split}",
            aliases=(f"ade20k_panoptic_{split}",),
            tasks=TASKS,
            panoptic_json=f"{ADE}/ade20k_panoptic_{split}.json",
            panoptic_masks=f"{ADE}/ade20k_panoptic_{split}",
            semantic_masks=f"{ADE}/annotations_detectron2/{folder}",
            instance_json=f"{ADE}/ade20k_instance_{split}.json",
            origin=prepared(mistake=mistake, labels_start_at_one=True),
            evaluator="ade20k_panoptic_seg",
        ),
        DatasetSplit(
            **common,
            name=f"openvocab_ade20k_instance_{split}",
            aliases=(f"ade20k_instance_{split}",),
            tasks=("instance",),
            instance_json=f"{ADE}/ade20k_instance_{split}.json",
            origin=prepared(
                words="--parts instance",
                mistake="category ids are those of the 150 classes (7: bed), not the raw 1..100",
            ),
            evaluator="coco",
        ),
        DatasetSplit(
            **common,
            name=f"openvocab_ade20k_sem_seg_{split}",
            aliases=(f"ade20k_sem_seg_{split}",),
            tasks=("semantic",),
            semantic_masks=f"{ADE}/annotations_detectron2/{folder}",
            origin=prepared(
                words="--parts semantic",
                mistake=mistake,
                labels_start_at_one=True,
            ),
            evaluator="sem_seg",
        ),
    )


ADE_FULL = "ADE20K_2021_17_01"


def _ade20k_full(split: str) -> DatasetSplit:
    return DatasetSplit(
        name=f"openvocab_ade20k_full_sem_seg_{split}",
        aliases=(f"ade20k_full_sem_seg_{split}",),
        benchmark="ade20k_847",
        split=split,
        tasks=("semantic",),
        vocabulary=f"{ADE_FULL}/classes_847.tsv",
        classes=847,
        shared_names=True,
        images=f"{ADE_FULL}/images_detectron2/{FOLDERS[split]}",
        semantic_masks=f"{ADE_FULL}/annotations_detectron2/{FOLDERS[split]}",
        semantic_suffix=".tif",
        ignore_label=65535,
        origin=_prepared(
            "ade20k_full",
            split,
            "ADE20K-Full",
            words="--classes FILE",
            mistake="847 classes need 16-bit maps; an 8-bit copy has lost its labels above 255",
            images_made=True,
        ),
        image_counts=(ADE_FULL_COUNTS[split],),
        evaluator="sem_seg",
    )


def _cityscapes(split: str) -> tuple[DatasetSplit, ...]:
    truth = f"cityscapes/gtFine/{split}"
    prepared = partial(_prepared, "cityscapes", split, "Cityscapes")
    common: dict[str, Any] = {
        "benchmark": "cityscapes",
        "split": split,
        "vocabulary": "cityscapes",
        "classes": 19,
        "images": f"cityscapes/leftImg8bit/{split}",
        "image_suffix": "_leftImg8bit.png",
        "semantic_suffix": "_gtFine_labelTrainIds.png",
        "instance_suffix": "_gtFine_instanceIds.png",
        "city_folders": True,
        "image_counts": (CITYSCAPES_COUNTS[split],),
        "test_size": LARGE,
    }
    return (
        DatasetSplit(
            **common,
            name=f"openvocab_cityscapes_fine_panoptic_{split}",
            aliases=(f"cityscapes_fine_panoptic_{split}",),
            tasks=TASKS,
            panoptic_json=f"cityscapes/gtFine/cityscapes_panoptic_{split}.json",
            panoptic_masks=f"cityscapes/gtFine/cityscapes_panoptic_{split}",
            semantic_masks=truth,
            origin=prepared(
                mistake="labelIds are not labelTrainIds: label maps hold train ids 0..18 and 255, "
                "the panoptic file label ids 7..33 (createPanopticImgs without --use-train-id)",
            ),
            evaluator="cityscapes_panoptic_seg",
        ),
        DatasetSplit(
            **common,
            name=f"openvocab_cityscapes_fine_instance_seg_{split}",
            aliases=(f"cityscapes_fine_instance_seg_{split}",),
            tasks=("instance",),
            instance_masks=truth,
            origin=_downloaded(
                "Cityscapes",
                "instanceIds are 16-bit maps of 1000 * label id + number (24000..33999 for "
                "instances), not instanceTrainIds and not 8-bit copies",
            ),
            evaluator="cityscapes_instance",
        ),
        DatasetSplit(
            **common,
            name=f"openvocab_cityscapes_fine_sem_seg_{split}",
            aliases=(f"cityscapes_fine_sem_seg_{split}",),
            tasks=("semantic",),
            semantic_masks=truth,
            origin=prepared(
                mistake="labelIds (0..33) are not labelTrainIds (0..18 and 255)",
            ),
            evaluator="cityscapes_sem_seg",
        ),
    )


def _mapillary(split: str) -> tuple[DatasetSplit, ...]:
    folder = f"mapillary_vistas/{FOLDERS[split]}"
    common: dict[str, Any] = {
        "benchmark": "mapillary_vistas",
        "split": split,
        "vocabulary": "mapillary_vistas",
        "classes": 65,
        "images": f"{folder}/images",
        "semantic_masks": f"{folder}/labels",
        "ignore_label": 65,
        "origin": _downloaded(
            "Mapillary Vistas",
            "release 1.2 has the labels 0..65 (65 is unlabelled), release 2.0 has 0..123",
        ),
        "image_counts": (VISTAS_COUNTS[split],),
        "test_size": LARGE,
    }
    return (
        DatasetSplit(
            **common,
            name=f"openvocab_mapillary_vistas_panoptic_{split}",
            aliases=(f"mapillary_vistas_panoptic_{split}",),
            tasks=TASKS,
            panoptic_json=f"{folder}/panoptic/panoptic_2018.json",
            panoptic_masks=f"{folder}/panoptic",
            evaluator="mapillary_vistas_panoptic_seg",
        ),
        DatasetSplit(
            **common,
            name=f"openvocab_mapillary_vistas_sem_seg_{split}",
            aliases=(f"mapillary_vistas_sem_seg_{split}",),
            tasks=("semantic",),
            evaluator="sem_seg",
        ),
    )


def _pascal_context(classes: int) -> DatasetSplit:
    full = classes == 459
    return DatasetSplit(
        name=f"openvocab_pascal_ctx{classes}_sem_seg_val",
        aliases=(f"pascal_ctx{classes}_sem_seg_val", f"ctx{classes}_sem_seg_val"),
        benchmark=f"pascal_context_{classes}",
        split="val",
        tasks=("semantic",),
        vocabulary="VOCdevkit/VOC2010/labels.txt" if full else "pascal_context_59",
        classes=classes,
        shared_names=full,
        images="pascal_ctx_d2/images/validation",
        semantic_masks=f"pascal_ctx_d2/annotations_ctx{classes}/validation",
        semantic_suffix=".tif" if full else ".png",
        ignore_label=65535 if full else 255,
        origin=_prepared(
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
        evaluator="sem_seg",
    )


def _pascal_voc(classes: int) -> DatasetSplit:
    return DatasetSplit(
        name=f"openvocab_pascal{classes}_sem_seg_val",
        aliases=(f"pascal{classes}_sem_seg_val",),
        benchmark=f"pascal_voc_{classes}",
        split="val",
        tasks=("semantic",),
        vocabulary=f"pascal_voc_{classes}",
        classes=classes,
        images="pascal_voc_d2/images/validation",
        semantic_masks=f"pascal_voc_d2/annotations_pascal{classes}/validation",
        origin=_prepared(
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
        evaluator="sem_seg",
    )


BDD100K = (
    DatasetSplit(
        name="bdd10k_val_sem_seg",
        aliases=("openvocab_bdd10k_val_sem_seg",),
        benchmark="bdd100k_19",
        split="val",
        tasks=("semantic",),
        vocabulary="bdd100k_19",
        classes=19,
        images="bdd100k/images/10k/val",
        semantic_masks="bdd100k/labels/sem_seg/masks/val",
        origin=_downloaded(
            "BDD100K", "labels/sem_seg/masks has train ids 0..18 and 255; colormaps are pictures"
        ),
        image_counts=(1000,),
        evaluator="sem_seg",
    ),
    DatasetSplit(
        name="bdd10k_40_panoptic_val",
        aliases=("openvocab_bdd10k_40_panoptic_val",),
        benchmark="bdd100k_40",
        split="val",
        tasks=TASKS,
        vocabulary="bdd100k_40",
        classes=40,
        images="bdd100k/images/10k/val",
        panoptic_json="bdd100k/labels/pan_seg/panoptic_val.json",
        panoptic_masks="bdd100k/labels/pan_seg/panoptic_val",
        origin=_prepared(
            "bdd100k",
            "val",
            "BDD100K",
            mistake="the raw bitmasks hold category, flags and instance number, not segment ids",
        ),
        image_counts=(1000,),
        object_mask_threshold=0.4,  # the released configs of FC-CLIP and FrozenSeg for BDD100K
        evaluator="coco_panoptic_seg",
    ),
)


def _miniature(split: str, classes: tuple[int, ...]) -> DatasetSplit:
    return DatasetSplit(
        name=f"miniature_{split}_panoptic",
        benchmark="miniature",
        split=split,
        tasks=TASKS,
        vocabulary=vocabulary_text(classes),
        images=f"miniature/{split}",
        panoptic_json=f"miniature/panoptic_{split}.json",
        panoptic_masks=f"miniature/panoptic_{split}",
        category_ids=tuple(index + 1 for index in classes),
        origin=Origin(
            f"{PREPARE} miniature",
            made_folder="miniature",
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
    *BDD100K,
    _miniature("train", SEEN),
    _miniature("dev", ALL),
    _miniature("val", ALL),
    *EPISODIC,
)
