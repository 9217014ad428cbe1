"""Search by stored embeddings: the nearest segments over many parts, and the command's sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from frozenseg.cli import label, program
from frozenseg.cli.main import parser_of
from frozenseg.files import sample_image
from frozenseg.labelling.parts import PartWriter, part_of
from frozenseg.labelling.schema import SCHEMA
from frozenseg.labelling.search import search
from frozenseg.visualization.contact_sheet import TILE, Tile, contact_sheet

K = 8


def write_parts(output: Path, blocks: int, images: int) -> np.ndarray:
    """Parts of random unit vectors; every third image has no segment. Returns: the vectors."""
    vectors_NK = np.random.default_rng(0).normal(size=(blocks * images, K)).astype(np.float32)
    vectors_NK /= np.linalg.norm(vectors_NK, axis=1, keepdims=True)
    for block in range(blocks):
        columns = {name: [None] * images for name in SCHEMA.names}
        for i in range(images):
            columns["image_id"][i] = block * 1_000_000 + i
            columns["path"][i] = f"{block}/{i}.png"
            if i % 3:
                columns["segment_id"][i] = 1
                columns["embedding"][i] = vectors_NK[block * images + i].tolist()
        writer = PartWriter(part_of(output, block))
        writer.add(columns)
        writer.close()
    return vectors_NK


@pytest.mark.parametrize("rows", [4096, 7])
def test_the_nearest_of_all_parts_are_found(rows, tmp_path, monkeypatch):
    monkeypatch.setattr("frozenseg.labelling.search._ROWS", rows)
    vectors_NK = write_parts(tmp_path, 4, 50)
    text_SK = vectors_NK[[77, 121]]
    hits = search(tmp_path, text_SK, 10)
    similarity_N = (vectors_NK @ text_SK.T).max(axis=1)
    similarity_N[np.arange(200) % 50 % 3 == 0] = -2
    expected = np.argsort(-similarity_N)[:10]
    assert [hit.row["path"] for hit in hits] == [f"{n // 50}/{n % 50}.png" for n in expected]
    np.testing.assert_allclose([hit.similarity for hit in hits], similarity_N[expected], atol=1e-6)
    assert len(search(tmp_path, text_SK, 1000)) == int((similarity_N > -2).sum())


def test_parts_without_embeddings_are_one_clear_error(tmp_path):
    with pytest.raises(ValueError, match="no part is there yet"):
        search(tmp_path, np.ones((1, K), np.float32), 3)
    columns = {name: [None] for name in SCHEMA.names} | {"image_id": [0], "path": ["x"]}
    writer = PartWriter(part_of(tmp_path, 0))
    writer.add(columns)
    writer.close()
    with pytest.raises(ValueError, match="no embeddings: label with --embeddings"):
        search(tmp_path, np.ones((1, K), np.float32), 3)


def test_a_contact_sheet_holds_every_tile_and_long_names():
    picture = np.tile(np.array([7, 80, 9], np.uint8), (TILE, 30, 1))
    tiles = [Tile(picture, ("x" * 300, "two")), *[Tile(None, ("gone",))] * 6]
    sheet = contact_sheet(tiles)
    assert sheet.shape[1] > 5 * TILE
    assert sheet.shape[0] > 2 * TILE
    assert (sheet == (7, 80, 9)).all(-1).sum() == TILE * 30
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])


def run_label(*words: object) -> int:
    args = parser_of("label").parse_args(list(map(str, words)))
    with pytest.raises(SystemExit) as done:
        program.run(label.main, args)
    return int(done.value.code)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("search")
    (root / "images").mkdir()
    with Image.open(sample_image()) as scene:
        for turn in (0, 90, 180):
            scene.convert("RGB").rotate(turn).save(root / "images" / f"{turn:03d}.png")
    words = ("--words", "circle; heart; triangle; grass:stuff", "--device", "cpu")
    command = (root / "images", "--output", root / "out", "--block-size", 2, "--embeddings")
    assert run_label(*command, *words) == 0
    return root


def test_the_command_writes_a_sheet_and_a_table(labelled, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    words = ("--search", "heart", "--device", "cpu", "--top", 4)
    (labelled / "images" / "090.png").rename(tmp_path / "090.png")
    try:
        assert run_label(labelled / "out", *words, "--output", sheet) == 0
    finally:
        (tmp_path / "090.png").rename(labelled / "images" / "090.png")
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1 + 4 + 1
    found = [float(line.split()[1]) for line in said[1:5]]
    assert found == sorted(found, reverse=True)
    assert pq.read_table(labelled / "out" / "parts")["embedding"].null_count == 0
    with Image.open(sheet) as picture:
        assert picture.size[0] > 4 * TILE


@pytest.mark.parametrize(
    ("folder", "more", "said"),
    [
        ("out", ("--output", "x.txt"), "name a picture"),
        ("images", (), "has no manifest.json"),
        ("out", ("--model", "miniature-frozenseg"), "of another model or other weights"),
        ("out", ("--search", " "), "at least one class name"),
    ],
)
def test_what_cannot_be_searched_is_one_line(folder, more, said, labelled, tmp_path, capsys):
    words = ("--search", "heart", "--device", "cpu", "--output", tmp_path / "sheet.png")
    assert run_label(labelled / folder, *words, *more) == program.EXIT_USER_ERROR
    [line] = [each for each in capsys.readouterr().err.splitlines() if each.startswith("error")]
    assert said in line
