import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from frozenseg.predict.segmentation import LARGEST_ID, from_label_map, from_masks
from frozenseg.visualization.sheet import LOWEST_SHEET, legend
from frozenseg.vocab import Vocabulary

WORDS = Vocabulary.parse("cat, kitten; dog; sky:stuff")


def example_map():
    label_map = np.zeros((20, 30), dtype=np.int32)
    label_map[2:6, 3:10] = 4
    label_map[10:, :] = 9
    return label_map


def example():
    return from_label_map(example_map(), {4: 0, 9: 2}, WORDS, "panoptic", {4: 0.75})


def test_segments_of_a_label_map():
    cat, sky = example().segments
    assert (cat.id, cat.name, cat.is_thing, cat.score, cat.area) == (4, "cat", True, 0.75, 28)
    assert cat.box == (3, 2, 7, 4)  # x, y, width, height
    assert (sky.id, sky.name, sky.is_thing, sky.score, sky.area) == (9, "sky", False, None, 300)


def test_masks_are_exact():
    for segment in example().segments:
        assert np.array_equal(segment.mask, example_map() == segment.id)


def test_ids_without_pixels_are_left_out_and_unexplained_ones_refused():
    result = from_label_map(example_map(), {4: 0, 5: 1, 9: 2}, WORDS, "panoptic")
    assert [segment.id for segment in result.segments] == [4, 9]
    with pytest.raises(ValueError, match="the id 9"):
        from_label_map(example_map(), {4: 0}, WORDS, "panoptic")


def test_ids_too_large_for_16_bits_are_refused():
    label_map = np.full((2, 2), LARGEST_ID + 1)
    with pytest.raises(ValueError, match="16-bit"):
        from_label_map(label_map, {LARGEST_ID + 1: 0}, WORDS, "panoptic")


def test_best_instance_owns_a_pixel_but_masks_stay_whole():
    one, other, empty = np.zeros((3, 8, 8), dtype=bool)
    one[:6], other[4:] = True, True
    result = from_masks([(one, 0, 0.9), (empty, 0, 0.8), (other, 1, 0.6)], (8, 8), WORDS)
    assert [(s.id, s.name, s.area) for s in result.segments] == [(1, "cat", 48), (2, "dog", 32)]
    assert (result.label_map_HW[:6] == 1).all()
    assert (result.label_map_HW[6:] == 2).all()
    assert np.array_equal(result.segments[1].mask, other)


def test_no_instances():
    result = from_masks([], (5, 7), WORDS)
    image = np.zeros((5, 7, 3), dtype=np.uint8)
    assert result.segments == ()
    assert result.label_map_HW.shape == (5, 7)
    assert np.array_equal(result.overlay(image), image)
    assert result.sheet(image).shape[0] > 100


def test_colors_come_from_the_vocabulary():
    styles = example().styles
    assert styles[4].color == tuple(WORDS.colors[0])
    assert styles[9].color == tuple(WORDS.colors[2])


def test_the_legend_of_a_sheet_has_the_largest_segment_first():
    segmentation = example()  # a cat of 28 pixels with id 4, sky of 300 with id 9
    cat, sky = (np.array(segmentation.styles[number].color) for number in (4, 9))
    width = legend(list(segmentation.styles.values()), LOWEST_SHEET).shape[1]
    entries = segmentation.sheet(np.zeros((20, 30, 3), dtype=np.uint8))[:, -width:]
    rows = [np.flatnonzero((entries == color).all(-1).any(1)) for color in (sky, cat)]
    assert rows[0].max() < rows[1].min()


def test_saved_files_tell_the_same(tmp_path):
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    segmentation = example()
    paths = segmentation.save(tmp_path / "new", "x", image, {"image": "photos/é.png"})
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == [
        "x.json", "x_labels.png", "x_overlay.png", "x_sheet.png"
    ]  # fmt: skip
    labels = Image.open(paths["labels"])
    assert labels.mode.startswith("I;16")
    assert np.array_equal(np.asarray(labels), segmentation.label_map_HW)
    assert Image.open(paths["overlay"]).size == (30, 20)
    content = json.loads(paths["json"].read_text(encoding="utf-8"))
    assert content["image"] == "photos/é.png"
    assert content["label_map"] == "x_labels.png"
    assert content["image_size"] == {"height": 20, "width": 30}
    assert content["vocabulary"][0] == {
        "category_id": 1, "name": "cat", "synonyms": ["cat", "kitten"], "is_thing": True
    }  # fmt: skip
    cat = content["segments"][0]
    assert cat["category_id"] == 1
    assert (cat["category_name"], cat["score"], cat["bbox"]) == ("cat", 0.75, [3, 2, 7, 4])
    assert np.array_equal(coco_mask.decode(cat["segmentation"]), example_map() == 4)


def test_a_failed_write_leaves_no_file(tmp_path, monkeypatch):
    def fail(*args, **options):
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        example().save(tmp_path, "x", np.zeros((20, 30, 3), dtype=np.uint8), {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_large_ids_beyond_8_bits_survive(tmp_path):
    label_map = np.arange(600, dtype=np.int32).reshape(20, 30)
    result = from_label_map(label_map, dict.fromkeys(range(600), 0), WORDS, "panoptic")
    paths = result.save(tmp_path, "x", np.zeros((20, 30, 3), dtype=np.uint8), {})
    assert np.array_equal(np.asarray(Image.open(paths["labels"])), label_map)


def test_sheets_of_small_images_have_readable_labels():
    segmentation = from_label_map(np.ones((10, 20), dtype=np.int32), {1: 0}, WORDS, "panoptic")
    image = np.zeros((10, 20, 3), dtype=np.uint8)
    sheet = segmentation.sheet(image)
    color = np.array(WORDS.colors[0])
    chip = (sheet == color).all(-1)  # the overlay's own pixels are half black
    columns = np.flatnonzero(chip.any(0))
    assert sheet.shape[0] > 300
    assert len(columns) > 20


def test_overlay_and_sheet_use_the_image_that_is_known():
    image = np.full((20, 30, 3), 90, dtype=np.uint8)
    known = dataclasses.replace(example(), image_HW3=image)
    assert np.array_equal(known.overlay(), example().overlay(image))
    assert np.array_equal(known.sheet(), example().sheet(image))
    with pytest.raises(ValueError, match="does not know its image"):
        example().overlay()


def test_without_a_name():
    rest = example().without("cat", "dog")
    assert [segment.name for segment in rest.segments] == ["sky"]
    assert set(np.unique(rest.label_map)) == {0, 9}
    assert rest.vocabulary is WORDS


def test_without_an_instance_shows_the_one_below():
    one, other = np.zeros((2, 8, 8), dtype=bool)
    one[:6], other[4:] = True, True
    result = from_masks([(one, 0, 0.9), (other, 1, 0.6)], (8, 8), WORDS)
    assert np.array_equal(result.without("cat").label_map, 2 * other)
    assert np.array_equal(result.without("bird").label_map, result.label_map)


def test_repr_names_the_segments():
    assert repr(example()) == "<panoptic segmentation, 20 x 30: cat, sky>"


def test_it_is_the_sequence_of_its_segments():
    found = example()
    assert len(found) == 2
    assert [segment.name for segment in found] == ["cat", "sky"]
    assert found[0] is found.segments[0]
    assert found[-1].name == "sky"
    assert [segment.name for segment in found[:1]] == ["cat"]
    with pytest.raises(IndexError):
        found[2]
    assert found
    assert not from_masks([], (5, 7), WORDS)


def test_boxes_as_corners():
    assert example().boxes_xyxy.tolist() == [[3, 2, 10, 6], [0, 10, 30, 20]]
    assert from_masks([], (5, 7), WORDS).boxes_xyxy.shape == (0, 4)


@pytest.mark.parametrize(
    ("conditions", "names"),
    [
        ({}, ["cat", "sky"]),
        ({"names": "cat"}, ["cat"]),
        ({"names": ["sky", "dog"]}, ["sky"]),
        ({"names": []}, []),
        ({"min_area": 29}, ["sky"]),
        ({"min_score": 0.75}, ["cat", "sky"]),  # the sky has no score
        ({"min_score": 0.8}, ["sky"]),
        ({"names": "cat", "min_area": 29}, []),
    ],
)
def test_filter(conditions, names):
    found = example().filter(**conditions)
    assert [segment.name for segment in found] == names
    assert set(np.unique(found.label_map)) - {0} == {segment.id for segment in found}


def test_filtered_instances_show_the_one_below():
    one, other = np.zeros((2, 8, 8), dtype=bool)
    one[:6], other[4:] = True, True
    result = from_masks([(one, 0, 0.9), (other, 1, 0.6)], (8, 8), WORDS)
    assert np.array_equal(result.filter("dog").label_map, 2 * other)
    assert [segment.name for segment in result.filter(min_score=0.7)] == ["cat"]


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"names": "cta"}, "'cta' is no name of the vocabulary: did you mean 'cat'|cat"),
        ({"min_score": 75}, "the score threshold must be"),
        ({"min_area": 0.01}, "min_area is a number of pixels, got 0.01"),
    ],
)
def test_conditions_that_mean_nothing(conditions, message):
    with pytest.raises(ValueError, match=message):
        example().filter(**conditions)
    semantic = dataclasses.replace(example(), task="semantic")
    with pytest.raises(ValueError, match="no meaning for semantic"):
        semantic.filter(min_score=0.5)
