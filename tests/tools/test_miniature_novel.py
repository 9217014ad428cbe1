"""The table of novel shapes: which commands make a row, and what is computed from its files."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from frozenseg.config import load_config
from frozenseg.data.miniature.classes import CLASSES, NOVEL_SHAPES, UNSEEN_STUFF
from frozenseg.data.miniature.scenes import draw_scene
from frozenseg.evaluation.per_image import per_image_file, write_per_image
from frozenseg.evaluation.results import write_results
from tests.evaluation.test_bootstrap import FIRST, SECOND, record
from tools import miniature_family as family
from tools import miniature_novel as novel
from tools.miniature.runs import _POOL_SEED


@pytest.fixture
def commands(monkeypatch):
    """The commands of a run but those for data; each leaves the file that it is run for."""
    ran = []
    monkeypatch.setenv("DETECTRON2_DATASETS", "")  # put back afterwards: the tool sets it

    def run(*words):
        if words[0] == "data":
            return
        ran.append(words)
        after = dict(pairwise(words))
        if words[0] == "train":
            file = Path(after["OUTPUT_DIR"]) / "model_final.pth"
        else:
            file = Path(after["--output"]) / ("results.json" * (words[0] == "evaluate"))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()

    for module in (family, novel):
        monkeypatch.setattr(module, "command", run)
    return ran


def keys_of(words, first):
    """The config that a command has loaded; its keys begin at the word `first`."""
    keys = words[words.index(first) :]
    return load_config(words[2], [*keys[first == "--opts" :], "MODEL.DEVICE", "cpu"])


def test_a_row_is_trained_and_scored_once(commands, tmp_path):
    for _ in range(2):
        novel.score(tmp_path, ("query", "plain"), 1)
    train, evaluate = commands
    own = str(tmp_path / "decoders" / "query_s1")
    trained, scored = keys_of(train, "OUTPUT_DIR"), keys_of(evaluate, "--opts")
    for cfg in (trained, scored):
        decoder = cfg.MODEL.MASK_FORMER
        assert (decoder.SAM_FEATURE_FUSE_LAYER, decoder.SAM_QUERY_FUSE_LAYER) == (-1, 0)
        assert cfg.DATASETS.TRAIN == ("miniature_novel_train_panoptic",)
    assert (1, own) == (trained.SEED, trained.OUTPUT_DIR)
    assert trained.DATASETS.TEST == ()
    assert scored.DATASETS.TEST == (novel.VAL,)
    assert {"--per-image", f"{own}/model_final.pth"} <= set(evaluate)


def test_the_adapter_learns_from_scenes_without_the_novel_shapes(commands, tmp_path):
    novel.score(tmp_path, ("both", "adapter_coat"), 2)
    names = [words[0] for words in commands]
    # The decoder, the warm-up, FC-CLIP for the second stage, which it is joined to for it.
    assert names == ["train", "train", "train", "weights", "train", "weights", "evaluate"]
    trainings = [keys_of(words, "OUTPUT_DIR") for words in commands if words[0] == "train"]
    assert {cfg.DATASETS.TRAIN for cfg in trainings} == {("miniature_novel_train_panoptic",)}
    assert [cfg.SEED for cfg in trainings] == [2, 0, 0, 0]
    assert not any("miniature-mask-adapter" in words for words in commands)
    cfg = keys_of(commands[-1], "--opts")
    assert cfg.MODEL.FROZEN_SEG.VOID_TRUST == 0.25
    assert cfg.MODEL.MASK_ADAPTER.NAME


def test_a_share_of_the_scenes_is_for_training_alone(tmp_path, monkeypatch):
    ran = []

    def run(*words):
        ran.append((words[0], os.environ["DETECTRON2_DATASETS"], words))
        if words[0] == "train":
            file = tmp_path / "decoders" / "both_10_s0" / "model_final.pth"
            file.parent.mkdir(parents=True)
            file.touch()

    monkeypatch.setenv("DETECTRON2_DATASETS", "")
    for module in (family, novel):
        monkeypatch.setattr(module, "command", run)
    novel.score(tmp_path, ("both_10", "plain"), 0)
    few, whole = str(tmp_path / "data_10"), str(tmp_path / "data")
    assert [one[:2] for one in ran] == [
        *(("data", few), ("train", few)),
        *(("data", whole), ("evaluate", whole)),
    ]
    assert ran[0][2][-6:] == ("--train", "200", "--dev", "0", "--val", "0")


def test_a_share_and_a_depth_are_compared_with_fc_clip_of_the_same(tmp_path):
    for decoder in ("fcclip_10", "both_10", "both_9"):
        make_row(tmp_path, (decoder, "plain"), 0, FIRST)
    lines = novel.differences(novel.results(tmp_path)).splitlines()[2:]
    pairs = {tuple(line.split(" | ")[:2]) for line in lines}
    assert pairs == {("| FrozenSeg, 10 % of the scenes", "FC-CLIP, 10 % of the scenes")}
    cfg = load_config(novel.CONFIG, novel.DECODERS["fcclip_9"].keys)
    assert (cfg.MODEL.MASK_FORMER.DEC_LAYERS, cfg.MODEL.MASK_FORMER.SAM_QUERY_FUSE_LAYER) == (
        10,
        -1,
    )


def make_row(folder, row, seed, counts):
    own = novel.folder_of(folder, row, seed)
    groups = {name: [0, 1] for name in ("all", *novel.GROUPS)}
    file = per_image_file(own, novel.VAL)
    file.parent.mkdir(parents=True)
    write_per_image(file, record(counts, groups=groups))
    values = {"PQ": 40.0 + seed, "SQ": 80.0, "RQ": 50.0, "mIoU": 60.0, "recall50": 90.0}
    rows = dict.fromkeys(groups, values)
    metrics = {"panoptic": rows, "semantic": {"ground_truth": rows}, "regions": rows}
    entry = {"benchmark": "b", "dataset": novel.VAL, "images": 2, "metrics": metrics}
    write_results(own / "results.json", [{**entry, "protocol": {}}])


def test_tables_of_two_seeds(tmp_path):
    for seed in (0, 1):
        make_row(tmp_path, ("fcclip", "plain"), seed, FIRST)
    make_row(tmp_path, ("both", "plain"), 0, SECOND)
    make_row(tmp_path, ("both", "plain"), 1, FIRST)
    make_row(tmp_path, ("both", "masks"), 1, SECOND)
    found = novel.results(tmp_path)
    assert list(found) == [("fcclip", "plain"), ("both", "plain"), ("both", "masks")]
    lines = novel.table(found).splitlines()
    three = " / ".join(["40.5 ± 0.7"] * 3)
    assert lines[2].startswith(f"| FC-CLIP | 0, 1 | {three} | ")
    assert lines[4].startswith("| FrozenSeg + mask ensemble | 1 | 41.0 / 41.0 / 41.0 | ")
    lines = novel.differences(found).splitlines()
    # Of the means: half of what the bootstrap's own test has by hand; of the second seed 0.
    assert lines[2] == "| FrozenSeg | FC-CLIP | PQ | seen | +4.2 | +0.0 to +15.0 | +8.3, +0.0 |"
    masks = "| FrozenSeg + mask ensemble | FrozenSeg | PQ | unseen things | +8.3 | +0.0 to +30.0 |"
    assert lines[7] == f"{masks} +8.3 |"


def test_the_worlds_of_pretraining_show_the_novel_shapes():
    """CLIP and SAM were trained on scenes of this world, see tools/miniature/runs.py."""
    segments = [segment for i in range(12) for segment in draw_scene(_POOL_SEED, i).segments]
    shown = {CLASSES[segment["category"]].name.split()[-1] for segment in segments}
    assert {*NOVEL_SHAPES, UNSEEN_STUFF} <= shown
