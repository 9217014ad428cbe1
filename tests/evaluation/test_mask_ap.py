"""LVIS' federated AP: by hand, and against COCO's where the two must agree."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from detectron2.structures import Instances

from frozenseg.evaluation.averages import class_groups
from frozenseg.evaluation.instance_ap import LvisEvaluator, frequency_groups
from frozenseg.evaluation.instance_truth import encode
from frozenseg.evaluation.mask_ap import federated_ap, mask_ap


def box(left, top=0, size=8):
    mask = np.zeros((20, 40), bool)
    mask[top : top + size, left : left + size] = True
    return mask


def truth(image, label, mask):
    area, rle = int(mask.sum()), encode(mask)
    return {
        "image_id": image, "category_id": label, "iscrowd": 0, "area": area, "segmentation": rle
    }  # fmt: skip


def found(image, label, mask, score):
    return {"image_id": image, "category_id": label, "score": score, "segmentation": encode(mask)}


def image(number, judged=(), open_to=()):
    return {
        "id": number, "height": 20, "width": 40, "judged": set(judged), "open": set(open_to)
    }  # fmt: skip


HALF = 51 / 101  # recalls 0, 0.01, ... 0.5


def test_where_all_is_known_it_is_cocos():
    generator = np.random.default_rng(0)
    objects = [truth(i, c, box(10 * c)) for i in range(4) for c in range(3) if (i + c) % 3]
    guesses = [
        found(one["image_id"], int(generator.integers(3)), box(10 * one["category_id"], top), s)
        for one in objects
        for top, s in ((int(generator.integers(3)), float(generator.random())), (1, 0.3))
    ]
    images = [image(i, range(3)) for i in range(4)]
    ours, coco = federated_ap(objects, guesses, images, 3), mask_ap(objects, guesses, images, 3)
    for name, values in coco.items():
        np.testing.assert_allclose(ours[name], values, err_msg=name)
    assert 0.05 < coco["AP"].mean() < 0.95


def test_only_images_that_were_searched_for_a_class_count():
    objects = [truth(0, 0, box(0))]
    guesses = [found(1, 0, box(0), 0.9), found(0, 0, box(0), 0.5)]
    known = federated_ap(objects, guesses, [image(0, [0]), image(1, [0])], 2)
    assert known["AP"][0] == pytest.approx(0.5)  # a false positive of a higher score
    unknown = federated_ap(objects, guesses, [image(0, [0]), image(1)], 2)
    assert unknown["AP"][0] == pytest.approx(1)
    assert np.isnan(unknown["AP"][1])


def test_what_matches_nothing_is_ignored_where_not_all_objects_are_annotated():
    objects = [truth(0, 0, box(0)), truth(1, 0, box(0))]
    guesses = [found(0, 0, box(20), 0.9), found(0, 0, box(0), 0.5)]
    wrong = federated_ap(objects, guesses, [image(0, [0]), image(1, [0])], 1)
    assert wrong["AP"][0] == pytest.approx(HALF / 2)
    ignored = federated_ap(objects, guesses, [image(0, [0], [0]), image(1, [0])], 1)
    assert ignored["AP"][0] == pytest.approx(HALF)


@pytest.fixture
def lvis_file(tmp_path):
    """Category ids 5, 7, 9 are classes 0, 1, 2: rare, common, frequent."""
    categories = [
        {"id": i, "name": f, "frequency": f} for i, f in zip((5, 7, 9), "rcf", strict=True)
    ]
    path = tmp_path / "lvis.json"
    path.write_text(json.dumps({"images": [], "annotations": [], "categories": categories}))
    return path


CLASSES = {5: 0, 7: 1, 9: 2}


def record(number, objects, negative=(), not_exhaustive=()):
    return {
        "image_id": number,
        "file_name": f"{number}.jpg",
        "height": 20,
        "width": 40,
        "annotations": [
            {"category_id": label, "iscrowd": 0, "segmentation": encode(mask)}
            for label, mask in objects
        ],
        "neg_category_ids": list(negative),
        "not_exhaustive_category_ids": list(not_exhaustive),
    }


def output(*guesses):
    instances = Instances((20, 40))
    masks = np.array([mask for mask, _, _ in guesses]).reshape(-1, 20, 40)
    instances.pred_masks = torch.from_numpy(masks)
    instances.pred_classes = torch.tensor([label for _, label, _ in guesses], dtype=torch.int64)
    instances.scores = torch.tensor([score for *_, score in guesses])
    return {"instances": instances}


def evaluator(lvis_file):
    groups = class_groups([True] * 3, stuff=False)
    return LvisEvaluator(("a", "b", "c"), groups, CLASSES, lvis_file)


def test_the_evaluator_by_hand(lvis_file):
    judge = evaluator(lvis_file)
    inputs = [record(0, [(0, box(0))], negative=[7]), record(1, [(1, box(0))], not_exhaustive=[9])]
    outputs = [
        # b is known to be absent here; nobody looked for c
        output((box(0), 0, 0.9), (box(20), 1, 0.8), (box(20), 2, 0.99)),
        output((box(0), 1, 0.5)),
    ]
    judge.process(inputs, outputs)
    result = judge.evaluate()["instance"]
    assert result["rare"]["AP"] == pytest.approx(100)
    assert result["common"]["AP"] == pytest.approx(50)
    assert np.isnan(result["frequent"]["AP"])
    assert result["all"]["AP"] == pytest.approx(75)
    assert list(result["per_class"]) == ["a", "b"]


def test_of_an_image_the_best_300_detections_count(lvis_file):
    judge = evaluator(lvis_file)
    crowd = [(box(20), 2, 0.9 - i / 1e4) for i in range(300)]
    judge.process([record(0, [(0, box(0))])], [output(*crowd, (box(0), 0, 0.1))])
    assert judge.evaluate()["instance"]["all"]["AP"] == 0
    judge.reset()
    judge.process([record(0, [(0, box(0))])], [output(*crowd[1:], (box(0), 0, 0.1))])
    assert judge.evaluate()["instance"]["all"]["AP"] == pytest.approx(100)


OF_LVIS = 0.5208580858085808  # AP of the data below by lvis 0.5.3


def test_equals_the_lvis_package(lvis_file, tmp_path):
    """With what it gave in version 0.5.3; and with itself where it is installed."""
    generator = np.random.default_rng(1)
    objects = [truth(i, c, box(10 * c)) for i in range(5) for c in range(3) if (i + c) % 3]
    guesses = [
        found(i, c, box(10 * c, int(generator.integers(3))), float(generator.random()))
        for i in range(5)
        for c in range(3)
    ]
    judged = {i: {o["category_id"] for o in objects if o["image_id"] == i} for i in range(5)}
    images = [image(i, judged[i] | {i % 3}, {(i + 1) % 3} & judged[i]) for i in range(5)]
    ours = federated_ap(objects, guesses, images, 3)
    assert np.nanmean(ours["AP"]) == pytest.approx(OF_LVIS)
    pytest.importorskip("lvis")
    np.float = float  # type: ignore[attr-defined]  # numpy 1.20 removed it, lvis 0.5.3 uses it
    from lvis import LVIS, LVISEval, LVISResults

    categories = [{"id": c, "name": "rcf"[c], "frequency": "rcf"[c]} for c in range(3)]
    content = {
        "images": [
            {
                **{key: one[key] for key in ("id", "height", "width")},
                "neg_category_ids": sorted(one["judged"] - judged[one["id"]]),
                "not_exhaustive_category_ids": sorted(one["open"]),
            }
            for one in images
        ],
        "annotations": [
            {**o, "id": n, "segmentation": _text(o["segmentation"]), "bbox": [0, 0, 1, 1]}
            for n, o in enumerate(objects, 1)
        ],
        "categories": categories,
    }
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(content))
    lvis = LVIS(str(path))
    official = LVISEval(lvis, LVISResults(lvis, guesses), "segm")
    official.run()
    assert official.results["AP"] == pytest.approx(OF_LVIS)


def _text(rle):
    return {**rle, "counts": rle["counts"].decode()}


def test_a_file_without_frequencies_is_refused(lvis_file):
    lvis_file.write_text(
        json.dumps({"images": [], "annotations": [], "categories": [{"id": 5, "name": "cat"}]})
    )
    with pytest.raises(ValueError, match=r"lvis\.json: .*frequency"):
        frequency_groups(lvis_file, {5: 0})
