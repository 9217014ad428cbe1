"""Jobs with a fake model: what stands for images, exactly one row each, resuming, engines."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyarrow import fs

from frozenseg.labelling import job as jobs
from frozenseg.labelling.engine import Counts, LocalEngine
from frozenseg.labelling.inputs import Store, members, plan
from frozenseg.labelling.job import BlockWorker, Job, missing, prepare, run
from frozenseg.labelling.parts import part_of
from frozenseg.labelling.segment_batch import COLUMNS, SegmentBatch


class FakeBatch(SegmentBatch):
    """Reads as the real one, and finds one segment per image, of its first pixel's red."""

    batch_size = 2

    def __init__(self, source="", words="cat", seconds=0.0):
        from concurrent.futures import ThreadPoolExecutor

        self._threads, self._store = ThreadPoolExecutor(2), Store(source)
        self.words, self.seconds = words, seconds

    def segment(self, images):
        time.sleep(self.seconds)
        columns = {name: [None] * len(images) for name in COLUMNS}
        for i, each in enumerate(images):
            columns["image_id"][i], columns["path"][i] = each.image_id, each.path
            columns["error"][i] = each.error
            if each.image_HW3 is not None:
                columns["segment_id"][i] = 1
                columns["area"][i] = int(each.image_HW3[0, 0, 0])
        return columns

    def identity(self):
        return {
            "model": {"name": "fake", "digest": "0"},
            "words": self.words,
            "vocabulary": [],
            "task": "panoptic",
            "settings": {"edges": [1, 2]},
        }


def png(red: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (red, 0, 0)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    (images / "deep").mkdir(parents=True)
    for i in range(25):
        (images / ("deep" if i % 3 else ".") / f"{i:03d}.png").write_bytes(png(i))
    (images / "notes.md").write_text("left out")
    return images


def label(source: object, output: Path, *, words: str = "cat", **more):
    job = Job(str(source), output, {"words": words}, block_size=4, **more)
    engine = LocalEngine(partial(BlockWorker, job, FakeBatch))
    return run(engine, missing(job, prepare(job, engine)))


def rows(output: Path) -> list[dict]:
    return pq.read_table(output / "parts").to_pylist()


def reds(output: Path) -> list[int]:
    return sorted(row["area"] for row in rows(output) if row["error"] is None)


def test_every_image_has_its_row_and_a_second_call_computes_nothing(folder, tmp_path):
    report = label(folder, tmp_path / "out")
    assert report.done == Counts(25, 25, 0)
    assert reds(tmp_path / "out") == list(range(25))
    assert len({row["image_id"] for row in rows(tmp_path / "out")}) == 25
    again = label(folder, tmp_path / "out")
    assert (again.kept, again.done) == (Counts(25, 25, 0), Counts())


def test_shards_together_make_the_whole(folder, tmp_path):
    for index in range(3):
        label(folder, tmp_path / "out", shard=(index, 3))
    assert reds(tmp_path / "out") == list(range(25))


def test_only_missing_parts_are_computed_again(folder, tmp_path):
    label(folder, tmp_path / "out")
    before = rows(tmp_path / "out")
    part_of(tmp_path / "out", 2).unlink()
    assert label(folder, tmp_path / "out").done == Counts(4, 4, 0)
    assert rows(tmp_path / "out") == before


def test_other_words_or_another_input_never_mix(folder, tmp_path):
    label(folder, tmp_path / "out")
    with pytest.raises(ValueError, match=r"manifest\.json: .* other words.*another --output"):
        label(folder, tmp_path / "out", words="dog")
    with pytest.raises(ValueError, match="input"):
        label(folder / "deep", tmp_path / "out")


def test_a_broken_image_is_a_row_and_is_computed_again_when_asked(folder, tmp_path):
    (folder / "003.png").write_bytes(b"broken")
    (folder / "006.png").write_bytes(b"")
    report = label(folder, tmp_path / "out")
    assert report.total == Counts(25, 23, 2)
    errors = sorted(row["error"] for row in rows(tmp_path / "out") if row["error"])
    assert "003.png: not an image" in errors[0]
    assert "empty" in errors[1]
    (folder / "003.png").write_bytes(png(3))
    (folder / "006.png").write_bytes(png(6))
    assert label(folder, tmp_path / "out").total.errors == 2
    assert label(folder, tmp_path / "out", again=True).total == Counts(25, 25, 0)


def make_tar(path: Path, numbers: range) -> None:
    with tarfile.open(path, "w") as tar:
        for i in numbers:
            for name, data in ((f"{i:03d}.png", png(i)), (f"{i:03d}.txt", b"words")):
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))


def test_tars_cut_off_and_unreadable(tmp_path):
    source = tmp_path / "tars"
    source.mkdir()
    make_tar(source / "a.tar", range(10))
    make_tar(source / "b.tar", range(10, 20))
    data = (source / "b.tar").read_bytes()
    (source / "b.tar").write_bytes(data[: 512 * 4 * 5 + 530])
    (source / "c.tar").write_bytes(b"no tar at all" * 100)
    report = label(source, tmp_path / "out")
    assert reds(tmp_path / "out") == list(range(15))
    assert report.total.errors == 2
    assert {"a.tar#000.png"} < {Path(row["path"]).name for row in rows(tmp_path / "out")}


@pytest.mark.parametrize("kind", ["path", "bytes", "image"])
def test_parquet_of_paths_of_bytes_and_as_the_hub_has_it(kind, folder, tmp_path):
    paths = sorted(folder.rglob("*.png"))
    values = {
        "path": [str(path) for path in paths],
        "bytes": [path.read_bytes() for path in paths],
        "image": [{"bytes": path.read_bytes(), "path": path.name} for path in paths],
    }[kind]
    table = pa.table({kind: values, "other": list(range(25))})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=7)
    assert label(tmp_path / "in.parquet", tmp_path / "out").total == Counts(25, 25, 0)
    assert reds(tmp_path / "out") == list(range(25))


def test_lists_patterns_and_addresses(folder, tmp_path):
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
    (folder / "list.txt").write_text("\n".join([*names, "gone.png", ""]), encoding="utf-8")
    report = label(folder / "list.txt", tmp_path / "list")
    assert report.total == Counts(26, 25, 1)
    assert label(f"{folder}/deep/*.png", tmp_path / "glob").total.images == 16
    assert label(folder.as_uri(), tmp_path / "uri").total == Counts(25, 25, 0)
    assert label(f"{folder.as_uri()}/**/*.png", tmp_path / "urip").total.images == 25


def test_a_filesystem_of_pyarrow(folder):
    store = Store("", fs.SubTreeFileSystem(str(folder), fs.LocalFileSystem()))
    found = plan("deep", 100, store=store)
    [block] = list(found.blocks)
    assert len(block) == 16
    assert next(m.path for m in members("images", "", block, store)) == "deep/001.png"
    assert store.read("deep/001.png") == png(1)


@pytest.mark.parametrize(
    ("text", "said"),
    [("{}/none", "no image"), ("gopher://x/y", "no filesystem"), ("{}/empty.txt.d", "no image")],
)
def test_nothing_to_label_is_one_clear_error(text, said, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        label(text.format(tmp_path), tmp_path / "out")


def test_two_kinds_in_a_folder_are_refused(folder, tmp_path):
    make_tar(folder / "a.tar", range(2))
    with pytest.raises(ValueError, match=r"holds both .*pattern"):
        label(folder, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_block_that_fails_has_no_part_and_the_others_go_on(folder, tmp_path, monkeypatch):
    real = FakeBatch.segment

    def fails(self, images):
        if any(image.path.endswith("007.png") for image in images):
            raise RuntimeError("device lost")
        return real(self, images)

    monkeypatch.setattr(FakeBatch, "segment", fails)
    report = label(folder, tmp_path / "out")
    assert list(report.failed.values()) == ["RuntimeError: device lost"]
    monkeypatch.setattr(FakeBatch, "segment", real)
    label(folder, tmp_path / "out")
    assert reds(tmp_path / "out") == list(range(25))


def test_reading_goes_no_further_than_one_window_ahead():
    asked: list[int] = []
    stream = jobs._ahead(lambda value: value, (asked.append(i) or i for i in range(100)))
    assert next(stream) == 0
    time.sleep(0.05)
    assert len(asked) <= 2


PROGRAM = """
import sys
from pathlib import Path
from tests.labelling.test_job import FakeBatch
from frozenseg.labelling.engine import LocalEngine
from frozenseg.labelling.job import BlockWorker, Job, missing, prepare, run
job = Job(sys.argv[1], Path(sys.argv[2]), {"seconds": 0.01}, block_size=4)
engine = LocalEngine(lambda: BlockWorker(job, FakeBatch))
run(engine, missing(job, prepare(job, engine)))
"""


@pytest.mark.slow
def test_twenty_kills_leave_every_image_once_and_no_half_part(folder, tmp_path):
    for i in range(25, 400):
        (folder / f"{i:03d}.png").write_bytes(png(i % 256))
    command = [sys.executable, "-c", PROGRAM, str(folder), str(tmp_path / "out")]
    choose, kills = random.Random(1), 0
    for _ in range(20):
        process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
        time.sleep(choose.uniform(0.3, 1.5))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        for part in (tmp_path / "out").glob("parts/*/0*.parquet"):
            assert pq.read_metadata(part).num_rows == 4
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True)
    found = rows(tmp_path / "out")
    assert len(found) == len({row["path"] for row in found}) == 400
    assert not list((tmp_path / "out").rglob("*.part*"))
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["images"] == 400
    assert kills
