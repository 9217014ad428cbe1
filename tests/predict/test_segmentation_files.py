import dataclasses
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from frozenseg.predict.segmentation import from_label_map, from_masks
from frozenseg.predict.segmentation_files import all_paths, save_all
from frozenseg.predict.tasks import FILE_KINDS
from frozenseg.vocab import Vocabulary

WORDS = Vocabulary.parse("cat, kitten; dog; sky:stuff")


def example(scores=None):
    label_map = np.zeros((20, 30), dtype=np.int32)
    label_map[2:6, 3:10] = 4
    label_map[10:, :] = 9
    found = from_label_map(label_map, {4: 0, 9: 2}, WORDS, "panoptic", scores or {4: 0.75})
    image = np.full((20, 30, 3), 90, dtype=np.uint8)
    return dataclasses.replace(found, image_HW3=image, source="photos/a.jpg")


def test_png_holds_the_ids_and_shows_the_colours(tmp_path):
    (path,) = example().save(tmp_path / "new" / "x.png").values()
    image = Image.open(path)
    assert np.array_equal(np.asarray(image), example().label_map)
    assert image.convert("RGB").getpixel((4, 3)) == tuple(WORDS.colors[0])
    assert image.convert("RGB").getpixel((0, 0)) == (0, 0, 0)


def test_png_of_many_segments(tmp_path):
    label_map = np.arange(600, dtype=np.int32).reshape(20, 30)
    result = from_label_map(label_map, dict.fromkeys(range(600), 0), WORDS, "panoptic")
    result.save(tmp_path / "x.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "x.png")), label_map)


def test_json(tmp_path):
    example().save(str(tmp_path / "x.json"), about={"model": "m"})
    content = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert (content["image"], content["model"], content["task"]) == (
        "photos/a.jpg", "m", "panoptic"
    )  # fmt: skip
    cat = content["segments"][0]
    assert (cat["category_name"], cat["score"], cat["bbox"]) == ("cat", 0.75, [3, 2, 7, 4])
    assert np.array_equal(coco_mask.decode(cat["segmentation"]), example().label_map == 4)


def test_all_files_or_those_that_are_wanted(tmp_path):
    result = example()
    written = save_all(result, tmp_path / "all", "x", result.image_HW3, {"model": "m"})
    assert set(written) == set(FILE_KINDS)
    content = json.loads(written["json"].read_text(encoding="utf-8"))
    assert (content["model"], content["label_map"]) == ("m", "x_labels.png")
    some = save_all(result, tmp_path / "some", "x", result.image_HW3, {}, ("json", "overlay"))
    assert sorted(path.name for path in (tmp_path / "some").iterdir()) == [
        "x.json", "x_overlay.png"
    ]  # fmt: skip
    assert some == all_paths(tmp_path / "some", "x", ("json", "overlay"))
    assert "label_map" not in json.loads(some["json"].read_text(encoding="utf-8"))


def test_npz_needs_no_pickle(tmp_path):
    example().save(tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as content:
        assert np.array_equal(content["label_map"], example().label_map)
        assert content["names"].tolist() == ["cat", "sky"]
        assert content["boxes"].tolist() == [[3, 2, 7, 4], [0, 10, 30, 10]]
        assert content["scores"][0] == 0.75
        assert np.isnan(content["scores"][1])
        rle = {"size": content["label_map"].shape, "counts": str(content["rle"][1])}
        assert coco_mask.decode(rle).sum() == content["areas"][1] == 300
        assert content["words"].tolist() == ["cat", "dog", "sky"]


def test_npz_of_no_segments(tmp_path):
    from_masks([], (5, 7), WORDS).save(tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as content:
        assert content["boxes"].shape == (0, 4)


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_pictures_are_overlays(suffix, tmp_path):
    example().save(tmp_path / f"x.{suffix}")
    saved = np.asarray(Image.open(tmp_path / f"x.{suffix}").convert("RGB")).astype(int)
    assert np.abs(saved - example().overlay()).mean() < 12
    assert np.abs(saved - example().image_HW3).mean() > 12


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match=r"x\.tif.*\.png, \.json, \.npz"):
        example().save(tmp_path / "x.tif")
    with pytest.raises(ValueError, match="does not know its image"):
        dataclasses.replace(example(), image_HW3=None).save(tmp_path / "x.jpg")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def stand_in_supervision(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))


def check_detections(detections):
    assert detections.xyxy.tolist() == [[3, 2, 10, 6], [0, 10, 30, 20]]
    assert detections.mask.shape == (2, 20, 30)
    assert detections.mask.sum((1, 2)).tolist() == [28, 300]
    assert detections.confidence.tolist() == [0.75, 1.0]
    assert detections.class_id.tolist() == [0, 2]
    assert detections.data["class_name"].tolist() == ["cat", "sky"]


def test_detections_without_the_package(stand_in_supervision):
    check_detections(example().to_supervision())
    none = from_masks([], (5, 7), WORDS).to_supervision()
    assert none.xyxy.shape == (0, 4)
    assert none.mask.shape == (0, 5, 7)


def test_detections_of_the_package():
    pytest.importorskip("supervision")
    check_detections(example().to_supervision())
    assert len(from_masks([], (5, 7), WORDS).to_supervision()) == 0


def test_detections_without_the_package_say_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match="pip install supervision"):
        example().to_supervision()
