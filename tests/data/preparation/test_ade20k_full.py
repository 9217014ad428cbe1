"""ADE20K-Full: class = R // 10 * 256 + G, 16-bit masks, scaled images, the pickle left alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from frozenseg.data.preparation.ade20k_full import prepare_ade20k_full, scaled_size
from frozenseg.data.preparation.work import Preparation
from frozenseg.vocab import Vocabulary
from tests.data.preparation.conftest import content, counts, leftovers, pixels
from tests.data.raw_datasets import make_ade20k_full
from tests.data.raw_writers import save, save_photo

FOLDER = "ADE20K_2021_17_01"
STREET = "images/ADE/validation/urban/street"


@pytest.fixture
def prepare(tmp_path, run):
    make_ade20k_full(tmp_path)
    classes = str(tmp_path / "ade20k_full_classes.tsv")
    return lambda *words: run("ade20k_full", "--classes", classes, *words)


def test_masks_have_the_training_ids_in_16_bits(tmp_path, prepare):
    assert prepare() == 0
    folder = tmp_path / FOLDER / "annotations_detectron2/validation"
    first = folder / "ADE_val_00000001.tif"
    assert counts(first) == {0: 400, 846: 100, 65535: 100}
    assert counts(folder / "ADE_val_00000002.tif") == {300: 600}
    assert pixels(first).dtype == np.uint16
    assert (cv2.imread(str(first), cv2.IMREAD_UNCHANGED) == pixels(first)).all()
    assert pixels(first)[15, 12] == 846
    names = sorted(path.name for path in (tmp_path / FOLDER / "images_detectron2").rglob("*.*"))
    assert names == ["ADE_val_00000001.jpg", "ADE_val_00000002.jpg"]


def test_the_class_list_is_a_vocabulary(tmp_path, prepare):
    assert prepare() == 0
    path = tmp_path / FOLDER / "classes_847.tsv"
    vocabulary = Vocabulary.from_file(path, allow_shared=True)
    assert len(vocabulary) == 847
    assert list(vocabulary.dataset_ids) == list(range(847))
    assert vocabulary.names[0] == "wall"
    last = vocabulary.classes[846]
    assert last.synonyms == ("adding machine", "totalizer", "totaliser")


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((512, 512), (512, 512)),
        ((513, 513), (512, 512)),
        ((512, 4000), (512, 4000)),
        ((1024, 1537), (512, 768)),  # 768.5 to even, as Python rounds
        ((1539, 1024), (770, 512)),  # 769.5
        ((600, 100), (600, 100)),
    ],
)
def test_the_shorter_edge_becomes_512(size, expected):
    assert scaled_size(*size, 512) == expected
    assert scaled_size(*size, 0) == size


def test_images_and_masks_are_scaled_together(tmp_path):
    make_ade20k_full(tmp_path)
    preparation = Preparation(tmp_path)
    prepare_ade20k_full(preparation, tmp_path / "ade20k_full_classes.tsv", short_edge=10)
    assert preparation.finish() == 0
    mask = tmp_path / FOLDER / "annotations_detectron2/validation/ADE_val_00000001.tif"
    assert counts(mask) == {0: 100, 846: 25, 65535: 25}  # nearest neighbour: no other value
    with Image.open(mask.parents[2] / "images_detectron2/validation/ADE_val_00000001.jpg") as image:
        assert image.size == (15, 10)
        small = np.array(image).astype(int)
    with Image.open(tmp_path / FOLDER / STREET / "ADE_val_00000001.jpg") as image:
        large = np.array(image).astype(int)
    assert np.abs(small - large[::2, ::2]).mean() < 12  # the same picture, twice as JPEG


def test_another_size_is_made_again_and_the_same_is_kept(tmp_path, prepare, capsys):
    assert prepare("--short-edge", "0") == 0
    placed = tmp_path / FOLDER / "images_detectron2/validation/ADE_val_00000001.jpg"
    original = tmp_path / FOLDER / STREET / "ADE_val_00000001.jpg"
    assert placed.read_bytes() == original.read_bytes()
    before = content(tmp_path)
    assert prepare("--short-edge", "0") == 0
    assert content(tmp_path) == before
    assert "0 made, 2 already there" in capsys.readouterr().out
    preparation = Preparation(tmp_path)
    prepare_ade20k_full(preparation, tmp_path / "ade20k_full_classes.tsv", short_edge=10)
    assert any("2 made" in line for line in preparation.lines)
    assert original.read_bytes() == before[original.relative_to(tmp_path).as_posix()]  # no link


def test_masks_of_two_class_lists_are_never_mixed(tmp_path, prepare, capsys):
    assert prepare() == 0
    path = tmp_path / "ade20k_full_classes.tsv"
    path.write_text("id\ttrainId\tname\n2978\t0\twall\n3148\t1\tadding machine\n300\t2\tdoor\n")
    with pytest.raises(ValueError, match=r"classes_847\.tsv: .* made with another class list"):
        prepare()
    assert prepare("--overwrite") == 0
    assert "3 classes; the benchmark has 847" in capsys.readouterr().out
    mask = tmp_path / FOLDER / "annotations_detectron2/validation/ADE_val_00000002.tif"
    assert counts(mask) == {2: 600}


def test_broken_files_are_named(tmp_path, prepare, capsys):
    folder = tmp_path / FOLDER / STREET
    path = folder / "ADE_val_00000001_seg.png"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    save_photo(folder / "ADE_val_00000003.jpg")  # without a mask
    save_photo(folder / "ADE_val_00000004.jpg")
    save(folder / "ADE_val_00000004_seg.png", np.zeros((20, 30, 3), np.uint8))
    save_photo(folder / "ADE_val_00000005.jpg")
    save(folder / "ADE_val_00000005_seg.png", np.full((20, 31, 3), 110, np.uint8))
    assert prepare() == 1
    captured = capsys.readouterr()
    assert "5 images: 1 made, 0 already there, 4 failed" in captured.out
    for text in (
        f"{path}: damaged or incomplete",
        f"{folder}/ADE_val_00000003_seg.png does not exist",
        f"{folder}/ADE_val_00000004_seg.png: no pixel is labelled",
        f"{folder}/ADE_val_00000005_seg.png: is 31x20 but its image",
    ):
        assert text in captured.err
    assert not leftovers(tmp_path)
    made = list((tmp_path / FOLDER / "annotations_detectron2").rglob("*.tif"))
    assert [file.name for file in made] == ["ADE_val_00000002.tif"]


def test_two_images_of_one_name_are_an_error(tmp_path, prepare):
    save_photo(tmp_path / FOLDER / "images/ADE/validation/work_place/ADE_val_00000001.jpg")
    with pytest.raises(ValueError, match=r"has several ADE_val_00000001\.jpg"):
        prepare()


def test_a_missing_release_is_explained(tmp_path, prepare):
    with pytest.raises(FileNotFoundError, match=r"images/ADE/training/.*groups\.csail\.mit\.edu"):
        prepare("--splits", "train")
