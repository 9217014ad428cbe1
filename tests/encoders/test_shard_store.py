from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from frozenseg.encoders.shard_store import ShardStore

KEYS = ["cat", "traffic light", "Straße"]


def rows(count: int = 3, seed: int = 0, dtype=np.float32) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 5, 2, 4)).astype(dtype)


def store_in(folder: Path) -> ShardStore:
    return ShardStore(folder, "vectors")


def shard_of(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_another_process_finds_what_was_kept(tmp_path, dtype):
    written = store_in(tmp_path / "new")
    assert written.find(KEYS) == {}
    written.add(KEYS, rows(dtype=dtype))
    for store in (written, store_in(tmp_path / "new")):
        found = store.find([*KEYS[::-1], "dog", "dog"])
        assert set(found) == set(KEYS)
        for key, expected in zip(KEYS, rows(dtype=dtype), strict=True):
            assert found[key].dtype == dtype
            assert np.array_equal(found[key], expected)


def test_shards_written_after_the_start_are_found(tmp_path):
    first, second = store_in(tmp_path), store_in(tmp_path)
    assert first.find(KEYS) == {}
    second.add(KEYS[:2], rows(2))
    assert list(first.find(KEYS)) == KEYS[:2]


def test_tensors_of_several_shapes_live_together(tmp_path):
    store = store_in(tmp_path)
    store.add(KEYS[:1], rows(1))
    store.add(KEYS[1:2], rows(1).swapaxes(2, 3))
    store.add(KEYS[2:], rows(1)[:, :, 0, 0])
    shapes = [tuple(row.shape) for row in store.find(KEYS).values()]
    assert shapes == [(5, 2, 4), (5, 4, 2), (5,)]


def test_half_of_a_shard_is_never_seen(tmp_path):
    store_in(tmp_path).add(KEYS, rows())
    path = shard_of(tmp_path)
    path.rename(tmp_path / f".{path.stem}.1234.part.safetensors")
    assert store_in(tmp_path).find(KEYS) == {}


def flip_a_byte(content: bytes) -> bytes:
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:10],
        lambda content: content[:-7],
        lambda content: b"\xff" * len(content),
        flip_a_byte,
        lambda content: content.replace(b"cat", b"dog"),
        lambda content: content.replace(b'"keys"', b'"kays"'),
        lambda content: content.replace(b"[3,5,2,4]", b"[3,5,4,2]"),
        lambda content: content.replace(b"[3,5,2,4]", b"[5,3,2,4]"),
    ],
)
def test_damaged_shards_are_reported_once_and_written_again(tmp_path, caplog, damage):
    store_in(tmp_path).add(KEYS, rows())
    path = shard_of(tmp_path)
    content = path.read_bytes()
    path.write_bytes(damage(content))
    assert path.read_bytes() != content
    store = store_in(tmp_path)
    expected = dict(zip(KEYS, rows(), strict=True))
    for key, row in store.find([*KEYS, "dog"]).items():  # whole ones, read before the damage
        assert np.array_equal(row, expected[key])
    assert store.find(KEYS) == {}
    assert len(caplog.records) == 1
    assert str(path) in caplog.text
    assert not path.exists()
    store.add(KEYS, rows())
    again = store_in(tmp_path).find(KEYS)
    assert np.array_equal(np.stack(list(again.values())), rows())
    assert len(caplog.records) == 1


def test_a_shard_of_another_folder_is_not_believed(tmp_path, caplog):
    store_in(tmp_path / "one").add(KEYS, rows())
    (tmp_path / "one").rename(tmp_path / "two")
    assert store_in(tmp_path / "two").find(KEYS) == {}
    assert "wrong checksum" in caplog.text


def test_a_flipped_bit_is_noticed_when_its_tensor_is_read(tmp_path, caplog):
    store = store_in(tmp_path)
    store.add(KEYS, rows())
    path = shard_of(tmp_path)
    content = bytearray(path.read_bytes())
    content[content.index(rows()[1].tobytes()) + 7] ^= 1
    path.write_bytes(content)
    assert np.array_equal(store.find(KEYS[:1])["cat"], rows()[0])
    assert store.find(KEYS[1:2]) == {}
    assert store.find(KEYS[2:]) == {}  # of the same shard, which is gone
    assert len(caplog.records) == 1
    assert not path.exists()


def test_a_folder_that_cannot_be_written_costs_a_warning_only(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    store = store_in(tmp_path / "file")
    assert store.find(KEYS) == {}
    store.add(KEYS, rows())
    assert "vectors are not kept on disk" in caplog.text
    assert store.find(KEYS) == {}


def test_a_store_that_is_deleted_meanwhile_is_built_again(tmp_path, caplog):
    store = store_in(tmp_path)
    store.add(KEYS, rows())
    shard_of(tmp_path).unlink()
    assert store.find(KEYS) == {}
    assert "cannot be read" in caplog.text
    store.add(KEYS, rows())
    assert list(store.find(KEYS)) == KEYS


WRITER = """
import sys
import numpy as np
from pathlib import Path
from frozenseg.encoders.shard_store import ShardStore
worker = int(sys.argv[2])
store = ShardStore(Path(sys.argv[1]), "vectors")
for step in range(40):
    shared, own = [f"shared{step}a", f"shared{step}b"], [f"own{worker}.{step}"]
    store.find(shared + own)
    store.add(shared, np.full((2, 5), float(step)))
    store.add(own, np.full((1, 5), float(worker)))
"""


@pytest.mark.slow
def test_processes_writing_at_once_lose_nothing(tmp_path, caplog):
    root = str(Path(__file__).parents[2])
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(index)],
            cwd=root,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    errors = [worker.communicate(timeout=120)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], errors
    assert not any("damaged" in error for error in errors)
    expected = {f"own{worker}.{step}": worker for worker in range(2) for step in range(40)}
    expected |= {f"shared{step}{letter}": step for step in range(40) for letter in "ab"}
    found = store_in(tmp_path).find(expected)
    assert {key: int(row[0]) for key, row in found.items()} == expected
    assert not caplog.records
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_longest_unused_shards_make_room(tmp_path):
    size = {key: rows(1, seed=number) for number, key in enumerate("abcde")}
    ShardStore(tmp_path / "one", "vectors").add(["a"], size["a"])
    one = shard_of(tmp_path / "one").stat().st_size
    store = ShardStore(tmp_path, "vectors", most_bytes=3 * one)
    for moment, key in enumerate("abc"):
        store.add([key], size[key])
        for path in set(tmp_path.glob("*.safetensors")):
            if path.stat().st_mtime > 1000:
                os.utime(path, (moment, moment))
    assert set(store.find(["a"])) == {"a"}  # used now
    store.add(["d"], size["d"])
    assert set(store.find("abcde")) == set("acd")
    assert set(ShardStore(tmp_path, "vectors").find("abcde")) == set("acd")
    store.add(["b"], size["b"])  # and again
    assert np.array_equal(store.find(["b"])["b"], size["b"][0])


def test_what_was_added_last_stays_however_large(tmp_path):
    store = ShardStore(tmp_path, "vectors", most_bytes=1)
    store.add(KEYS[:1], rows(1))
    store.add(KEYS[1:], rows(2))
    assert set(store.find(KEYS)) == set(KEYS[1:])
