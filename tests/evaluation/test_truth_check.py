"""What of a ground truth makes scores say less than they seem to, and that it is said."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from frozenseg.data.panoptic_pixels import compare_segments
from frozenseg.data.reading import rgb_of_ids
from frozenseg.evaluation import truth_check
from frozenseg.evaluation.averages import class_groups
from frozenseg.evaluation.instance_ap import InstanceEvaluator
from frozenseg.evaluation.instance_truth import annotated_objects, encode
from frozenseg.evaluation.panoptic_quality import PanopticEvaluator
from frozenseg.evaluation.region_recall import RegionEvaluator
from frozenseg.evaluation.semantic_iou import SemanticEvaluator
from frozenseg.evaluation.truth_check import TruthCheck
from frozenseg.structures import IGNORED

NAMES = ("cat", "dog", "sky")
THINGS = [True, True, False]
IDS = np.repeat([0, 5, 70000, 9], [4, 6, 10, 20]).reshape(4, 10)
CLASSES = {5: 0, 70000: 1, 9: 2}


@pytest.fixture
def record(tmp_path):
    return panoptic_record(tmp_path, IDS)


def panoptic_record(folder, ids, name="x"):
    Image.fromarray(rgb_of_ids(ids)).save(folder / f"{name}.png")
    segments = [
        {
            "id": key,
            "category_id": label,
            "isthing": THINGS[label],
            "iscrowd": 0,
            "area": int((key == IDS).sum()),
        }
        for key, label in CLASSES.items()
    ]
    return {
        "image_id": name,
        "file_name": f"{name}.jpg",
        "pan_seg_file_name": str(folder / f"{name}.png"),
        "segments_info": segments,
    }


def findings(*records, tasks=("panoptic", "semantic"), names=NAMES):
    check = TruthCheck("a_val", names, tasks, 255)
    check.process(list(records), [{}] * len(records))
    found = check.evaluate()
    return found["warnings"], found["ignored_pixels"]


def scores(record):
    """PQ and SQ of a prediction that is exact but for a part of the cat."""
    guess = np.where(IDS == 0, 9, IDS)
    guess[0, 4] = 9
    segments = [{"id": key, "category_id": label} for key, label in CLASSES.items()]
    evaluator = PanopticEvaluator(NAMES, class_groups(THINGS))
    evaluator.process([record], [{"panoptic_seg": (torch.from_numpy(guess), segments)}])
    return evaluator.evaluate()["panoptic"]["all"]


def test_sound_truth_gives_no_warning(record):
    assert findings(record) == ([], 10.0)


@pytest.mark.parametrize("area", [-4, 0, float("nan"), 1e40, 7, None])
def test_areas_are_counted_and_wrong_ones_named(record, area):
    expected = scores(record)
    record["segments_info"][0]["area"] = area
    assert scores(record) == expected
    assert expected["PQ"] == pytest.approx(100 * (5 / 6 + 1 + 20 / 21) / 3)
    (warning,), _ = findings(record)
    assert f"x.png: id 5 has 6 pixels, area {area};" in warning
    assert "number of pixels: 1 in 1 of 1 images" in warning
    assert "`frozenseg data verify a_val --images 0`" in warning


def test_segments_that_the_map_lacks_are_named_and_not_scored(tmp_path):
    whole = panoptic_record(tmp_path, IDS)
    record = panoptic_record(tmp_path, np.where(IDS == 5, 0, IDS), "y")
    warnings, ignored = findings(whole, record)
    assert "without a pixel in the panoptic map: 1 in 1 of 2 images" in warnings[0]
    assert "y.png: id 5; they are not scored" in warnings[0]
    assert ignored == pytest.approx(100 * 14 / 80)
    assert scores(record)["classes"] == 2


def test_ids_that_the_annotation_lacks_are_named_and_unlabelled(record):
    del record["segments_info"][0]
    warnings, ignored = findings(record)
    assert "the annotation file lacks: 1 in 1 of 1 images" in warnings[0]
    assert "x.png: id 5, 6 pixels" in warnings[0]
    assert "1 of 3 classes occur nowhere in the panoptic ground truth (cat)" in warnings[1]
    assert warnings[2] == "25.0 % of the pixels are ignored"
    assert ignored == 25
    assert scores(record)["classes"] == 2


@pytest.mark.parametrize("fault", ["black", "swapped"])
def test_where_nothing_is_labelled_nothing_is_scored(tmp_path, fault):
    record = panoptic_record(tmp_path, IDS)
    rgb = rgb_of_ids(IDS)
    broken = np.zeros_like(rgb) if fault == "black" else np.ascontiguousarray(rgb[..., ::-1])
    Image.fromarray(broken).save(record["pan_seg_file_name"])
    warnings, ignored = findings(record)
    assert warnings[0].startswith("nothing is labelled in 1 of 1 images")
    assert ignored == 100
    found = scores(record)
    assert found["classes"] == 0
    assert np.isnan(found["PQ"])
    semantic = SemanticEvaluator(NAMES, class_groups(THINGS), 255)
    semantic.process([record], [{"semantic_labels": torch.zeros(4, 10, dtype=torch.long)}])
    found = semantic.evaluate()["semantic"]
    unscored = [found[key] for key in ("fwIoU", "pixel_accuracy", "mean_accuracy")]
    assert np.isnan([*unscored, found["ground_truth"]["all"]["mIoU"]]).all()
    regions = RegionEvaluator(NAMES, class_groups(THINGS))
    regions.process([record], [{"query_masks": masks(IDS == 9)}])
    assert np.isnan(regions.evaluate()["regions"]["all"]["recall50"])
    instances = InstanceEvaluator(NAMES, class_groups(THINGS, stuff=False))
    instances.process([record], [{"instances": masks(IDS == 5)}])
    assert np.isnan(instances.evaluate()["instance"]["all"]["AP"])


def masks(*found):
    from detectron2.structures import Instances

    instances = Instances(IDS.shape)
    instances.pred_masks = torch.from_numpy(np.stack(found))
    instances.pred_classes = torch.zeros(len(found), dtype=torch.long)
    instances.scores = torch.ones(len(found))
    return instances


def mask_record(folder, labels):
    Image.fromarray(labels.astype(np.uint8)).save(folder / "m.png")
    return {"file_name": "m.jpg", "image_id": "m", "sem_seg_file_name": str(folder / "m.png")}


def test_label_maps_of_0_and_255_lack_the_class_that_is_meant(tmp_path):
    record = mask_record(tmp_path, np.where(IDS == 9, 255, 0))
    (absent, ignored), share = findings(record, tasks=["semantic"], names=("ground", "heart"))
    assert "1 of 2 classes occur nowhere in the semantic ground truth (heart)" in absent
    assert "ignore_label (255)" in absent
    assert (ignored, share) == ("50.0 % of the pixels are ignored", 50)


def test_one_class_alone_is_100_by_construction(tmp_path):
    record = mask_record(tmp_path, np.where(IDS == 5, 0, 255))
    warnings, share = findings(record, tasks=["semantic"], names=("heart",))
    assert "only one class (heart): mIoU and pixel accuracy are 100" in warnings[0]
    assert warnings[1:] == ["85.0 % of the pixels are ignored"]
    assert share == 85


def test_a_map_without_a_label_is_counted(tmp_path):
    record = mask_record(tmp_path, np.full((4, 10), 255))
    warnings, _ = findings(record, tasks=["semantic"])
    assert warnings[0].startswith("nothing is labelled in 1 of 1 images")


def object_record(*areas):
    annotation = {"category_id": 0, "iscrowd": 0, "segmentation": encode(IDS == 5)}
    objects = [{**annotation, "id": i, "area": area} for i, area in enumerate(areas, start=1)]
    return {"image_id": 3, "file_name": "a.jpg", "height": 4, "width": 10, "annotations": objects}


@pytest.mark.parametrize("area", [-4, 0, float("nan"), 1e40])
def test_areas_of_objects_that_cannot_be_are_counted(area):
    record = object_record(area, 7.5)
    assert [one["area"] for one in annotated_objects(record).objects] == [6, 7.5]
    warnings, _ = findings(record, tasks=["instance"], names=("cat",))
    assert len(warnings) == 1
    assert f"1 in 1 of 1 images, such as image 3: annotation 1 has area {area}" in warnings[0]


def test_areas_of_objects_that_are_not_those_of_their_masks_are_named():
    warnings, _ = findings(object_record(6, 40, 7.5, 36), tasks=["instance"], names=("cat",))
    assert len(warnings) == 1
    assert "2 in 1 of 1 images, such as image 3: annotation 2 has 6 pixels, area 40" in warnings[0]
    assert "AP of small, medium and large objects goes by the file" in warnings[0]


def test_objects_without_a_pixel_are_named():
    record = object_record(6, 6)
    record["annotations"][1]["segmentation"] = encode(IDS == -1)
    warnings, _ = findings(record, tasks=["instance"], names=("cat",))
    assert "objects without a pixel: 1 in 1 of 1 images" in warnings[0]


def test_items_of_episodes_are_looked_at():
    labels = torch.full((2, 2), IGNORED)
    item = {"file_name": "a.jpg", "asked": (1,), "labels": labels}
    (warning,), share = findings(item, tasks=["episodes"])
    assert warning.startswith("nothing is labelled in 1 of 1 images")
    assert share is None


def test_processes_count_together(tmp_path, monkeypatch):
    first, second = (panoptic_record(tmp_path, IDS, name) for name in "ab")
    second["segments_info"][0]["area"] = first["segments_info"][0]["area"] = 1
    checks = [TruthCheck("a_val", NAMES, ["panoptic"], 255) for _ in range(2)]
    for check, record in zip(checks, (first, second), strict=True):
        check.process([record], [{}])
    monkeypatch.setattr(
        truth_check.comm,
        "gather",
        lambda mine: [mine, checks[1].counts, TruthCheck("", (), (), 0).counts],
    )
    found = checks[0].evaluate()
    (warning,) = found["warnings"]
    assert "2 in 2 of 2 images" in warning
    assert found["ignored_pixels"] == 10


def test_segments_are_compared_by_their_pixels():
    segments = [{"id": 5, "area": 6}, {"id": 9, "area": 19}, {"id": 11, "area": 3}]
    compared = compare_segments(IDS, segments)
    assert compared.pixels == {5: 6, 9: 20}
    assert compared.unlisted == {70000: 10}
    assert compared.empty == [11]
    assert compared.wrong_areas == {9: 19}
