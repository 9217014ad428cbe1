from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from frozenseg.encoders.visual.feature_shards import FeatureShards

KEYS = [hashlib.sha256(bytes([index])).digest() for index in range(3)]


def maps(count: int = 3, seed: int = 0, dtype=torch.float16) -> torch.Tensor:
    return torch.randn(count, 5, 2, 4, generator=torch.Generator().manual_seed(seed)).to(dtype)


def shard_of(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_another_process_finds_what_was_kept(tmp_path, dtype):
    written = FeatureShards(tmp_path / "new", dtype)
    written.add(KEYS, maps(dtype=dtype))
    for shards in (written, FeatureShards(tmp_path / "new", dtype)):
        assert shards.missing([*KEYS, b"x" * 32, b"x" * 32]) == [b"x" * 32]
        for key, expected in zip(KEYS, maps(dtype=dtype), strict=True):
            found = shards.read(key)
            assert found is not None
            assert found.dtype == dtype
            assert torch.equal(found, expected)
    assert FeatureShards(tmp_path / "new", dtype).read(b"x" * 32) is None


def test_shards_written_after_the_start_are_found(tmp_path):
    first, second = (FeatureShards(tmp_path, torch.float16) for _ in range(2))
    assert first.missing(KEYS) == KEYS
    second.add(KEYS[:2], maps(2))
    assert first.missing(KEYS) == KEYS[2:]


def test_maps_of_several_sizes_live_together(tmp_path):
    shards = FeatureShards(tmp_path, torch.float16)
    shards.add(KEYS[:1], maps(1))
    shards.add(KEYS[1:2], maps(1).transpose(2, 3))
    assert [tuple(shards.read(key).shape) for key in KEYS[:2]] == [(5, 2, 4), (5, 4, 2)]


def test_half_of_a_shard_is_never_seen(tmp_path):
    FeatureShards(tmp_path, torch.float16).add(KEYS, maps())
    path = shard_of(tmp_path)
    path.rename(tmp_path / f".{path.name}.1234.tmp")
    assert FeatureShards(tmp_path, torch.float16).missing(KEYS) == KEYS


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:10],
        lambda content: content[:-7],
        lambda content: b"\xff" * len(content),
        lambda content: content.replace(b'"keys"', b'"kays"'),
        lambda content: content.replace(b"[3,5,2,4]", b"[3,5,4,2]"),
        lambda content: content.replace(b"[3,5,2,4]", b"[5,3,2,4]"),
        lambda content: content.replace(KEYS[0], KEYS[0][::-1]).replace(KEYS[1], KEYS[0]),
    ],
)
def test_damaged_shards_are_reported_once_and_written_again(tmp_path, caplog, damage):
    FeatureShards(tmp_path, torch.float16).add(KEYS, maps())
    path = shard_of(tmp_path)
    content = path.read_bytes()
    path.write_bytes(damage(content))
    assert path.read_bytes() != content
    shards = FeatureShards(tmp_path, torch.float16)
    shards.missing(KEYS)
    assert [shards.read(key) for key in KEYS] == [None] * 3
    assert len(caplog.records) == 1
    assert str(path) in caplog.text
    assert shards.missing(KEYS) == KEYS
    shards.add(KEYS, maps())
    again = FeatureShards(tmp_path, torch.float16)
    assert again.missing(KEYS) == []
    assert torch.equal(torch.stack([again.read(key) for key in KEYS]), maps())
    assert len(caplog.records) == 1


def test_a_flipped_bit_in_a_map_is_noticed_when_it_is_read(tmp_path, caplog):
    shards = FeatureShards(tmp_path, torch.float16)
    shards.add(KEYS, maps())
    path = shard_of(tmp_path)
    content = bytearray(path.read_bytes())
    content[content.index(maps()[1].numpy().tobytes()) + 7] ^= 1
    path.write_bytes(content)
    assert torch.equal(shards.read(KEYS[0]), maps()[0])
    assert shards.read(KEYS[1]) is None
    assert shards.read(KEYS[2]) is None  # of the same shard, which is gone
    assert len(caplog.records) == 1
    assert not path.exists()
    assert shards.missing(KEYS) == KEYS


def test_a_folder_that_cannot_be_written_costs_a_warning_only(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    shards = FeatureShards(tmp_path / "file", torch.float16)
    assert shards.missing(KEYS) == KEYS
    shards.add(KEYS, maps())
    assert "not kept on disk" in caplog.text
    assert shards.read(KEYS[0]) is None


def test_a_cache_that_is_deleted_meanwhile_is_built_again(tmp_path, caplog):
    shards = FeatureShards(tmp_path, torch.float16)
    shards.add(KEYS, maps())
    shard_of(tmp_path).unlink()
    assert shards.read(KEYS[0]) is None
    assert "cannot be read" in caplog.text
    assert shards.missing(KEYS) == KEYS


WRITER = """
import sys, torch
from pathlib import Path
from frozenseg.encoders.visual.feature_shards import FeatureShards
worker = int(sys.argv[2])
shards = FeatureShards(Path(sys.argv[1]), torch.float32)
for step in range(30):
    shared, own = bytes([step, 9]) * 16, bytes([step, worker]) * 16
    shards.missing([shared, own])
    shards.add([shared], torch.full((1, 2, 3, 3), float(step)))
    shards.add([own], torch.full((1, 2, 3, 3), float(worker)))
"""


def test_processes_writing_at_once_lose_nothing(tmp_path, caplog):
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(index)],
            cwd=Path(__file__).parents[3],
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    errors = [worker.communicate(timeout=120)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], errors
    assert not any("feature cache" in error for error in errors)
    shards = FeatureShards(tmp_path, torch.float32)
    assert shards.missing([bytes([0, 9]) * 16]) == []
    for step in range(30):
        assert float(shards.read(bytes([step, 9]) * 16).mean()) == step
        assert float(shards.read(bytes([step, 1]) * 16).mean()) == 1
    assert not caplog.records
    assert not list(tmp_path.glob("*.tmp"))
