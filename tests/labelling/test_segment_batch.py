"""SegmentBatch with the miniature model: rows are the segmenter's; pickling; COCO; the command."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from frozenseg.cli import label, program
from frozenseg.cli.main import parser_of
from frozenseg.files import sample_image
from frozenseg.labelling.schema import SCHEMA, table_of
from frozenseg.labelling.segment_batch import COLUMNS, SegmentBatch

WORDS = "circle; square; triangle, three corners; grass:stuff"


@pytest.fixture(scope="module")
def batch() -> SegmentBatch:
    return SegmentBatch(vocabulary=WORDS, device="cpu", batch_size=1, embeddings=True)


def make_images(folder: Path) -> list[Path]:
    folder.mkdir()
    with Image.open(sample_image()) as scene:
        for turn, size in ((0, (96, 96)), (90, (96, 96)), (180, (120, 96))):
            scene.convert("RGB").rotate(turn).resize(size).save(folder / f"{turn:03d}.png")
    (folder / "bad.png").write_bytes(b"no image")
    return sorted(folder.iterdir())


def test_the_columns_are_those_of_the_schema():
    assert tuple(SCHEMA.names) == COLUMNS


def test_rows_are_what_the_segmenter_finds(batch, tmp_path):
    paths = make_images(tmp_path / "images")
    columns = batch({"path": np.array([str(path) for path in paths], dtype=object)})
    rows = table_of(columns).to_pylist()
    count = 0
    for path in paths[:3]:
        of_image = [row for row in rows if row["path"] == str(path)]
        expected = batch.segmenter(path, WORDS)
        assert [row["class_name"] for row in of_image] == [each.name for each in expected]
        for row, each in zip(of_image, expected, strict=True):
            rle = {"size": [row["height"], row["width"]], "counts": row["rle"]}
            np.testing.assert_array_equal(coco_mask.decode(rle).astype(bool), each.mask)
            assert tuple(row["box"]) == each.box
            assert row["area"] == each.mask.sum()
            assert np.linalg.norm(row["embedding"]) == pytest.approx(1, abs=1e-5)
            count += 1
    assert count >= 3
    [bad] = [row for row in rows if row["path"].endswith("bad.png")]
    assert "not an image" in bad["error"]
    assert bad["segment_id"] is None


def test_bytes_pixels_and_frames_give_the_same_and_it_can_be_pickled(batch, tmp_path):
    path = make_images(tmp_path / "images")[0]
    expected = batch({"path": [str(path)]})
    pixels = np.asarray(Image.open(path))
    copy = pickle.loads(pickle.dumps(batch))
    for columns in ({"bytes": [path.read_bytes()]}, {"image": [pixels]}):
        found = copy({**columns, "path": [str(path)]})
        assert found == expected
    [frame] = batch.pandas([pd.DataFrame({"path": [str(path)]})])
    assert list(frame["rle"]) == expected["rle"]


def run_label(*words: object) -> int:
    args = parser_of("label").parse_args(list(map(str, words)))
    with pytest.raises(SystemExit) as done:
        program.run(label.main, args)
    return int(done.value.code)


def test_the_command_with_coco(tmp_path, capsys):
    make_images(tmp_path / "images")
    out = tmp_path / "out"
    common = (tmp_path / "images", "--output", out, "--device", "cpu", "--coco", "panoptic")
    assert run_label(*common, "--words", WORDS) == label.EXIT_WITH_ERRORS
    assert "4 images" in capsys.readouterr().out
    content = json.loads((out / "coco" / "panoptic.json").read_text())
    frame = pd.read_parquet(out / "parts")
    assert len(content["images"]) == 3
    written = [each["area"] for a in content["annotations"] for each in a["segments_info"]]
    assert sorted(written) == sorted(frame["area"].dropna())
    assert len(pq.read_table(out / "parts")) == len(frame)
    assert run_label(*common, "--words", "cat") == program.EXIT_USER_ERROR
    said = capsys.readouterr().err
    assert "other words" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("text", ["3/3", "x", "1/0", "1"])
def test_shards_that_are_none(text, capsys):
    with pytest.raises(SystemExit):
        parser_of("label").parse_args(["in", "--output", "out", "--shard", text])
    assert "expects I/N" in capsys.readouterr().err
