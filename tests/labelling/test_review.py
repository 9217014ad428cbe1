"""What the review shows, and that verdicts and the export of the accepted agree."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from frozenseg.labelling import review as reviews
from frozenseg.labelling.inputs import plan
from frozenseg.labelling.parts import Manifest, PartWriter, part_of, rows_of, write_plan
from frozenseg.labelling.review import Review, key_of
from frozenseg.predict.model_manifest import rows_of as rows_of_words
from frozenseg.vocab import Vocabulary

WORDS = Vocabulary.from_names(["cat", "dog", "sky:stuff"])


def rows_of_image(image_id: int, path: str, vector: list[float]) -> list[dict]:
    """A cat on the left and a dog on the right half."""
    rows = []
    for segment_id, left in ((1, 0), (2, 8)):
        mask_HW = np.zeros((16, 16), np.uint8, order="F")
        mask_HW[:, left : left + 8] = 1
        rows.append(
            {
                "image_id": image_id,
                "path": path,
                "height": 16,
                "width": 16,
                "segment_id": segment_id,
                "class_name": WORDS.names[segment_id - 1],
                "class_index": segment_id - 1,
                "score": 0.5 + (image_id % 7) / 20,
                "area": 128,
                "box": [left, 0, 8, 16],
                "rle": coco_mask.encode(mask_HW)["counts"],
                "embedding": vector,
                "error": None,
            }
        )
    return rows


@pytest.fixture
def job(tmp_path: Path) -> tuple[Path, Manifest]:
    """Three parts of four images; images 1 and 1,000,001 look alike; the last one is broken."""
    source, output = tmp_path / "images", tmp_path / "out"
    source.mkdir()
    for i in range(12):
        Image.new("RGB", (16, 16), (20 * i, 0, 0)).save(source / f"{i:02d}.png")
    found = plan(str(source), 4)
    name, blocks = write_plan(output, found.blocks)
    random = np.random.default_rng(0)
    for block in range(blocks):
        rows = []
        for i in range(4):
            vector = random.normal(size=64)
            if i == 1 and block < 2:
                vector = np.ones(64)
            vector /= np.linalg.norm(vector)
            path = str(source / f"{4 * block + i:02d}.png")
            rows += rows_of_image(block * 1_000_000 + i, path, vector.tolist())
        writer = PartWriter(part_of(output, block))
        writer.add({key: [row[key] for row in rows] for key in rows[0]})
        writer.close()
    manifest = Manifest(
        input=str(source),
        kind="images",
        column="",
        plan=name,
        blocks=blocks,
        images=12,
        model={"name": "none", "digest": ""},
        words=WORDS.digest,
        vocabulary=rows_of_words(WORDS),
        task="panoptic",
        settings={"embeddings": True},
    )
    return output, manifest


def rows(review: Review, view: str, index: int = 0) -> list[dict]:
    return rows_of(review.output, review.segments(view, index))


def test_views_of_a_class(job):
    review = Review(*job)
    assert review.counts == {0: 12, 1: 12}
    assert {row["class_name"] for row in rows(review, "samples")} == {"cat"}
    assert len({row["image_id"] for row in rows(review, "samples")}) == 12
    scores = [row["score"] for row in rows(review, "lowest scores", 1)]
    assert scores == sorted(scores)
    pair = [row["image_id"] for row in rows(review, "near-duplicates")]
    assert sorted(pair) == [1, 1_000_001]


def test_no_more_are_kept_than_can_be_looked_at(job, monkeypatch):
    monkeypatch.setattr(reviews, "MOST", 5)
    review = Review(*job)
    table = pq.read_table(review.output / "parts").to_pylist()
    lowest = sorted(row["score"] for row in table if row["class_index"] == 0)[:5]
    assert [row["score"] for row in rows(review, "lowest scores")] == lowest
    assert len({key_of(row) for row in rows(review, "samples")}) == 5


def test_verdicts_are_kept_and_the_accepted_are_exported(job):
    review = Review(*job)
    with pytest.raises(ValueError, match="nothing to export"):
        review.export()
    for key, verdict in {"0/1": "accepted", "2/2": "rejected", "1000001/2": "accepted"}.items():
        review.verdicts.set(key, verdict)
    review.verdicts.set("3/1", "accepted")
    review.verdicts.set("3/1", None)
    again = Review(*job)
    assert Counter(again.verdicts.read().values()) == {"accepted": 2, "rejected": 1}
    content = json.loads(again.export().read_text())
    assert [image["file_name"] for image in content["images"]] == ["00.png", "05.png"]
    found = [each["segments_info"] for each in content["annotations"]]
    assert [[each["category_id"] for each in of_image] for of_image in found] == [[1], [2]]


def test_a_damaged_file_of_verdicts_is_one_clear_error(job):
    review = Review(*job)
    (review.output / reviews.VERDICTS).write_text('{"verdicts": {"0/1": "maybe"}}')
    with pytest.raises(ValueError, match=r"verdicts\.json: .*mend it or delete it"):
        review.verdicts.read()


def test_nothing_to_review(job):
    output, manifest = job
    for path in (output / "parts").rglob("*.parquet"):
        path.unlink()
    with pytest.raises(ValueError, match="nothing to review"):
        Review(output, manifest)


def test_without_embeddings_near_duplicates_say_what_they_need(job):
    output, manifest = job
    manifest.settings["embeddings"] = False
    with pytest.raises(ValueError, match="--embeddings"):
        Review(output, manifest).segments("near-duplicates", 0)


def test_the_pages_actions(job):
    pytest.importorskip("gradio")
    from frozenseg.web.review_page import SHOWN, Actions, build_review_page

    actions = Actions(Review(*job))
    build_review_page(actions)
    first = next(iter(actions.classes))
    page, message, *places = actions.show(first, "samples", 5)
    assert page == 1
    assert "0 accepted" in message
    assert len(places) == 2 * SHOWN
    assert places[0]["value"].startswith('<figure class="fs-tile"><div><img src="data:image/png')
    assert "1 rejected" in actions.judge(3, "rejected", first, "samples", 1)
    *_, _, last = actions.accept_open(first, "samples", 1)
    assert last["value"] == "accepted"
    assert Counter(actions.review.verdicts.read().values()) == {"accepted": 11, "rejected": 1}
    assert "accepted/panoptic.json" in actions.export()
