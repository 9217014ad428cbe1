"""The mapper of episodes: labels by hand, sizes, and which class is asked for."""

from __future__ import annotations

import copy
from collections import Counter

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from PIL import Image

from frozenseg.data.mappers.episodes import EpisodeMapper, read_episode_labels
from frozenseg.structures import BACKGROUND, IGNORED, OTHER_CLASS

IDS = (9, 3, 7)  # of the classes 0, 1, 2
HEIGHT, WIDTH = 30, 40


@pytest.fixture
def record(tmp_path):
    """Left third: id 3 (class 1); middle: id 7 (class 2); right: 0, 255 and id 4 of no class."""
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[:, :14], values[:, 14:28], values[:10, 28:], values[20:, 28:] = 3, 7, 255, 4
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "labels.png")
    Image.fromarray(image).save(tmp_path / "image.png")
    return {
        "file_name": str(tmp_path / "image.png"),
        "sem_seg_file_name": str(tmp_path / "labels.png"),
        "image_id": "image/1",
        "height": HEIGHT,
        "width": WIDTH,
        "label_ids": IDS,
        "asked": (1, 2),
    }


@pytest.fixture
def labels():
    """The labels of `record` by hand."""
    expected = np.full((HEIGHT, WIDTH), BACKGROUND)
    expected[:, :14], expected[:, 14:28] = 1, 2
    expected[:10, 28:], expected[20:, 28:] = IGNORED, OTHER_CLASS
    return expected


def test_raw_ids_become_class_indices_and_the_three_other_values(record, labels):
    np.testing.assert_array_equal(read_episode_labels(record), labels)


def test_a_class_may_have_an_id_beyond_a_byte(record, tmp_path):
    Image.fromarray(np.array([[300, 299, 0]], np.uint16)).save(tmp_path / "labels.png")
    record["label_ids"] = (1, 300)
    assert read_episode_labels(record).tolist() == [[1, OTHER_CLASS, BACKGROUND]]


def test_test_samples_are_the_files(record, labels):
    before = copy.deepcopy(record)
    sample = EpisodeMapper(is_train=False)(record)
    assert record == before
    expected = np.array(Image.open(record["file_name"])).transpose(2, 0, 1)
    np.testing.assert_array_equal(sample["image"].numpy(), expected)
    assert sample["image"].dtype == torch.uint8
    assert sample["labels"].dtype == torch.int32
    np.testing.assert_array_equal(sample["labels"].numpy(), labels)
    assert (sample["height"], sample["width"], sample["asked"]) == (HEIGHT, WIDTH, (1, 2))
    assert (sample["file_name"], sample["image_id"]) == (record["file_name"], "image/1")


def test_a_resized_test_image_keeps_the_labels_of_the_file(record):
    sample = EpisodeMapper(is_train=False, test_size=(60, 1000))(record)
    assert sample["image"].shape == (3, 60, 80)
    assert sample["labels"].shape == (HEIGHT, WIDTH)
    assert (sample["height"], sample["width"]) == (HEIGHT, WIDTH)


def test_without_augmentation_the_whole_image_is_resized_and_only_the_class_drawn(record, labels):
    mapper = EpisodeMapper(is_train=True, size=20, augment=False)
    samples = [mapper(record, np.random.default_rng(seed)) for seed in range(60)]
    assert set(samples[0]) == {"file_name", "image_id", "image", "labels", "asked"}
    for sample in samples:
        assert torch.equal(sample["image"], samples[0]["image"])
        assert torch.equal(sample["labels"], samples[0]["labels"])
    assert samples[0]["image"].shape == (3, 20, 20)
    columns = ((np.arange(20) + 0.5) * 2).astype(int)
    rows = ((np.arange(20) + 0.5) * 1.5).astype(int)
    np.testing.assert_array_equal(samples[0]["labels"].numpy(), labels[np.ix_(rows, columns)])
    counts = Counter(sample["asked"] for sample in samples)
    assert set(counts) == {1, 2}
    assert min(counts.values()) > 15


def test_types_and_sizes_of_training_samples(record):
    mapper = EpisodeMapper(is_train=True, size=32)
    for seed in range(30):
        sample = mapper(record, np.random.default_rng(seed))
        assert sample["image"].shape == (3, 32, 32)
        assert sample["image"].dtype == torch.uint8
        assert sample["labels"].shape == (32, 32)
        assert sample["labels"].dtype == torch.int32
        assert isinstance(sample["asked"], int)
        assert set(sample["labels"].unique().tolist()) <= {-3, -2, -1, 1, 2}


@pytest.mark.slow
def test_the_class_asked_for_is_one_that_the_square_shows(record, tmp_path):
    """A class at the left edge survives some of the crops only."""
    values = np.zeros((20, 60), np.uint8)
    values[:, :8], values[:, 8:] = 9, 3
    Image.fromarray(values).save(tmp_path / "labels.png")
    Image.new("RGB", (60, 20)).save(tmp_path / "image.png")
    record |= {"height": 20, "width": 60, "asked": (0, 1)}
    mapper, asked, shows = EpisodeMapper(is_train=True, size=20), Counter(), 0
    for seed in range(80):
        sample = mapper(record, np.random.default_rng(seed))
        assert (sample["labels"] == sample["asked"]).any()
        asked[sample["asked"]] += 1
        shows += bool((sample["labels"] == 0).any())
    assert 0 < asked[0] < shows < 80


def test_if_none_is_left_one_of_the_record_is_asked_for(record, tmp_path):
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(tmp_path / "labels.png")
    mapper = EpisodeMapper(is_train=True, size=8)
    asked = {mapper(record, np.random.default_rng(seed))["asked"] for seed in range(20)}
    assert asked == {1, 2}


def test_the_generator_decides_everything(record):
    mapper = EpisodeMapper(is_train=True, size=32)
    for seed in range(6):
        first, again = (mapper(record, np.random.default_rng(seed)) for _ in range(2))
        assert torch.equal(first["image"], again["image"])
        assert torch.equal(first["labels"], again["labels"])
        assert first["asked"] == again["asked"]
    other = mapper(record, np.random.default_rng(99))
    assert not torch.equal(first["image"], other["image"])


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 200), (200, 1), (1, 1)])
def test_images_of_a_single_row_column_or_pixel(record, tmp_path, size):
    height, width = size
    Image.fromarray(np.full(size, 3, np.uint8)).save(tmp_path / "labels.png")
    Image.new("RGB", (width, height)).save(tmp_path / "image.png")
    mapper = EpisodeMapper(is_train=True, size=16)
    for seed in range(10):
        assert mapper(record, np.random.default_rng(seed))["labels"].shape == (16, 16)


def test_maps_of_another_size_and_records_without_words_are_errors(record, tmp_path):
    mapper = EpisodeMapper(is_train=True)
    for key in ("asked", "label_ids", "sem_seg_file_name"):
        with pytest.raises(ValueError, match=rf"image\.png: the record has no {key}: .*episodes"):
            mapper({**record, key: ()})
    Image.fromarray(np.zeros((5, 4), np.uint8)).save(tmp_path / "labels.png")
    with pytest.raises(ValueError, match=r"labels\.png: is 4x5 but its image .*40x30"):
        mapper(record)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "INPUT.IMAGE_SIZE is 0: at least 1"),
        ({"color_jitter": -0.1}, "COLOR_JITTER is -0.1"),
        ({"rotation": -1}, "ROTATION is -1"),
    ],
)
def test_values_without_meaning_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        EpisodeMapper(is_train=True, **options)


def test_the_config_sets_the_mapper(record):
    episodes = {"AUGMENT": False, "COLOR_JITTER": 0.2, "ROTATION": 10.0}
    inputs = {"IMAGE_SIZE": 64, "EPISODES": episodes, "MIN_SIZE_TEST": 0, "MAX_SIZE_TEST": 99}
    cfg = CfgNode({"INPUT": inputs})
    built = EpisodeMapper(cfg, is_train=True)
    assert (built.size, built.augment, built.color_jitter, built.rotation) == (64, False, 0.2, 10)
    assert EpisodeMapper(cfg, is_train=False)(record)["image"].shape == (3, HEIGHT, WIDTH)
    cfg.INPUT.MIN_SIZE_TEST = 15
    resized = EpisodeMapper(cfg, is_train=False)
    assert resized(record)["image"].shape == (3, 15, 20)
