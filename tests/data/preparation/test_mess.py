"""MESS: every set from its published layout to class indices, and what is wrong with a file."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from frozenseg.data.catalog.lookup import find_split, mess_splits, row_vocabulary
from frozenseg.data.catalog.mess_rows import DOMAINS, MESS_ROWS, MESS_SETS
from frozenseg.data.preparation import mess
from frozenseg.data.verify.run import rows_named, verify
from tests.data import raw_mess
from tests.data.preparation.conftest import content, counts, pixels
from tests.data.raw_writers import save, save_photo, save_text

# Set -> name of the made mask -> pixels of every class index, by the docstrings of raw_mess.py.
MADE = {
    "dark_zurich": {
        "GOPR0356_frame_000321": {0: 200, 13: 400},
        "GOPR0356_frame_000322": {10: 200, 255: 400},
    },
    "foodseg103": {"00000048": {0: 200, 103: 400}, "00000049": {58: 200, 73: 400}},
    "atlantis": {"1234": {19: 200, 255: 400}, "5678": {0: 200, 55: 400}},
    "isaid": {"P0003_0_0": {0: 200, 1: 200, 15: 200}, "P0004_0_0": {0: 300, 14: 300}},
    "potsdam": {"2_13_0_0": {0: 200, 1: 200, 2: 200}, "7_13_0_0": {3: 200, 4: 200, 5: 200}},
    "floodnet": {"6335": {0: 200, 9: 400}, "6336": {1: 200, 3: 400}},
    "uavid": {"seq16_000000_0_0": {0: 300, 1: 300}, "seq17_000000_0_0": {7: 300, 6: 300}},
    "kvasir_instrument": {"ckcu9a": {1: 200, 0: 400}, "ckcu9b": {1: 200, 0: 400}},
    "chase_db1": {"Image_01L": {1: 200, 0: 400}, "Image_01R": {0: 200, 1: 400}},
    "deepcrack": {"11111": {1: 60, 0: 540}, "11112": {0: 400, 1: 200}},
    "zerowaste_f": {
        "01_frame_000010": {0: 200, 4: 400},
        "01_frame_000020": {2: 200, 1: 400},
    },
    "pst900": {"31_bag_rgb_1": {0: 200, 4: 400}, "31_bag_rgb_2": {1: 200, 3: 400}},
    "suim": {"d_r_1_": {0: 200, 2: 200, 6: 200}, "d_r_2_": {7: 300, 5: 300}},
    "cub_200": {"Black_0001_1": {1: 200, 0: 400}, "Bird_0002_2": {200: 200, 0: 400}},
    "cwfid": {"001": {0: 200, 1: 200, 2: 200}, "003": {0: 200, 1: 200, 2: 200}},
}
# A word of each set and the index that its own documentation gives it.
WORDS = {
    "dark_zurich": {0: "road", 13: "car", 18: "bicycle"},
    "foodseg103": {0: "background", 58: "bread", 73: "tomato", 103: "other ingredients"},
    "atlantis": {0: "bicycle", 19: "lake", 27: "person", 55: "wetland"},
    "isaid": {1: "ship", 7: "bridge", 9: "small vehicle", 14: "plane", 15: "harbor"},
    "potsdam": {0: "impervious surfaces", 1: "building", 3: "tree", 4: "car", 5: "clutter"},
    "floodnet": {1: "flooded building", 5: "water", 7: "vehicle", 9: "grass"},
    "uavid": {1: "building", 3: "static car", 6: "human", 7: "moving car"},
    "kvasir_instrument": {0: "background", 1: "instrument"},
    "chase_db1": {0: "background", 1: "blood vessel"},
    "deepcrack": {0: "background", 1: "crack"},
    "zerowaste_f": {1: "rigid plastic", 2: "cardboard", 3: "metal", 4: "soft plastic"},
    "pst900": {1: "fire extinguisher", 2: "backpack", 3: "hand drill", 4: "survivor"},
    "suim": {0: "waterbody", 1: "human diver", 4: "robot", 6: "fish", 7: "sea-floor"},
    "cub_200": {0: "background", 1: "Black footed Albatross", 200: "Bird of 200"},
    "cwfid": {0: "background", 1: "crop", 2: "weed"},
}


@pytest.mark.parametrize("name", MESS_SETS)
def test_a_set_becomes_class_indices_and_verify_is_content(name, tmp_path, run):
    getattr(raw_mess, f"make_{name}")(tmp_path)
    assert run("mess", "--sets", name) == 0
    folder = tmp_path / "mess" / name
    made = {path.stem: counts(path) for path in sorted((folder / "labels").iterdir())}
    assert {key: made[key] for key in MADE[name]} == MADE[name]
    assert len(made) == (14 if name == "potsdam" else len(MADE[name]))
    assert {path.stem for path in (folder / "images").iterdir()} == set(made)
    row = find_split(f"mess_{name}")
    report = verify(row, tmp_path, subset=True, progress=False)
    assert report.findings == [], report.text()
    assert report.images == report.checked == len(made)
    words = row_vocabulary(row, tmp_path).names
    assert {index: words[index] for index in WORDS[name]} == WORDS[name]


def test_large_images_are_cut_and_every_pixel_is_kept(tmp_path, run, monkeypatch):
    monkeypatch.setattr(mess, "CROP", 16)
    raw_mess.make_isaid(tmp_path)
    assert run("mess", "--sets", "isaid") == 0
    folder = tmp_path / "mess/isaid"
    whole = pixels(tmp_path / "iSAID/val/images/images/P0003.png")
    parts = [(0, 0), (0, 16), (16, 0), (16, 16)]
    names = [f"P0003_{top}_{left}.png" for top, left in parts]
    assert sorted(path.name for path in folder.glob("images/P0003*")) == sorted(names)
    labels = np.repeat([[0, 1, 15]], 10, axis=1).ravel()  # three stripes of 10 columns
    for name, (top, left) in zip(names, parts, strict=True):
        assert (pixels(folder / "images" / name) == whole[top : top + 16, left : left + 16]).all()
        assert (pixels(folder / "labels" / name) == labels[left : left + 16]).all()
    (folder / "images" / names[3]).unlink()
    assert run("mess", "--sets", "isaid") == 0
    assert (folder / "images" / names[3]).is_file()


def test_other_images_are_the_published_files(tmp_path, run):
    raw_mess.make_suim(tmp_path)
    assert run("mess", "--sets", "suim") == 0
    made = tmp_path / "mess/suim/images/d_r_1_.jpg"
    assert made.samefile(tmp_path / "SUIM/TEST/images/d_r_1_.jpg")


def test_a_second_run_makes_nothing_and_a_broken_mask_is_found_and_repaired(tmp_path, run, capsys):
    raw_mess.make_pst900(tmp_path)
    assert run("mess") == 0
    before = content(tmp_path)
    assert run("mess") == 0
    assert content(tmp_path) == before
    assert "PST900: 2 images: 0 made, 2 already there, 0 failed" in capsys.readouterr().out
    row, path = find_split("mess_pst900"), tmp_path / "mess/pst900/labels/31_bag_rgb_1.png"
    save(path, np.full((20, 30), 5, np.uint8))
    [finding] = verify(row, tmp_path, subset=True, progress=False).findings
    assert (finding.problem, finding.where) == (
        "a label is out of range (0..4, 255 ignored)",
        [f"{path}: label 5"],
    )
    assert finding.remedy == "run frozenseg data prepare mess --sets pst900 --overwrite"
    assert run("mess", "--sets", "pst900", "--overwrite") == 0
    assert verify(row, tmp_path, subset=True, progress=False).findings == []
    [finding] = verify(row, tmp_path, progress=False).findings
    assert "has 2 images here, the official one has 288" in finding.problem


def test_without_names_the_sets_that_are_there_are_made(tmp_path, run, capsys):
    with pytest.raises(FileNotFoundError, match=r"none of MESS's sets.*section MESS.*--sets"):
        run("mess")
    raw_mess.make_deepcrack(tmp_path)
    raw_mess.make_cwfid(tmp_path)
    assert run("mess") == 0
    assert sorted(path.name for path in (tmp_path / "mess").iterdir()) == ["cwfid", "deepcrack"]
    [line] = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    assert line.startswith("left out, published files are not there: dark_zurich, foodseg103, ")
    message = r"lacks SUIM/TEST/images/, SUIM/TEST/masks/: SUIM needs .*irvlab.*section MESS"
    with pytest.raises(FileNotFoundError, match=message):
        run("mess", "--sets", "suim")


def _label_104(root):
    save(root / "FoodSeg103/Images/ann_dir/test/00000048.png", np.full((20, 30), 104, np.uint8))


def _other_color(root):
    path = root / "uavid/uavid_val/seq16/Labels/000000.png"
    save(path, raw_mess.colored((0, 0, 0), (1, 2, 3)))


def _jpeg_as_mask(root):
    path = root / "DeepCrack/test_lab/11111.png"
    Image.fromarray(raw_mess.left_right(255, 0)).save(path, format="JPEG")


def _other_size(root):
    save(root / "SUIM/TEST/masks/d_r_1_.bmp", np.zeros((10, 30, 3), np.uint8))


def _nothing_labelled(root):
    path = root / "dark_zurich/gt/val/night/GOPR0356/GOPR0356_frame_000321_gt_labelTrainIds.png"
    save(path, np.full((20, 30), 255, np.uint8))


def _cut_image(root):
    path = root / "uavid/uavid_val/seq16/Images/000000.png"
    path.write_bytes(path.read_bytes()[:-40])


def _no_mask(root):
    (root / "CHASEDB1/Image_01L_1stHO.png").unlink()


def _listed_only(root):
    save_text(root / "kvasir-instrument/test.txt", ["ckcu9a", "gone"])


def _unknown_folder(root):
    (root / "CUB_200_2011/images/200.Bird_of_200").rename(root / "CUB_200_2011/images/Parrots")


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("foodseg103", _label_104, "label 104 at x=0, y=0 is out of range: FoodSeg103 has 0 to"),
        ("uavid", _other_color, "colour #010203 at x=15, y=0 is of no class: UAVid has #000000, "),
        ("deepcrack", _jpeg_as_mask, "11111.png: damaged or incomplete label map (a JPEG"),
        ("uavid", _cut_image, "000000.png: damaged image (image file is truncated)"),
        ("suim", _other_size, "d_r_1_.bmp: is 30x10 but its image"),
        ("dark_zurich", _nothing_labelled, "no pixel is labelled"),
        ("chase_db1", _no_mask, "Image_01L.jpg: has no partner (CHASEDB1/*.jpg, CHASEDB1/*_1st"),
        ("kvasir_instrument", _listed_only, "gone: is listed, but not there (kvasir-instrument/"),
    ],
)
def test_a_wrong_file_is_one_line_and_the_others_are_made(
    name, damage, message, tmp_path, run, capsys
):
    getattr(raw_mess, f"make_{name}")(tmp_path)
    damage(tmp_path)
    assert run("mess", "--sets", name) == 1
    [line, end] = capsys.readouterr().err.splitlines()
    assert message in line
    assert end.startswith("1 failed")
    assert len(list((tmp_path / "mess" / name / "labels").iterdir())) == 1
    if damage is _nothing_labelled:
        assert run("mess", "--sets", name, "--allow-empty") == 0


@pytest.mark.parametrize(
    ("name", "file", "text", "message"),
    [
        ("cwfid", "cwfid/train_test_split.yaml", "test: [1, a]", r"split.yaml: .*Expected int"),
        ("cwfid", "cwfid/train_test_split.yaml", "test: [", r"split.yaml.*: not valid YAML"),
        ("cub_200", "CUB_200_2011/classes.txt", "1 001.A\n2 002.B", r"list the classes 1 to 200"),
        ("cub_200", "CUB_200_2011/images.txt", "1\n", r"images.txt:1: '1' has no second word"),
        ("kvasir_instrument", "kvasir-instrument/test.txt", "", r"list of images is empty"),
        ("kvasir_instrument", "kvasir-instrument/test.txt", "\udcff", r"test.txt: not UTF-8 text"),
        ("cwfid", "cwfid/train_test_split.yaml", "train: [1]", r"split.yaml: lists no test image"),
        ("cub_200", "CUB_200_2011/train_test_split.txt", "1 1", r"images.txt: lists no test image"),
    ],
)
def test_a_wrong_list_is_one_line(name, file, text, message, tmp_path, run):
    getattr(raw_mess, f"make_{name}")(tmp_path)
    (tmp_path / file).write_text(text, errors="surrogateescape")
    with pytest.raises(ValueError, match=message):
        run("mess", "--sets", name)


def test_folders_and_names_that_do_not_fit_are_named(tmp_path, run):
    raw_mess.make_cub_200(tmp_path)
    _unknown_folder(tmp_path)
    with pytest.raises(ValueError, match="Parrots is no class of the list of classes"):
        run("mess", "--sets", "cub_200")
    raw_mess.make_isaid(tmp_path)
    save_photo(tmp_path / "iSAID/val/images/part2/P0003.png")
    with pytest.raises(ValueError, match=r"P0003.png and .*P0003.png have the same name"):
        run("mess", "--sets", "isaid")


def test_the_sets_of_mess():
    assert sum(DOMAINS.values()) == 22
    rows = mess_splits()
    assert set(rows) == {*MESS_ROWS, find_split("bdd10k_val_sem_seg")}
    number = {domain: sum(row.mess_domain == domain for row in rows) for domain in DOMAINS}
    assert number == {
        "general": 4,
        "earth monitoring": 4,
        "medical sciences": 2,
        "engineering": 3,
        "agriculture and biology": 3,
    }
    assert all(len(one.colors) in (0, 2, one.classes) for one in MESS_SETS.values())
    assert all(len(set(one.colors)) == len(one.colors) for one in MESS_SETS.values())


def test_mess_stands_for_all_of_them(tmp_path):
    assert rows_named(["mess"], tmp_path) == mess_splits()
