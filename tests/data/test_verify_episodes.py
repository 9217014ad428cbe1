"""`verify` finds what is wrong with label maps and index of an episodic dataset."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from frozenseg.data.catalog.lookup import find_split
from frozenseg.data.verify.run import is_started, state, verify
from tests.data.raw_datasets import make_pascal_5i, run_prepare

ROW = find_split("pascal_5i_fold1_val")
LABELS = "VOCdevkit/VOC2012/SegmentationClassAug/2007_000033.png"
AGAIN = "run frozenseg data prepare pascal_5i --overwrite"


@pytest.fixture
def root(tmp_path):
    make_pascal_5i(tmp_path)
    assert run_prepare("pascal_5i", tmp_path) == 0
    return tmp_path


def check(root, **options):
    return verify(ROW, root, progress=False, **{"subset": True, **options})


def edit(root, change):
    path = root / ROW.episodes_json
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_prepared_dataset_is_in_order(root):
    report = check(root)
    assert report.findings == []
    assert (report.images, report.checked) == (2, 2)


def test_the_official_number_of_images_is_that_of_the_index(root):
    [finding] = check(root, subset=False).findings
    assert finding.problem == "the split has 2 images here, the official one has 1449"


def test_a_label_map_that_was_changed_later_is_found(root):
    with Image.open(root / LABELS) as image:
        values = np.array(image)
    values[10, 12] = 20  # a pixel of the cat
    Image.fromarray(values).save(root / LABELS)
    [finding] = check(root).findings
    assert finding.problem.startswith("a label map is not what the index of episodes says")
    assert finding.remedy == AGAIN
    assert finding.where == [f"{root / LABELS}: label 8 has 399 pixels, the index says 400"]


def test_a_class_that_the_index_lists_and_no_map_has_is_found(root):
    edit(root, lambda content: content["images"][0]["pixels"].update({"3": 9}))
    [finding] = check(root).findings
    assert finding.where == [f"{root / LABELS}: label 3 has 0 pixels, the index says 9"]


def test_an_index_without_a_class_of_the_row_is_an_error(root):
    def empty(content):
        for entry in content["images"]:
            entry["pixels"] = {"1": 5}

    edit(root, empty)
    first, *_ = check(root, images=1).findings
    assert first.problem == "no image has one of the 5 classes"
    assert first.remedy == AGAIN


def test_missing_files_of_an_entry_are_found(root):
    (root / LABELS).unlink()
    image = root / ROW.images / "2007_000042.jpg"
    image.unlink()
    one, two = check(root).findings
    assert (one.problem, one.where) == ("the image of an annotation is missing", [str(image)])
    assert one.remedy == "see datasets/README.md, section PASCAL-5i"
    assert (two.problem, two.where) == (
        "the label map of an annotation is missing",
        [str(root / LABELS)],
    )
    assert two.remedy == "run frozenseg data prepare pascal_5i"


@pytest.mark.parametrize("text", ["{", '{"images": []}'])
def test_a_damaged_index_is_an_error(root, text):
    (root / ROW.episodes_json).write_text(text)
    [finding] = check(root).findings
    assert finding.problem == "the dataset cannot be used"
    assert finding.remedy == AGAIN
    assert re.match(re.escape(str(root / ROW.episodes_json)), finding.where[0])


def test_only_a_split_with_an_index_was_begun(root):
    train = find_split("pascal_5i_fold1_train")
    assert is_started(ROW, root)
    assert not is_started(train, root)  # though its folder of label maps is there
    assert state(ROW, root) == "yes"
    assert state(train, root) == "lacks pascal_5i/train.json"
