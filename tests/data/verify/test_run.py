"""`verify` finds each kind of damage and names file and remedy; a good dataset has none."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from frozenseg.data.catalog.lookup import find_split
from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.data.miniature.dataset import write_miniature
from frozenseg.data.reading import ids_of_rgb, read_panoptic_png, rgb_of_ids
from frozenseg.data.verify.run import is_started, rows_named, spread, state, verify
from tests.shapes_world import VAL as SHAPES

ADE = find_split("openvocab_ade20k_sem_seg_val")
FULL = find_split("openvocab_ade20k_full_sem_seg_val")
VOC20, VOC21 = (find_split(f"openvocab_pascal{n}_sem_seg_val") for n in (20, 21))
CITY, CITY_INSTANCES = (
    find_split(f"openvocab_cityscapes_fine_{kind}_val") for kind in ("sem_seg", "instance_seg")
)
SIZE = (6, 8)
AGAIN = "delete shapes/ and run python make_shapes.py"


@pytest.fixture
def shapes(shapes_root, tmp_path):
    """A root with a copy of the shapes that a test may damage."""
    shutil.copytree(shapes_root / "shapes", tmp_path / "shapes")
    return tmp_path


def check(row: DatasetSplit, root, **options):
    return verify(row, root, progress=False, **{"subset": True, **options})


def the_finding(report, problem):
    """The finding whose problem contains a text; the report has no error besides it."""
    [found] = [finding for finding in report.findings if problem in finding.problem]
    others = [f.problem for f in report.findings if f.level == "error" and f is not found]
    assert others == []
    return found


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def write_pair(row, root, key, labels, size=None):
    """An image and its mask, where the row has them."""
    size = labels.shape[:2] if size is None else size
    folder = row.semantic_masks or row.instance_masks
    suffix = row.semantic_suffix if row.semantic_masks else row.instance_suffix
    image, mask = root / row.images / (key + row.image_suffix), root / folder / (key + suffix)
    for path, values in ((image, np.zeros((*size, 3), np.uint8)), (mask, labels)):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path)
    return image, mask


def label_map(*values, dtype=np.uint8):
    return np.resize(np.array(values, dtype), SIZE)


def test_a_good_dataset_has_no_findings(shapes):
    report = check(SHAPES, shapes)
    [absent] = report.findings  # four images are few
    assert (absent.level, absent.where) == ("warning", ["green triangle"])
    assert "1 of 11 classes occur nowhere; 2.1 % of the pixels are ignored" in absent.problem
    assert (report.images, report.checked, report.errors) == (4, 4, 0)
    assert (
        "shapes_val_panoptic: in order, with warnings (4 images, 4 of them read)" in report.text()
    )
    assert check(SHAPES, shapes, images=3).checked == 3


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("val", "folder of images"),
        ("panoptic_val.json", "panoptic annotation file"),
        ("panoptic_val", "folder of panoptic maps"),
        ("semantic_val", "folder of label maps"),
    ],
)
def test_a_missing_folder_or_file_is_found(shapes, path, problem):
    gone = shapes / "shapes" / path
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    finding = the_finding(check(SHAPES, shapes), f"the {problem} is missing")
    assert finding.where == [str(gone)]
    assert finding.remedy == AGAIN


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("val/000001.jpg", "the image of an annotation is missing"),
        ("panoptic_val/000001.png", "the panoptic map of an annotation is missing"),
        ("semantic_val/000001.png", "the label map of an annotation is missing"),
    ],
)
def test_a_missing_file_of_an_annotation_is_found(shapes, name, problem):
    (shapes / "shapes" / name).unlink()
    report = check(SHAPES, shapes)
    assert the_finding(report, problem).where == [str(shapes / "shapes" / name)]
    assert report.checked == 3


def test_a_map_without_annotation_is_found(shapes):
    extra = shapes / "shapes/panoptic_val/stray.png"
    shutil.copy(shapes / "shapes/panoptic_val/000000.png", extra)
    finding = the_finding(check(SHAPES, shapes), "belongs to no annotation")
    assert (finding.level, finding.where) == ("warning", [str(extra)])
    assert "in order, with warnings" in check(SHAPES, shapes).text()


@pytest.mark.parametrize("folder", ["val", "panoptic_val", "semantic_val"])
def test_a_truncated_file_is_found(shapes, folder):
    path = sorted((shapes / "shapes" / folder).iterdir())[2]
    path.write_bytes(path.read_bytes()[:150])
    finding = the_finding(check(SHAPES, shapes), "cannot be read")
    assert str(path) in finding.where[0]
    assert finding.remedy == AGAIN


@pytest.mark.parametrize("path", ["val/000001.jpg", "panoptic_val/000001.png"])
def test_an_empty_file_is_found_even_if_it_would_not_be_read(shapes, path):
    (shapes / "shapes" / path).write_bytes(b"")
    report = check(SHAPES, shapes, images=1)
    finding = the_finding(report, "a file is empty")
    assert (finding.where, finding.remedy) == ([str(shapes / "shapes" / path)], AGAIN)
    assert (report.images, report.checked) == (4, 1)


def test_an_empty_mask_of_a_pair_is_found(tmp_path):
    write_pair(ADE, tmp_path, "a", label_map(0, 255))
    _, mask = write_pair(ADE, tmp_path, "b", label_map(0, 255))
    mask.write_bytes(b"")
    finding = the_finding(check(ADE, tmp_path), "a file is empty")
    assert (finding.where, finding.remedy) == (
        [str(mask)],
        f"delete it, then run {ADE.origin.command}",
    )


@pytest.mark.parametrize("folder", ["val", "panoptic_val", "semantic_val"])
def test_another_size_is_found(shapes, folder):
    path = sorted((shapes / "shapes" / folder).iterdir())[0]
    with Image.open(path) as image:
        cut = image.crop((0, 0, image.width - 1, image.height))
    cut.save(path)
    report = check(SHAPES, shapes)
    found = the_finding(report, "different sizes")
    assert f"{path}: is 63x48, " in found.where[0]


def damage_segments(content):
    content["annotations"][0]["segments_info"] = []


def damage_category(content):
    content["annotations"][1]["segments_info"][0]["category_id"] = 99


def damage_area(content):
    content["annotations"][1]["segments_info"][0]["area"] += 1


def damage_number(content):
    del content["annotations"][1]["segments_info"][0]["area"]


def damage_segment_id(content):
    content["annotations"][1]["segments_info"].append(content["annotations"][1]["segments_info"][0])


def damage_new_segment(content):
    first = content["annotations"][1]["segments_info"][0]
    content["annotations"][1]["segments_info"].append({**first, "id": 5})


def damage_image(content):
    del content["images"][0]["height"]


def damage_repeat(content):
    content["annotations"][1]["image_id"] = content["annotations"][0]["image_id"]


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (damage_segments, "a panoptic map has a segment that the annotation file lacks"),
        (damage_category, "category id is not one of the 11 classes"),
        (damage_area, "area of a segment is not its number of pixels"),
        (damage_number, "the dataset cannot be used"),
        (damage_segment_id, "a segment id is not of 1..16777215, or occurs twice"),
        (damage_new_segment, "a segment without pixels"),
        (damage_image, "the dataset cannot be used"),
        (damage_repeat, "unknown or repeated image_id"),
        (lambda c: c["annotations"].pop(), "an image has no annotation"),
        (lambda c: c.update(annotations=[]), "annotation file has no annotations"),
        (lambda c: c.pop("images"), "the dataset cannot be used"),
        (lambda c: c["categories"][0].update(isthing=0), "differ in what is a thing"),
    ],
)
def test_an_inconsistent_annotation_file_is_found(shapes, damage, problem):
    edit(shapes / "shapes/panoptic_val.json", damage)
    found = [f for f in check(SHAPES, shapes).findings if problem in f.problem]
    assert len(found) == 1
    assert "panoptic_val" in found[0].where[0]
    assert found[0].remedy == AGAIN


def test_an_image_of_which_nothing_is_labelled_is_found(shapes):
    path = shapes / "shapes/panoptic_val/000000.png"
    ids = ids_of_rgb(read_panoptic_png(path))
    Image.fromarray(rgb_of_ids(np.zeros_like(ids))).save(path)
    edit(shapes / "shapes/panoptic_val.json", damage_segments)
    finding = the_finding(check(SHAPES, shapes), "an annotation is empty")
    assert (finding.level, finding.where) == ("error", [str(path)])
    assert finding.remedy == f"{AGAIN}; --allow-empty if it is meant so"
    assert check(SHAPES, shapes, allow_empty=True).errors == 0


def test_semantic_pairs_are_complete_and_in_range(tmp_path):
    write_pair(ADE, tmp_path, "ADE_val_1", label_map(0, 149, 255))
    assert check(ADE, tmp_path).findings == []
    image, _ = write_pair(ADE, tmp_path, "ADE_val_2", label_map(3))
    _, mask = write_pair(ADE, tmp_path, "ADE_val_3", label_map(255))
    _, wrong = write_pair(ADE, tmp_path, "ADE_val_4", label_map(7, 151, 200))
    (tmp_path / ADE.semantic_masks / "ADE_val_2.png").unlink()
    report = check(ADE, tmp_path)
    by_problem = {finding.problem: finding for finding in report.findings}
    assert by_problem["an image has no mask"].where == [str(image)]
    assert by_problem["an image has no mask"].remedy == f"run {ADE.origin.command}"
    assert by_problem["an annotation is empty: nothing of the image is labelled"].where == [
        str(mask)
    ]
    [out] = [
        f for problem, f in by_problem.items() if "out of range (0..149, 255 ignored)" in problem
    ]
    assert out.where == [f"{wrong}: labels 151, 200"]
    (tmp_path / ADE.images / "ADE_val_4.jpg").unlink()
    [stray] = [f for f in check(ADE, tmp_path).findings if f.problem == "a mask has no image"]
    assert stray.where == [str(wrong)]
    assert stray.remedy == "see datasets/README.md, section ADE20K"


@pytest.mark.parametrize(
    ("row", "labels"), [(ADE, label_map(0, 12, 150)), (VOC20, label_map(0, 1, 20, 255))]
)
def test_unshifted_labels_are_recognised(tmp_path, row, labels):
    write_pair(row, tmp_path, "a", labels)
    finding = the_finding(check(row, tmp_path), "these look like the raw files")
    assert finding.remedy == f"run {row.origin.command} --overwrite"
    assert row.origin.common_mistake in finding.problem


def test_many_maps_without_an_ignored_pixel_are_suspicious_where_labels_may_be_unshifted(tmp_path):
    for number in range(10):
        write_pair(ADE, tmp_path, f"a{number}", label_map(0, 12, 149))
    assert the_finding(check(ADE, tmp_path), "none of 10 label maps").level == "warning"
    write_pair(ADE, tmp_path, "a3", label_map(0, 255))
    assert check(ADE, tmp_path).findings == []


def test_the_border_of_voc_is_no_problem_and_a_palette_neither(tmp_path):
    write_pair(VOC21, tmp_path, "a", label_map(0, 20, 255))
    path = tmp_path / VOC21.semantic_masks / "a.png"
    palette = Image.open(path).convert("P")
    palette.putpalette(list(range(256)) * 3)
    palette.save(path)
    assert check(VOC21, tmp_path).findings == []
    Image.open(path).convert("RGB").save(path)
    assert "coloured picture" in the_finding(check(VOC21, tmp_path), "cannot be read").where[0]


def test_eight_bits_cannot_hold_847_classes(tmp_path):
    row = replace(FULL, vocabulary=";".join(f"c{i}" for i in range(847)))
    write_pair(row, tmp_path, "deep", label_map(0, 846, 65535, dtype=np.uint16))
    assert check(row, tmp_path).findings == []
    _, mask = write_pair(row, tmp_path, "flat", label_map(0, 255))
    finding = the_finding(check(row, tmp_path), "an 8-bit label map cannot hold 847 classes")
    assert finding.where == [str(mask)]
    assert finding.remedy == "run frozenseg data prepare ade20k_full --classes FILE --overwrite"


def test_the_class_list_of_a_dataset_must_be_there_and_have_its_classes(tmp_path):
    write_pair(FULL, tmp_path, "a", label_map(0, dtype=np.uint16))
    assert "the class list is missing" in check(FULL, tmp_path).findings[0].problem
    (tmp_path / FULL.vocabulary).write_text("id\tname\n0\twall\n")
    finding = the_finding(check(FULL, tmp_path), "the dataset cannot be used")
    assert "has 1 classes" in finding.where[0]


def test_label_ids_of_cityscapes_are_not_train_ids(tmp_path):
    key = "aachen/aachen_000000_000019"
    write_pair(CITY, tmp_path, key, label_map(0, 18, 255))
    assert check(CITY, tmp_path).findings == []
    write_pair(CITY, tmp_path, key, label_map(7, 26, 33))
    finding = the_finding(check(CITY, tmp_path), "labelIds (0..33) are not labelTrainIds")
    assert finding.where[0].endswith("labels 26, 33")
    assert finding.remedy == "run frozenseg data prepare cityscapes --overwrite"


def test_instance_maps_of_cityscapes_hold_instance_ids(tmp_path):
    key = "aachen/aachen_000000_000019"
    write_pair(CITY_INSTANCES, tmp_path, key, label_map(7, 26, 26001, 33000, dtype=np.uint16))
    assert check(CITY_INSTANCES, tmp_path).findings == []
    for values in (label_map(7, 11000, dtype=np.uint16), label_map(7, 26)):
        write_pair(CITY_INSTANCES, tmp_path, key, values)
        the_finding(check(CITY_INSTANCES, tmp_path), "does not hold instanceIds")


def test_another_number_of_images_than_the_official_one_is_an_error_unless_a_part_is_meant(
    tmp_path,
):
    write_pair(ADE, tmp_path, "a", label_map(0, 255))
    finding = the_finding(check(ADE, tmp_path, subset=False), "has 1 images here, the official")
    assert "2000" in finding.problem
    assert "--subset" in finding.remedy
    assert check(replace(ADE, image_counts=(1, 2)), tmp_path, subset=False).errors == 0


@pytest.fixture
def instances(tmp_path):
    """ADE's instance row with one image and two objects."""
    row = find_split("openvocab_ade20k_instance_val")
    (tmp_path / row.images).mkdir(parents=True)
    Image.new("RGB", (8, 6)).save(tmp_path / row.images / "a.jpg")
    square = [[1, 1, 5, 1, 5, 5, 1, 5]]
    objects = [
        {"id": i, "image_id": 1, "category_id": 7, "bbox": [1, 1, 4, 4], "segmentation": square}
        for i in (1, 2)
    ]
    image = {"id": 1, "file_name": "a.jpg", "height": 6, "width": 8}
    (tmp_path / row.instance_json).write_text(
        json.dumps({"images": [image], "annotations": objects})
    )
    return row, tmp_path


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ({"category_id": 150}, "a category id is not one of the "),
        ({"image_id": 9}, "an annotation has an unknown image_id"),
        ({"bbox": [1, 1, 9, 4]}, "a box reaches out of its image"),
        ({"segmentation": [[1, 1, 2, 2]]}, "an object has no valid polygon"),
        ({"segmentation": {"size": [8, 6], "counts": "0"}}, "RLE of an object is not a mask"),
        ({"segmentation": {"size": [6, 8], "counts": "garbage"}}, "RLE of an object is not a mask"),
        ({"segmentation": {"size": [6, 8], "counts": [-1, 49]}}, "RLE of an object is not a mask"),
        ({"segmentation": [[1, 1, 5, float("nan"), 5, 5]]}, "a coordinate that is not finite"),
        ({"segmentation": [[1, 1, 5, float("inf"), 5, 5]]}, "a coordinate that is not finite"),
        ({"segmentation": [[1, 1, 1e9, 1, 5, 5]]}, "a polygon lies far out of its image"),
        ({"segmentation": [[1, 1, 19, 1, 5, 5]]}, "a polygon reaches out of its image"),
        ({"segmentation": [[2, 2, 2, 2, 2, 2]]}, "a polygon covers no pixel"),
        ({"segmentation": [[1, 1, 5, 1, 5, 5], [1, 1, 2]]}, "fewer than 3 points or half a point"),
        ({"segmentation": None}, "an object has a box but no mask"),
        ({"area": -4}, "area of an object is not a number of pixels"),
        ({"area": float("nan")}, "area of an object is not a number of pixels"),
        ({"area": 1e40}, "area of an object is not a number of pixels"),
    ],
)
def test_broken_objects_are_found(instances, damage, problem):
    row, root = instances
    assert check(row, root).findings == []
    edit(root / row.instance_json, lambda c: c["annotations"][1].update(damage))
    finding = the_finding(check(row, root), problem)
    assert "annotation 2" in finding.where[0]
    assert finding.remedy == "run frozenseg data prepare ade20k --parts instance --overwrite"


def test_no_objects_at_all_is_an_error(instances):
    row, root = instances
    edit(root / row.instance_json, lambda c: c.update(annotations=[]))
    the_finding(check(row, root), "the annotation file has no annotations")


def test_a_file_of_boxes_only_is_an_error(instances):
    row, root = instances
    for missing in ([], None):
        edit(
            root / row.instance_json,
            lambda c, gone=missing: [one.update(segmentation=gone) for one in c["annotations"]],
        )
        the_finding(check(row, root), "has boxes only: no object has a mask")


def test_an_image_that_no_computer_can_hold_is_refused_before_its_masks_are_drawn(instances):
    row, root = instances
    size = 1_000_000

    def enlarge(content):
        content["images"][0].update(height=size, width=size)
        rle = {"size": [size, size], "counts": [size * size]}
        content["annotations"][0]["segmentation"] = rle

    edit(root / row.instance_json, enlarge)
    found = check(row, root).findings
    assert "an impossible size" in found[0].problem
    assert found[0].where[0].endswith("image 1 has 1000000 x 1000000 pixels")


@pytest.mark.parametrize(
    ("damage", "level", "problem"),
    [
        (lambda c: c["images"].append(c["images"][0]), "error", "or the id of another one"),
        (lambda c: c["images"][0].pop("file_name"), "error", "an entry of images has no file"),
        (lambda c: c["annotations"][1].update(id=1), "warning", "of annotations have one id"),
        (
            lambda c: c.update(categories=[{"id": 7, "name": "a"}] * 2),
            *("error", "of categories have one id"),
        ),
    ],
)
def test_ids_that_occur_twice_are_found(instances, damage, level, problem):
    row, root = instances
    edit(root / row.instance_json, damage)
    [found] = [f for f in check(row, root).findings if problem in f.problem]
    assert found.level == level


@pytest.mark.parametrize(
    ("value", "level", "problem"),
    [
        ({"id": 2**24}, "error", "a segment id is not of 1..16777215"),
        ({"id": 0}, "error", "a segment id is not of 1..16777215"),
        ({"id": -3}, "error", "a segment id is not of 1..16777215"),
        ({"area": -4}, "warning", "area of a segment is not a number of pixels"),
        ({"area": 0}, "warning", "area of a segment is not a number of pixels"),
        ({"area": float("nan")}, "warning", "area of a segment is not a number of pixels"),
        ({"area": 1e40}, "warning", "area of a segment is not a number of pixels"),
    ],
)
def test_numbers_of_segments_are_in_their_range(shapes, value, level, problem):
    index = shapes / "shapes/panoptic_val.json"
    edit(index, lambda c: c["annotations"][1]["segments_info"][0].update(value))
    [found] = [f for f in check(SHAPES, shapes).findings if problem in f.problem]
    assert (found.level, found.count) == (level, 1)
    assert "panoptic_val.json: image " in found.where[0]


def test_a_panoptic_map_with_swapped_channels_or_as_jpeg_is_named(shapes):
    path = shapes / "shapes/panoptic_val/000001.png"
    rgb = read_panoptic_png(path)
    Image.fromarray(np.ascontiguousarray(rgb[..., ::-1])).save(path)
    assert the_finding(check(SHAPES, shapes), "red and blue swapped").where == [str(path)]
    Image.fromarray(rgb).save(path, format="JPEG")
    found = the_finding(check(SHAPES, shapes), "cannot be read")
    assert "a JPEG, which changes labels and ids; save it as PNG" in found.where[0]


def own_pairs(root, suffix):
    """A dataset of one's own whose masks end in `suffix`."""
    row = replace(ADE, origin=replace(ADE.origin, readme_section=""), vocabulary="sand; heart")
    row = replace(row, classes=0)
    for key in ("a", "b"):
        _, mask = write_pair(row, root, key, label_map(0, 1))
        mask.rename(mask.with_name(key + suffix))
    return row


@pytest.mark.parametrize("suffix", [".label.png", "_labels.png", ".tif"])
def test_masks_of_another_suffix_are_counted_in_the_hint(tmp_path, suffix):
    row = own_pairs(tmp_path, suffix)
    found = check(row, tmp_path).findings[0]
    folder = tmp_path / row.semantic_masks
    assert found.remedy == f"2 files *{suffix} in {folder}: set semantic_suffix: {suffix}"
    assert check(replace(row, semantic_suffix=suffix), tmp_path).errors == 0


def test_masks_with_capital_suffixes_belong_to_their_images(tmp_path):
    row = own_pairs(tmp_path, ".PNG")
    report = check(row, tmp_path)
    assert (report.findings, report.checked) == ([], 2)


def test_jpeg_masks_are_no_masks(tmp_path):
    row = own_pairs(tmp_path, ".jpg")
    assert "JPEG changes labels: make them again as PNG" in check(row, tmp_path).findings[0].remedy


def test_classes_without_a_pixel_are_named_with_what_is_ignored(tmp_path):
    row = own_pairs(tmp_path, ".png")
    assert check(row, tmp_path).findings == []
    for key in ("a", "b"):
        write_pair(row, tmp_path, key, label_map(0, 0, 0, 255))
    absent, alone = check(row, tmp_path).findings
    assert absent.problem == "1 of 2 classes occur nowhere; 25.0 % of the pixels are ignored"
    assert absent.where == ["heart"]
    assert "only one class occurs" in alone.problem
    assert alone.where == ["sand"]


def turn(path, orientation, size=SIZE):
    image = Image.new("RGB", size[::-1])
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)


def test_an_image_that_exif_turns_is_named_and_can_be_read_as_stored(instances):
    row, root = instances
    path = root / row.images / "a.jpg"
    turn(path, 6)
    report = check(row, root)
    assert "different sizes" in report.findings[0].problem
    assert "set `exif: ignore` in the dataset's YAML" in report.findings[0].remedy
    assert report.findings[1].where == [f"{path}: orientation 6"]
    ignored = check(replace(row, exif="ignore"), root)
    assert (ignored.errors, ignored.findings[0].problem) == (0, "EXIF data would turn an image")
    for orientation in (2, 3, 4):  # turned, but of the same size
        turn(path, orientation)
        assert (check(row, root).errors, len(check(row, root).findings)) == (0, 1)
    turn(path, 1)
    assert check(row, root).findings == []


def test_names_stand_for_rows_benchmarks_files_and_what_is_there(tmp_path):
    names = [f"miniature_{split}_panoptic" for split in ("val", "train", "dev")]
    rows = tuple(find_split(name) for name in names)
    assert rows_named(["miniature_val_panoptic", "miniature"], tmp_path) == rows
    assert rows_named(["ade20k_sem_seg_val"], tmp_path) == (ADE,)
    write_miniature(tmp_path / "miniature", {"train": 1, "dev": 1, "val": 1})
    assert {row.name for row in rows_named(["all"], tmp_path)} == set(names)
    with pytest.raises(ValueError, match="did you mean"):
        rows_named(["miniatur_val"], tmp_path)
    with pytest.raises(FileNotFoundError, match=r"own\.yaml"):
        rows_named([str(tmp_path / "own.yaml")], tmp_path)


def test_state_says_how_much_is_there(shapes, tmp_path):
    assert (state(SHAPES, shapes), state(ADE, shapes)) == ("yes", "missing")
    shutil.rmtree(shapes / "shapes/panoptic_val")
    assert state(SHAPES, shapes) == "lacks shapes/panoptic_val"
    assert is_started(SHAPES, shapes)
    assert not is_started(ADE, shapes)


def test_samples_are_spread_evenly():
    assert spread(list(range(10)), 3) == [0, 3, 6]
    for number in (0, 10, 11):
        assert spread(list(range(10)), number) == list(range(10))


def test_a_long_list_of_files_is_cut_in_the_text_and_counted(shapes):
    shutil.rmtree(shapes / "shapes/val")
    (shapes / "shapes/val").mkdir()
    report = check(SHAPES, shapes)
    text = report.text()
    assert "problems found (4 images, 0 of them read)" in text
    assert "error: the image of an annotation is missing (4 times)" in text
    assert "and 1 more" in text
    assert report.as_dict()["ok"] is False
    assert len(report.as_dict()["findings"][0]["where"]) == 4
