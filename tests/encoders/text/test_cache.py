from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from frozenseg.encoders.text.cache import EmbeddingCache

KEY = "ab" * 32
WORDS = ["cat", "traffic light", "Straße"]


def vectors(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, 5, generator=generator), dim=-1)


def shard(folder: Path) -> Path:
    (path,) = [path for path in folder.rglob("*") if path.is_file()]
    return path


def test_another_process_finds_what_was_kept(tmp_path):
    EmbeddingCache(tmp_path, KEY).add(WORDS, vectors(3))
    other = EmbeddingCache(tmp_path, KEY)
    assert other.missing([*WORDS, "dog", "dog"]) == ["dog"]
    assert torch.equal(other.rows(WORDS[::-1]), vectors(3).flip(0))


def test_shards_written_after_the_start_are_found(tmp_path):
    first, second = EmbeddingCache(tmp_path, KEY), EmbeddingCache(tmp_path, KEY)
    assert first.missing(WORDS) == WORDS
    second.add(WORDS[:2], vectors(2))
    assert first.missing(WORDS) == WORDS[2:]


def test_keys_do_not_mix(tmp_path):
    EmbeddingCache(tmp_path, KEY).add(WORDS, vectors(3))
    assert EmbeddingCache(tmp_path, "cd" * 32).missing(WORDS) == WORDS


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = EmbeddingCache(None, KEY)
    cache.add(WORDS, vectors(3))
    assert cache.missing(WORDS) == []
    assert list(tmp_path.iterdir()) == []


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
        lambda content: content.replace(KEY.encode(), b"cd" * 32),
        lambda content: content.replace(b'"words"', b'"swords"'[:7]),
        lambda content: content.replace(b"[3,5]", b"[5,3]"),
    ],
)
def test_damaged_shards_are_reported_once_and_written_again(tmp_path, caplog, damage):
    EmbeddingCache(tmp_path, KEY).add(WORDS, vectors(3))
    path = shard(tmp_path)
    content = path.read_bytes()
    path.write_bytes(damage(content))
    assert path.read_bytes() != content
    cache = EmbeddingCache(tmp_path, KEY)
    with caplog.at_level(logging.INFO):
        assert cache.missing([*WORDS, "dog"]) == [*WORDS, "dog"]
        assert cache.missing(WORDS) == WORDS
    assert len(caplog.records) == 1
    assert str(path) in caplog.text
    cache.add(WORDS, vectors(3))
    again = EmbeddingCache(tmp_path, KEY)
    assert again.missing(WORDS) == []
    assert torch.equal(again.rows(WORDS), vectors(3))


def test_a_folder_that_cannot_be_written_costs_a_warning_only(tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    cache = EmbeddingCache(blocked, KEY)
    assert cache.missing(WORDS) == WORDS
    cache.add(WORDS, vectors(3))
    assert "not kept on disk" in caplog.text
    assert torch.equal(cache.rows(WORDS), vectors(3))


WRITER = """
import sys, torch
from pathlib import Path
from frozenseg.encoders.text.cache import EmbeddingCache
worker = int(sys.argv[2])
cache = EmbeddingCache(Path(sys.argv[1]), "ab" * 32)
for step in range(40):
    shared, own = [f"shared{step}a", f"shared{step}b"], [f"own{worker}.{step}"]
    cache.missing(shared + own)
    cache.add(shared, torch.full((2, 5), float(step)))
    cache.add(own, torch.full((1, 5), float(worker)))
"""


def test_processes_writing_at_once_lose_nothing(tmp_path, caplog):
    root = str(Path(__file__).parents[3])
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
    cache = EmbeddingCache(tmp_path, KEY)
    words = [f"own{worker}.{step}" for worker in range(2) for step in range(40)]
    words += [f"shared{step}{letter}" for step in range(40) for letter in "ab"]
    assert cache.missing(words) == []
    values = [float(worker) for worker in range(2) for _ in range(40)]
    values += [float(step) for step in range(40) for _ in "ab"]
    assert torch.equal(cache.rows(words)[:, 0], torch.tensor(values))
    assert not caplog.records
    assert not list(tmp_path.rglob("*.tmp"))
