import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from frozenseg.predict.coco_export import save_coco
from frozenseg.predict.segmentation import from_label_map, from_masks
from frozenseg.vocab import Vocabulary

WORDS = Vocabulary.parse("cat, kitten; dog; sky:stuff")


def panoptic(shift=0):
    label_map = np.zeros((20, 30), dtype=np.int32)
    label_map[2:6, 3 + shift : 10 + shift] = 4
    label_map[2:6, 20:25] = 300
    label_map[10:, :] = 9
    return from_label_map(label_map, {4: 0, 300: 0, 9: 2}, WORDS, "panoptic", {4: 0.75})


def instances():
    one, other = np.zeros((2, 20, 30), dtype=bool)
    one[:6], other[4:12, 5:] = True, True
    return from_masks([(one, 0, 0.9), (other, 1, 0.6)], (20, 30), WORDS)


def semantic():
    label_map = np.ones((20, 30), dtype=np.int32)
    label_map[10:] = 3
    return from_label_map(label_map, {1: 0, 3: 2}, WORDS, "semantic")


def evaluate_panoptic(truth, predicted):
    """panopticapi's counts by category of one export against another."""
    from panopticapi.evaluation import pq_compute_single_core

    contents = [json.loads(path.read_text()) for path in (truth, predicted)]
    pairs = list(zip(*(content["annotations"] for content in contents), strict=True))
    categories = {each["id"]: each for each in contents[0]["categories"]}
    folders = [str(path.with_suffix("")) for path in (truth, predicted)]
    return pq_compute_single_core(0, pairs, *folders, categories)


def test_panopticapi_accepts_the_panoptic_format(tmp_path):
    truth = save_coco([panoptic(), panoptic()], tmp_path / "a")
    same = save_coco(iter([panoptic(), panoptic()]), tmp_path / "b")
    moved = save_coco([panoptic(), panoptic(shift=9)], tmp_path / "c")
    result = evaluate_panoptic(truth, same)
    assert [(result[i].tp, result[i].fp, result[i].fn) for i in (1, 2, 3)] == [
        (4, 0, 0), (0, 0, 0), (2, 0, 0)
    ]  # fmt: skip
    assert result[1].iou == pytest.approx(4)
    assert evaluate_panoptic(truth, moved)[1].tp == 3


def test_panoptic_file(tmp_path):
    path = panoptic().save_coco(tmp_path)
    content = json.loads(path.read_text())
    assert path == tmp_path / "panoptic.json"
    (annotation,) = content["annotations"]
    rgb = np.asarray(Image.open(tmp_path / "panoptic" / annotation["file_name"])).astype(int)
    assert np.array_equal(rgb @ [1, 256, 65536], panoptic().label_map)
    by_id = {segment["id"]: segment for segment in annotation["segments_info"]}
    assert by_id[4]["bbox"] == [3, 2, 7, 4]
    assert (by_id[4]["area"], by_id[4]["category_id"], by_id[4]["score"]) == (28, 1, 0.75)
    assert [c["isthing"] for c in content["categories"]] == [1, 1, 0]


def test_pycocotools_accepts_the_instance_format(tmp_path):
    path = save_coco([instances(), instances()], tmp_path)
    coco = COCO(str(path))
    assert len(coco.imgs) == 2
    assert [each["name"] for each in coco.loadCats(coco.getCatIds())] == list(WORDS.names)
    found = coco.loadAnns(coco.getAnnIds(imgIds=[2]))
    for annotation, segment in zip(found, instances().segments, strict=True):
        assert np.array_equal(coco.annToMask(annotation).astype(bool), segment.mask)
        assert annotation["score"] == segment.score
    results = coco.loadRes(json.loads(path.read_text())["annotations"])
    assert len(results.anns) == 4


def test_instances_of_panoptic_results_are_the_things(tmp_path):
    content = json.loads(save_coco(panoptic(), tmp_path, "instance").read_text())
    assert [each["category_id"] for each in content["annotations"]] == [1, 1]


@pytest.mark.parametrize("make", [semantic, panoptic])
def test_semantic_format(make, tmp_path):
    path = save_coco(make(), tmp_path, "semantic")
    coco = COCO(str(path))
    (image,) = coco.imgs.values()
    png = tmp_path / "semantic" / f"{1:012d}.png"
    category_map = np.asarray(Image.open(png))
    assert category_map.shape == (image["height"], image["width"])
    assert set(np.unique(category_map)) - {0} == {1, 3}
    for annotation in coco.anns.values():
        mask = coco_mask.decode(annotation["segmentation"]).astype(bool)
        assert np.array_equal(mask, category_map == annotation["category_id"])


def test_names_come_from_the_images_and_never_clash(tmp_path):
    given = [dataclasses.replace(panoptic(), source=f"{folder}/a.jpg") for folder in "xyz"]
    content = json.loads(save_coco(given, tmp_path).read_text())
    assert [each["file_name"] for each in content["images"]] == ["x/a.jpg", "y/a.jpg", "z/a.jpg"]
    names = [each["file_name"] for each in content["annotations"]]
    assert len(set(names)) == 3
    assert all((tmp_path / "panoptic" / name).is_file() for name in names)


def test_ids_and_names_of_the_dataset(tmp_path):
    annotations = tmp_path / "annotations.json"
    images = [{"id": 17, "file_name": "y/a.jpg"}, {"id": 4, "file_name": "x/a.jpg"}]
    annotations.write_text(json.dumps({"images": images, "annotations": []}))
    given = [dataclasses.replace(panoptic(), source=f"/data/{name}/a.jpg") for name in "xy"]
    content = json.loads(save_coco(given, tmp_path, dataset=annotations).read_text())
    assert [(each["id"], each["file_name"]) for each in content["images"]] == [
        (4, "x/a.jpg"), (17, "y/a.jpg")
    ]  # fmt: skip
    assert [each["image_id"] for each in content["annotations"]] == [4, 17]
    other = dataclasses.replace(panoptic(), source="/data/z/b.jpg")
    with pytest.raises(ValueError, match=r"annotations\.json: no image has the file name.*b\.jpg"):
        save_coco(other, tmp_path, dataset=annotations)


def test_all_files_of_results_have_one_category_id(tmp_path):
    segmentation = panoptic()
    exported = json.loads(segmentation.save_coco(tmp_path).read_text())
    own = segmentation.to_json()
    ids = {each["id"]: each["category_id"] for each in own["segments"]}
    (annotation,) = exported["annotations"]
    assert {each["id"]: each["category_id"] for each in annotation["segments_info"]} == ids
    assert [each["category_id"] for each in own["vocabulary"]] == [1, 2, 3]
    benchmark = Vocabulary.from_table("coco_panoptic")
    other = from_label_map(np.ones((2, 2), int), {1: 132}, benchmark, "panoptic")
    assert other.to_json()["segments"][0]["category_id"] == 200


def test_category_ids_of_a_benchmark():
    assert WORDS.category_ids == (1, 2, 3)
    assert Vocabulary.from_table("coco_panoptic").category_ids[-1] == 200


def test_what_cannot_be_exported(tmp_path):
    with pytest.raises(ValueError, match=r"panoptic format needs panoptic results.*semantic"):
        save_coco(semantic(), tmp_path, "panoptic")
    with pytest.raises(ValueError, match="unknown COCO format 'boxes'"):
        save_coco(semantic(), tmp_path, "boxes")
    with pytest.raises(ValueError, match="nothing to export"):
        save_coco([], tmp_path)
    other = from_label_map(np.ones((2, 2), int), {1: 0}, Vocabulary.parse("cow"), "panoptic")
    with pytest.raises(ValueError, match="different words"):
        save_coco([panoptic(), other], tmp_path)
