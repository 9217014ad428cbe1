"""Mosaic-4: four different classes, every picture once, the same mosaics from the same seed."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from frozenseg.data.preparation import fss_mosaic
from frozenseg.data.preparation.fss_mosaic import (
    MosaicJob,
    Quarter,
    convert_mosaic,
    mosaics,
    read_classes,
    read_foreground,
)
from tests.data.preparation.conftest import pixels
from tests.data.raw_datasets import make_fss

NAMES = [f"class_{number}" for number in range(6)]


def write_pictures(folder, names=NAMES, pictures=3):
    """Pictures of one colour, whose object is the left half; (class, number) tells the colour."""
    for label, name in enumerate(names, 1):
        (folder / name).mkdir(parents=True)
        for number in range(1, pictures + 1):
            Image.new("RGB", (10, 20), (20 * label, 30 * number, 7)).save(
                folder / name / f"{number}.jpg", quality=100, subsampling=0
            )
            mask = np.zeros((20, 10), np.uint8)
            mask[:, :5] = 255
            Image.fromarray(mask).save(folder / name / f"{number}.png")


def test_a_round_has_every_class_at_most_once_and_no_picture_comes_twice(tmp_path):
    write_pictures(tmp_path, NAMES[:4])
    jobs = mosaics(tmp_path, NAMES[:4], seed=0)
    assert [job.name for job in jobs] == ["000000", "000001", "000002"]
    assert all(sorted(q.label for q in job.quarters) == [1, 2, 3, 4] for job in jobs)
    used = Counter(quarter.image for job in jobs for quarter in job.quarters)
    assert set(used.values()) == {1}
    assert len(used) == 12


def test_left_over_classes_of_a_round_wait_for_the_next_one(tmp_path):
    write_pictures(tmp_path)  # 6 classes: one mosaic a round, two classes are left over
    jobs = mosaics(tmp_path, NAMES, seed=0)
    assert len(jobs) == 3
    assert all(len({q.label for q in job.quarters}) == 4 for job in jobs)


def test_the_seed_decides(tmp_path):
    write_pictures(tmp_path)
    first = mosaics(tmp_path, NAMES, seed=5)
    assert mosaics(tmp_path, NAMES, seed=5) == first
    assert mosaics(tmp_path, NAMES, seed=6) != first


def test_each_quarter_is_its_picture_and_its_object(tmp_path):
    write_pictures(tmp_path / "raw")
    [job, *_] = mosaics(tmp_path / "raw", NAMES, seed=1)
    done = convert_mosaic(job, root=tmp_path)
    image = pixels(tmp_path / done.value.image).astype(int)
    labels = pixels(tmp_path / done.value.labels)
    assert image.shape == (448, 448, 3)
    for number, quarter in enumerate(job.quarters):
        y, x = (224 * n for n in divmod(number, 2))
        color = (20 * quarter.label, 30 * int(quarter.image.stem), 7)
        assert np.abs(image[y : y + 224, x : x + 224] - color).max() <= 3  # JPEG
        assert (labels[y : y + 224, x : x + 112] == quarter.label).all()
        assert (labels[y : y + 224, x + 112 : x + 224] == 0).all()
    assert done.value.pixels == {q.label: 224 * 112 for q in job.quarters}


def test_a_mosaic_of_other_pictures_is_made_again(tmp_path):
    write_pictures(tmp_path / "raw")
    first, second, *_ = (job._replace(name="x") for job in mosaics(tmp_path / "raw", NAMES, 1))
    assert convert_mosaic(first, root=tmp_path).made
    again = convert_mosaic(first, root=tmp_path)
    assert not again.made
    assert again.value.pixels == {q.label: 224 * 112 for q in first.quarters}
    other = convert_mosaic(second, root=tmp_path)
    assert other.made
    assert set(other.value.pixels) == {q.label for q in second.quarters}


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA"])
def test_the_object_is_what_is_white_whatever_the_kind_of_png(tmp_path, mode):
    mask = np.zeros((4, 6), np.uint8)
    mask[1:3, 2:5] = 255
    Image.fromarray(mask).convert(mode).save(tmp_path / "m.png")
    assert (read_foreground(tmp_path / "m.png") == (mask > 0)).all()


def test_an_empty_mask_is_named(tmp_path):
    Image.fromarray(np.full((4, 6), 99, np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(ValueError, match=r"m\.png: the mask is empty"):
        read_foreground(tmp_path / "m.png")


def test_a_mask_of_another_size_is_stretched_like_its_picture(tmp_path):
    """Some of the release are: crt_screen/6.png has 500 x 500 pixels."""
    write_pictures(tmp_path / "raw", NAMES[:1])
    mask = np.zeros((50, 40), np.uint8)
    mask[25:] = 255
    Image.fromarray(mask).save(tmp_path / "raw/class_0/1.png")
    quarter = Quarter(tmp_path / "raw/class_0/1.jpg", tmp_path / "raw/class_0/1.png", 1)
    done = convert_mosaic(MosaicJob((quarter,) * 4, "x"), root=tmp_path)
    labels = pixels(tmp_path / done.value.labels)
    expected = np.repeat([0, 1, 0, 1], 112)
    assert (labels == expected[:, None]).all()


def test_a_file_without_a_partner_is_left_out_and_named(tmp_path, caplog):
    write_pictures(tmp_path, NAMES[:4])
    (tmp_path / "class_1/2.jpg").unlink()
    (tmp_path / "class_1/9.png").write_bytes(b"no picture")
    jobs = mosaics(tmp_path, NAMES[:4], seed=0)
    assert len(jobs) == 2  # the class has two pairs left
    used = {q.image.stem for job in jobs for q in job.quarters if q.label == 2}
    assert used == {"1", "3"}
    assert "class_1: left out, no pair of .jpg and .png: 2, 9" in caplog.text


def test_a_class_without_a_pair_is_an_error(tmp_path):
    write_pictures(tmp_path, NAMES[:4], pictures=1)
    (tmp_path / "class_3/1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"class_3: holds no picture .* unpack"):
        mosaics(tmp_path, NAMES[:4], seed=0)


@pytest.mark.slow
def test_the_whole_script(tmp_path, run, monkeypatch):
    monkeypatch.setattr(fss_mosaic, "TILE", 20)
    make_fss(tmp_path)
    assert run("fss_mosaic") == 0
    made = tmp_path / "fss_mosaic_4"
    index = json.loads((made / "test.json").read_text())
    assert len(index["images"]) == 60  # one picture of each of 240 classes
    used = Counter(label for entry in index["images"] for label in entry["pixels"])
    assert used == {str(label): 1 for label in range(1, 241)}
    assert {n for entry in index["images"] for n in entry["pixels"].values()} == {10 * 10}
    lines = (made / "classes.txt").read_text().splitlines()
    assert lines[:2] == ["1: abe's flyingfish", "2: thing 002"]
    assert lines[-1] == "240: thing 240"


@pytest.mark.slow
def test_the_class_list_is_required_and_complete(tmp_path, run):
    make_fss(tmp_path)
    path = tmp_path / "fewshot_data/fss_test_set.txt"
    names = path.read_text().split()
    assert read_classes(path) == sorted(names)
    path.write_text("\n".join(names[1:]))
    with pytest.raises(ValueError, match="lists 239 classes, FSS-1000 has 240 for tests"):
        run("fss_mosaic")
    own = tmp_path / "own.txt"
    own.write_text("\n".join([*names[1:], "unknown_class"]))
    with pytest.raises(FileNotFoundError, match="lacks 1 folders of test classes: unknown_class"):
        run("fss_mosaic", "--classes", str(own))
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"fss_test_set\.txt of .*--classes"):
        run("fss_mosaic")
