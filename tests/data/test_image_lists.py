"""Lists of the images of a split, for every kind of annotation."""

from __future__ import annotations

import pytest

from frozenseg.data.catalog.lookup import row_vocabulary
from frozenseg.data.catalog.own_datasets import read_dataset_file
from frozenseg.data.records import load_records
from frozenseg.data.verify.run import verify
from tests.own_photographs import write_photographs

KINDS = {
    "panoptic": "panoptic_json: panoptic.json\npanoptic_masks: panoptic\n",
    "instances": "instance_json: instances.json\n",
    "labels": "semantic_masks: labels\nclasses: [grass:stuff, cup, ball]\n",
}
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def row_of(tmp_path):
    """Makes the row of a kind with a list of the given content."""
    write_photographs(tmp_path)

    def make(kind, content):
        (tmp_path / "list.txt").write_bytes(content)
        text = f"name: kitchen\nimages: photos\nimage_list: list.txt\n{KINDS[kind]}"
        (tmp_path / "own.yaml").write_text(text)
        [row] = read_dataset_file(tmp_path / "own.yaml")
        return row

    return make


def names(row, root):
    records = load_records(row, row_vocabulary(row), root)
    return [record["file_name"].rpartition("/")[2] for record in records]


@each_kind
@pytest.mark.parametrize(
    "content",
    [
        b"photo_4\nphoto_1\n",
        b"\xef\xbb\xbfphoto_1.jpg\r\n\r\n photo_4.jpg \r\nphoto_4",
        b"photo_1\nphoto_4.jpg",
    ],
)
def test_names_with_and_without_suffix_in_the_order_of_the_dataset(row_of, tmp_path, kind, content):
    row = row_of(kind, content)
    assert names(row, tmp_path) == ["photo_1.jpg", "photo_4.jpg"]
    report = verify(row, tmp_path, progress=False)
    assert (report.findings, report.images, report.checked) == ([], 2, 2)


@each_kind
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"photo_4\nphoto_9\n", r"list\.txt, line 2: 'photo_9'.*one name a line.*'photo_\d\.jpg'"),
        (b"photos/photo_4.jpg\n", r"line 1: 'photos/photo_4\.jpg'.*: 'photo_4\.jpg'"),
        (b"photo_4.JPG\n", r"line 1: 'photo_4\.JPG'.*: 'photo_4\.jpg'"),
        (b"photo_4.jpg photo_4.png\n", r"line 1: 'photo_4\.jpg photo_4\.png'"),
        (b" \n\n", r"list\.txt: the list names no image"),
        ("photo_4".encode("utf-16"), r"list\.txt: not UTF-8 text"),
    ],
)
def test_a_name_in_vain_is_an_error_with_its_line(row_of, tmp_path, kind, content, said):
    row = row_of(kind, content)
    with pytest.raises(ValueError, match=said):
        load_records(row, row_vocabulary(row), tmp_path)
    assert verify(row, tmp_path, progress=False).errors


def test_masks_and_photographs_of_no_list_do_not_matter(row_of, tmp_path):
    row = row_of("labels", b"photo_1\n")
    (tmp_path / "labels" / "photo_0.png").unlink()
    (tmp_path / "photos" / "photo_5.jpg").unlink()
    assert names(row, tmp_path) == ["photo_1.jpg"]
    (tmp_path / "labels" / "photo_1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"photo_1\.jpg: an image has no mask"):
        names(row, tmp_path)


def test_a_missing_list_is_named(row_of, tmp_path):
    row = row_of("panoptic", b"photo_1")
    (tmp_path / "list.txt").unlink()
    [finding] = verify(row, tmp_path, progress=False).findings
    assert finding.problem == "the list of images is missing"
    assert finding.where == [str(tmp_path / "list.txt")]
    with pytest.raises(FileNotFoundError, match=r"list\.txt: no such file; check image_list"):
        names(row, tmp_path)


def test_a_file_with_other_letters_than_the_annotation_says_is_named(row_of, tmp_path):
    row = row_of("panoptic", b"photo_1")
    (tmp_path / "photos" / "photo_1.jpg").rename(tmp_path / "photos" / "Photo_1.JPG")
    [finding] = verify(row, tmp_path, progress=False).findings
    assert "photo_1.jpg (there is 'Photo_1.JPG': the names must be the same)" in finding.where[0]
