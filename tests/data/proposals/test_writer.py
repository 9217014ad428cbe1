"""The writer of proposals: whatever the order and the interruptions, the same bytes."""

from __future__ import annotations

import random

import pytest

from frozenseg.data.proposals import writer as proposal_shards
from frozenseg.data.proposals.reader import read_index, read_members, shard_path
from frozenseg.data.proposals.writer import ProposalWriter, append_record

KEYS = [f"{number:02d}.jpg" for number in range(7)]
SOURCE = {"sam": "vit_b", "generation": {"points_per_side": 4}}


def record(key, error=None):
    if error:
        return {"image": key, "error": error}
    rows = [{"segmentation": {"size": [4, 5], "counts": key * 9}, "area": int(key[:2])}]
    return {"image": key, "sha256": "0" * 16, "height": 4, "width": 5, "masks": rows}


def begin(folder, source=SOURCE, keys=KEYS, shard_size=3):
    return ProposalWriter(folder, keys, source, shard_size)


def put(writer, keys, run="1", error=None):
    for key in keys:
        append_record(writer.folder, writer.shard_of(key), run, record(key, error))


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}


@pytest.fixture
def expected(tmp_path):
    """The files of an export without any interruption."""
    writer = begin(tmp_path / "expected")
    put(writer, KEYS)
    index = writer.finish()
    assert index.complete
    assert index == read_index(writer.folder)
    return content(writer.folder)


def test_the_files_are_the_index_and_the_shards(expected):
    names = ["index.json", *(f"shard_0000{i}.jsonl.gz" for i in range(3))]
    assert sorted(map(str, expected)) == names


def test_places_are_those_of_the_members(tmp_path, expected):
    folder = tmp_path / "expected"
    index = read_index(folder)
    assert list(index.images) == KEYS
    for key, place in index.images.items():
        offset = 0
        for length, line in read_members(shard_path(folder, place.shard)):
            if f'"image":"{key}"'.encode() in line:
                assert (place.offset, place.length) == (offset, length)
                break
            offset += length
        else:
            raise AssertionError(key)
    assert index.images["04.jpg"][3:] == (4, 5, 1)


def test_order_runs_and_repeats_do_not_matter(tmp_path, expected):
    writer = begin(tmp_path / "other", keys=KEYS[::-1])
    for run in range(3):
        keys = random.Random(run).sample(KEYS, 5)
        put(writer, keys, run=str(run))
    put(writer, writer.missing(), run="last")
    assert writer.finish()
    assert content(writer.folder) == expected


@pytest.mark.parametrize("done", range(len(KEYS) + 1))
def test_an_interruption_leaves_no_trace(tmp_path, expected, done):
    writer = begin(tmp_path / "other")
    for key in KEYS[:done]:
        put(writer, [key])
        writer.seal(writer.shard_of(key))
    writer = begin(tmp_path / "other")
    assert writer.missing() == KEYS[done:]
    put(writer, writer.missing(), run="2")
    assert writer.finish()
    assert content(writer.folder) == expected


@pytest.mark.parametrize("cut", [1, 40, -1])
def test_a_line_cut_off_by_a_kill_is_made_again(tmp_path, expected, cut, caplog):
    writer = begin(tmp_path / "other")
    put(writer, KEYS[:2])
    [partial] = (writer.folder / "partial").iterdir()
    first, second = partial.read_bytes().splitlines(keepends=True)
    partial.write_bytes(first + second[:cut])
    writer = begin(tmp_path / "other")
    assert writer.missing() == KEYS[1:]
    assert "cut off in the middle" in caplog.text
    put(writer, writer.missing(), run="2")
    assert writer.finish()
    assert content(writer.folder) == expected


def test_a_kill_between_shard_and_clearing_up_leaves_no_trace(tmp_path, expected):
    writer = begin(tmp_path / "other")
    put(writer, KEYS)
    partials = content(writer.folder / "partial")
    writer.finish()
    (writer.folder / "partial").mkdir()
    for name, lines in partials.items():
        (writer.folder / "partial" / name).write_bytes(lines)
    writer = begin(tmp_path / "other")
    assert writer.missing() == []
    assert writer.finish()
    assert content(writer.folder) == expected


def test_a_finished_shard_is_not_written_again(tmp_path, monkeypatch):
    writer = begin(tmp_path / "other")
    put(writer, KEYS[:4])
    assert [writer.seal(shard) for shard in range(3)] == [True, False, False]
    monkeypatch.setattr(proposal_shards, "_compress", lambda line: 1 / 0)
    assert writer.seal(0)
    assert writer.missing() == KEYS[4:]


def test_it_is_not_finished_before_all_are_there(tmp_path):
    writer = begin(tmp_path / "other")
    put(writer, KEYS[1:])
    assert writer.finish() is None
    assert not read_index(writer.folder).complete
    assert shard_path(writer.folder, 2).exists()


def test_failures_are_kept_and_tried_again(tmp_path, expected):
    writer = begin(tmp_path / "other")
    put(writer, [k for k in KEYS if k != "04.jpg"])
    put(writer, ["04.jpg"], error="empty")
    index = writer.finish()
    assert index.failures == {"04.jpg": "empty"}
    assert index.images["04.jpg"] is None
    first = content(writer.folder)
    for _ in range(2):  # the second time it is repaired
        writer = begin(tmp_path / "other")
        assert writer.missing() == ["04.jpg"]
        put(writer, ["04.jpg"], run="2", error="empty")
        writer.finish()
        assert content(writer.folder) == first
    put(writer, ["04.jpg"], run="3")
    put(writer, ["04.jpg"], run="4", error="late news of another process")
    assert not writer.finish().failures
    assert content(writer.folder) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": {**SOURCE, "sam": "vit_h"}}, "sam 'vit_b', this one has 'vit_h'"),
        ({"source": {**SOURCE, "generation": {}}}, "generation.points_per_side 4, .* None"),
        ({"shard_size": 4}, "shard_size 3, this one has 4"),
        ({"keys": KEYS[1:]}, "of 7 images, now there are 6; for instance 00.jpg is gone"),
        ({"keys": [*KEYS, "z.jpg"]}, "now there are 8; for instance z.jpg is new"),
    ],
)
def test_another_export_is_refused(tmp_path, expected, change, message):
    with pytest.raises(ValueError, match=f"{message}.*--output"):
        begin(tmp_path / "expected", **change)
    assert content(tmp_path / "expected") == expected


@pytest.mark.parametrize("change", [{"keys": []}, {"shard_size": 0}])
def test_nothing_to_do_is_refused(tmp_path, change):
    with pytest.raises(ValueError, match="above 0"):
        begin(tmp_path, **change)


def test_a_damaged_shard_is_refused_with_the_remedy(tmp_path, expected):
    path = shard_path(tmp_path / "expected", 1)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"shard_00001\.jsonl\.gz is damaged .*delete"):
        begin(tmp_path / "expected").missing()
    path.unlink()
    writer = begin(tmp_path / "expected")
    put(writer, writer.missing())
    assert writer.finish()
    assert content(writer.folder) == expected
