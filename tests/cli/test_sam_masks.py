"""tools/export_sam_masks.py with the miniature SAM: interruptions, processes, bad images."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from frozenseg.cli import program, sam_masks
from frozenseg.cli.main import parser_of
from frozenseg.data.miniature.dataset import write_miniature
from frozenseg.data.miniature.scenes import draw_scene
from frozenseg.data.proposals.reader import ProposalFolder, read_index
from frozenseg.data.reading import read_rgb
from frozenseg.encoders.sam.automatic_masks import MaskGeneration, SamMasks
from frozenseg.encoders.sam.model import load_sam
from frozenseg.labelling import sam_masks as workers

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs" / "miniature" / "miniature_sam.json")
WEIGHTS = str(ROOT / "frozenseg" / "weights" / "miniature_sam.safetensors")
SAM = ("--sam", CONFIG, "--weights", WEIGHTS, "--device", "cpu", "--threads", "1")
SETTINGS = {
    "points_per_side": 4,
    "pred_iou_thresh": 0.4,
    "stability_score_thresh": 0.5,
    "stability_score_offset": 0.5,
}
MASKS = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
KEYS = ["0.png", "1.png", "2.png", "deep/3.png", "deep/er/4.png"]


@pytest.fixture(autouse=True)
def _threads():
    """The script sets their number for its own process."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Five small pictures in nested folders; the last is too thin for any mask."""
    root = tmp_path_factory.mktemp("images")
    for number, key in enumerate(KEYS):
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        picture = draw_scene(5, number).image[40:168, : 100 + number]
        Image.fromarray(picture if number < 4 else np.zeros((1, 600, 3), np.uint8)).save(root / key)
    (root / ".hidden.png").touch()
    (root / "notes.txt").touch()
    return root


def words(images, output, *more):
    where = ("--images", str(images), "--output", str(output), "--shard-size", "2")
    return [*where, *SAM, *MASKS, *more]


def export(images, output, *more):
    """Runs the script in this process; returns its exit code."""
    args = parser_of("sam-masks").parse_args(words(images, output, *more))
    with pytest.raises(SystemExit) as ended:
        program.run(sam_masks.main, args)
    return ended.value.code


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory):
    """The folder of an export without interruption."""
    output = tmp_path_factory.mktemp("whole") / "proposals"
    assert export(images, output) == 0
    return output


def test_the_masks_are_the_generators(images, whole):
    reader = ProposalFolder(whole)
    generate = SamMasks(load_sam(CONFIG, WEIGHTS), MaskGeneration(**SETTINGS))
    assert list(reader.index.images) == KEYS
    counts = []
    for key in KEYS:
        image = read_rgb(images / key)
        masks = reader.masks(images / key, image.shape[:2])
        assert (masks == generate.masks(image)).all()
        counts.append(len(masks))
    assert min(counts[:4]) > 0
    assert counts[4] == 0


def test_the_index_says_what_made_it_and_no_path(images, whole):
    source = read_index(whole).source
    assert source["sam"] == "miniature_sam.json"
    assert source["generation"]["points_per_side"] == 4
    assert set(source["generation"]) == {field.name for field in fields(MaskGeneration)}
    assert len(source["weights_sha256"]) == 16
    text = (whole / "index.json").read_text()
    assert not any(str(part) in text for part in (ROOT, images, whole))


@pytest.mark.parametrize("after", [0, 1, 2, 4])
def test_an_interrupted_export_continues_to_the_same_bytes(
    images, whole, tmp_path, monkeypatch, after
):
    made = []
    make_record = workers.make_record

    def stop(generate, root, key):
        if len(made) == after:
            raise KeyboardInterrupt
        made.append(key)
        return make_record(generate, root, key)

    monkeypatch.setattr(workers, "make_record", stop)
    assert export(images, tmp_path) == program.EXIT_INTERRUPTED
    for partial in (tmp_path / "partial").glob("*"):
        partial.write_bytes(partial.read_bytes() + b'{"image": "2.p')
    monkeypatch.setattr(workers, "make_record", lambda *a: made.append(a[2]) or make_record(*a))
    assert export(images, tmp_path) == 0
    assert made == KEYS  # none twice
    assert content(tmp_path) == content(whole)


def test_processes_and_ranks_do_not_change_a_byte(images, whole, tmp_path, capsys):
    assert export(images, tmp_path, "--rank", "1", "--world-size", "3") == 0
    assert "2 of the 2 images of this rank done" in capsys.readouterr().out
    assert not read_index(tmp_path).complete
    assert export(images, tmp_path, "--processes", "2") == 0
    said = capsys.readouterr().out
    assert "5 images" in said
    assert "2 done before" in said
    assert content(tmp_path) == content(whole)


def test_a_bad_image_is_named_and_tried_again(images, whole, tmp_path, capsys):
    root, output = tmp_path / "images", tmp_path / "out"
    for key in KEYS:
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes((images / key).read_bytes())
    (root / "1.png").write_bytes(b"")
    (root / "2.png").write_bytes((images / "2.png").read_bytes()[:2000])
    for _ in range(2):
        assert export(root, output) == 1
        said = capsys.readouterr()
        assert "no masks of 1.png: the file is empty" in said.err
        assert "no masks of 2.png: cannot be read, damaged" in said.err
        assert "of 3 of 5 images" in said.out
    assert "3 done before" in said.out
    assert set(read_index(output).failures) == {"1.png", "2.png"}
    for key in ("1.png", "2.png"):
        (root / key).write_bytes((images / key).read_bytes())
    assert export(root, output) == 0
    assert content(output) == content(whole)


def test_a_rank_with_a_bad_image_says_so(tmp_path, capsys):
    root = tmp_path / "images"
    root.mkdir()
    (root / "a.png").write_bytes(b"no image")
    Image.new("RGB", (40, 40)).save(root / "b.png")
    assert export(root, tmp_path / "out", "--rank=0", "--world-size=2") == 1
    said = capsys.readouterr()
    assert "no masks of a.png" in said.err
    assert "0 of the 1 images" in said.out


@pytest.mark.parametrize("change", [("--max-masks", "3"), ("--shard-size", "4")])
def test_other_settings_in_the_same_folder_are_refused(images, whole, capsys, change):
    before = content(whole)
    assert export(images, whole, *change) == program.EXIT_USER_ERROR
    assert f"{change[0][2:].replace('-', '_')}" in capsys.readouterr().err
    assert content(whole) == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--weights", "/none.pth"), "/none.pth does not exist"),
        (("--sam", "vit_x"), "vit_x"),
        (("--images", "/none"), "/none: no such folder"),
        (("--rank", "1"), "--rank 1"),
        (("--device", "warp"), "warp"),
    ],
)
def test_wrong_arguments_are_one_line(images, tmp_path, capsys, more, message):
    assert export(images, tmp_path / "out", *more) == program.EXIT_USER_ERROR
    [line] = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_registered_data_set(tmp_path, monkeypatch):
    write_miniature(tmp_path / "miniature", {"train": 0, "dev": 0, "val": 2})
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    choice = ("--dataset", "miniature_val_panoptic", "--output", str(tmp_path / "out"))
    args = parser_of("sam-masks").parse_args([*choice, *SAM, *MASKS])
    assert sam_masks.main(args) == 0
    reader = ProposalFolder(tmp_path / "out")
    annotations = json.loads((tmp_path / "miniature" / "panoptic_val.json").read_text())
    for image in annotations["images"]:
        path = tmp_path / "miniature" / "val" / image["file_name"]
        assert reader.find(path) == image["file_name"]
        assert reader.masks(path, (image["height"], image["width"])).any()


def test_an_unknown_data_set_is_refused(tmp_path, capsys):
    choice = ("--dataset", "miniature_vall_panoptic", "--output", str(tmp_path / "out"))
    args = parser_of("sam-masks").parse_args([*choice, *SAM])
    with pytest.raises(SystemExit):
        program.run(sam_masks.main, args)
    assert "miniature_vall_panoptic" in capsys.readouterr().err
