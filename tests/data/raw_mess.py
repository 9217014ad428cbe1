"""The sets of MESS as they are published, two images (20 x 30) of each; see datasets/README.md.

What the masks made of them must hold is written out in tests/data/preparation/test_mess.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.data.raw_writers import HEIGHT, WIDTH, canvas, save, save_palette, save_photo, save_text

WHITE = 255


def left_right(left: int, right: int, columns: int = 10) -> np.ndarray:
    """A map of `left` in the first columns and `right` in the others."""
    labels = canvas(right)
    labels[:, :columns] = left
    return labels


def colored(*parts: tuple[int, int, int]) -> np.ndarray:
    """A picture of equally wide stripes of the colours."""
    stripes = [np.full((HEIGHT, WIDTH // len(parts), 3), color, np.uint8) for color in parts]
    return np.concatenate(stripes, axis=1)


def make_mess(root: Path, _split: str = "test") -> None:
    """All sets."""
    for make in (
        make_dark_zurich, make_foodseg103, make_atlantis, make_isaid, make_potsdam, make_floodnet,
        make_uavid, make_kvasir_instrument, make_chase_db1, make_deepcrack, make_zerowaste_f,
        make_pst900, make_suim, make_cub_200, make_cwfid,
    ):  # fmt: skip
        make(root)


def make_dark_zurich(root: Path) -> None:
    """Train ids; road (0) and car (13), then sky (10) and what is not scored. Others are there."""
    for number, labels in (("321", left_right(0, 13)), ("322", left_right(10, 255))):
        name = f"night/GOPR0356/GOPR0356_frame_000{number}"
        save_photo(root / f"dark_zurich/rgb_anon/val/{name}_rgb_anon.png")
        for kind, array in (("labelTrainIds", labels), ("labelIds", canvas(7))):
            save(root / f"dark_zurich/gt/val/{name}_gt_{kind}.png", array)
    save_photo(root / "dark_zurich/rgb_anon/val_ref/day/GOPR0356_ref/x_ref_rgb_anon.png")


def make_foodseg103(root: Path) -> None:
    """Labels 0 (background) to 103 (other ingredients)."""
    for number, labels in (("00000048", left_right(0, 103)), ("00000049", left_right(58, 73))):
        save_photo(root / f"FoodSeg103/Images/img_dir/test/{number}.jpg")
        save(root / f"FoodSeg103/Images/ann_dir/test/{number}.png", labels)


def make_atlantis(root: Path) -> None:
    """Labels 1 (bicycle) to 56 (wetland), 0 is unlabelled; a folder for every waterbody."""
    for name, labels in (
        ("lake/1234", left_right(20, 0)), ("wetland/5678", left_right(1, 56))
    ):  # fmt: skip
        save_photo(root / f"atlantis/images/test/{name}.jpg")
        save_palette(root / f"atlantis/masks/test/{name}.png", labels)


def make_isaid(root: Path) -> None:
    """Colours: background, ship, harbor; plane. Unpacked archives give images/images."""
    for name, array in (
        ("P0003", colored((0, 0, 0), (0, 0, 63), (0, 100, 155))),
        ("P0004", colored((0, 0, 0), (0, 127, 255))),
    ):
        save_photo(root / f"iSAID/val/images/images/{name}.png")
        save(root / f"iSAID/val/Semantic_masks/images/{name}_instance_color_RGB.png", array)


def make_potsdam(root: Path) -> None:
    """The 14 test tiles, of which 12 are all building, and one of the training (2_10)."""
    names = "2_14 3_13 3_14 4_13 4_14 4_15 5_13 5_14 5_15 6_13 6_14 6_15 2_10".split()
    for name, array in (
        ("2_13", colored((255, 255, 255), (0, 0, 255), (0, 255, 255))),
        ("7_13", colored((0, 255, 0), (255, 255, 0), (255, 0, 0))),
        *((name, colored((0, 0, 255))) for name in names),
    ):
        save_photo(root / f"potsdam/3_Ortho_IRRG/top_potsdam_{name}_IRRG.tif")
        save(root / f"potsdam/5_Labels_all/top_potsdam_{name}_label.tif", array)


def make_floodnet(root: Path) -> None:
    """Labels 0 (background) to 9 (grass)."""
    for name, labels in (("6335", left_right(0, 9)), ("6336", left_right(1, 3))):
        save_photo(root / f"FloodNet-Supervised_v1.0/test/test-org-img/{name}.jpg")
        save(root / f"FloodNet-Supervised_v1.0/test/test-label-img/{name}_lab.png", labels)


def make_uavid(root: Path) -> None:
    """A sequence has Images and Labels; file names repeat. Clutter, building; moving car, human."""
    for sequence, array in (
        ("seq16", colored((0, 0, 0), (128, 0, 0))),
        ("seq17", colored((64, 0, 128), (64, 64, 0))),
    ):
        save_photo(root / f"uavid/uavid_val/{sequence}/Images/000000.png")
        save(root / f"uavid/uavid_val/{sequence}/Labels/000000.png", array)


def make_kvasir_instrument(root: Path) -> None:
    """White instruments with grey edges; the third image is of the training."""
    folder = root / "kvasir-instrument"
    masks = {"ckcu9a": left_right(WHITE, 0), "ckcu9b": left_right(130, 120)}
    for name, mask in {**masks, "ckcu9c": canvas(WHITE)}.items():
        save_photo(folder / f"images/{name}.jpg")
        save(folder / f"masks/{name}.png", mask)
    save_text(folder / "test.txt", list(masks))


def make_chase_db1(root: Path) -> None:
    """One folder; two annotators, of whom the first counts."""
    for name, mask in (("Image_01L", left_right(WHITE, 0)), ("Image_01R", left_right(0, WHITE))):
        save_photo(root / f"CHASEDB1/{name}.jpg")
        save(root / f"CHASEDB1/{name}_1stHO.png", mask > 0)  # one bit a pixel
        save(root / f"CHASEDB1/{name}_2ndHO.png", canvas(WHITE) > 0)


def make_deepcrack(root: Path) -> None:
    """White cracks."""
    for name, mask in (("11111", left_right(WHITE, 0, 3)), ("11112", left_right(0, WHITE, 20))):
        save_photo(root / f"DeepCrack/test_img/{name}.jpg")
        save(root / f"DeepCrack/test_lab/{name}.png", mask)


def make_zerowaste_f(root: Path) -> None:
    """Labels 0 to 4; endings in capitals."""
    folder = root / "zerowaste-f/splits_final_deblurred/test"
    for name, labels in (
        ("01_frame_000010", left_right(0, 4)), ("01_frame_000020", left_right(2, 1))
    ):  # fmt: skip
        save_photo(folder / f"data/{name}.PNG")
        save(folder / f"sem_seg/{name}.PNG", labels)


def make_pst900(root: Path) -> None:
    """Labels 0 to 4."""
    for name, labels in (("31_bag_rgb_1", left_right(0, 4)), ("31_bag_rgb_2", left_right(1, 3))):
        for kind in ("rgb", "thermal"):
            save_photo(root / f"PST900_RGBT_Dataset/test/{kind}/{name}.png")
        save(root / f"PST900_RGBT_Dataset/test/labels/{name}.png", labels)


def make_suim(root: Path) -> None:
    """Colours that a scaling has changed a little; masks of single classes in folders beside."""
    for name, array in (
        ("d_r_1_", colored((3, 0, 0), (1, 250, 2), (255, 254, 0))),
        ("d_r_2_", colored((255, 255, 255), (255, 0, 255))),
    ):
        save_photo(root / f"SUIM/TEST/images/{name}.jpg")
        save(root / f"SUIM/TEST/masks/{name}.bmp", array)
        save(root / f"SUIM/TEST/masks/FV/{name}.bmp", array)


def make_cub_200(root: Path) -> None:
    """Greys are fifths of the annotators; 200 folders, of which two have an image here."""
    folder = root / "CUB_200_2011"
    names = [f"{label:03d}.Bird_of_{label}" for label in range(1, 201)]
    names[0] = "001.Black_footed_Albatross"
    save_text(folder / "classes.txt", [f"{label} {name}" for label, name in enumerate(names, 1)])
    images = [f"{names[0]}/Black_0001_1", f"{names[199]}/Bird_0002_2", f"{names[0]}/Black_0003_3"]
    for image in images:
        save_photo(folder / f"images/{image}.jpg")
        save(folder / f"segmentations/{image}.png", left_right(153, 102))
    lines = [f"{number} {image}.jpg" for number, image in enumerate(images, 1)]
    save_text(folder / "images.txt", lines)
    save_text(folder / "train_test_split.txt", ["1 0", "2 0", "3 1"])


def make_cwfid(root: Path) -> None:
    """Soil, crops in green, weed in red; the third image is of the training."""
    folder = root / "cwfid"
    for number in ("001", "003", "002"):
        save_photo(folder / f"images/{number}_image.png")
        array = colored((0, 0, 0), (0, 255, 0), (255, 0, 0))
        save(folder / f"annotations/{number}_annotation.png", array)
        save_text(folder / f"annotations/{number}_annotation.yaml", ["filename: x"])
    save_text(folder / "train_test_split.yaml", ["train: [2]", "test: [1, 3]"])
