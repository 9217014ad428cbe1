"""docs/own_data.md is true: a reader with six photographs writes its files, runs its commands."""

from __future__ import annotations

import logging
import re
import shlex
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from frozenseg.cli.main import main
from frozenseg.evaluation.results import read_results
from tests.own_photographs import write_photographs

pytestmark = pytest.mark.slow

PAGE = Path(__file__).resolve().parents[1] / "docs" / "own_data.md"
_FENCE = re.compile(r"^```(\w+)(?: title=\"([\w.]+)\")?\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = _FENCE.findall(PAGE.read_text(encoding="utf-8"))
COMMANDS = [line for kind, _, text in BLOCKS if kind == "console" for line in text.splitlines()]
SMALL = ["INPUT.IMAGE_SIZE", "64", "INPUT.MIN_SIZE_TEST", "64", "INPUT.MAX_SIZE_TEST", "96"]


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory):
    """The reader's folder, outside of the checkout, with the files of the page."""
    folder = tmp_path_factory.mktemp("my kitchen")
    write_photographs(folder)
    for _, name, text in BLOCKS:
        if name:
            (folder / name).write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("DETECTRON2_DATASETS", raising=False)
        patch.setenv("FROZENSEG_CACHE", str(folder / "cache"))
        patch.setattr("frozenseg.engine.run.set_up_logging", lambda *a, **k: None)
        yield folder
    forget()


def forget():
    """A command is a process of its own, which knows nothing of the one before."""
    for name in list(DatasetCatalog):
        if name.startswith("kitchen"):
            DatasetCatalog.pop(name)
            MetadataCatalog.pop(name, None)


def run(command):
    """Runs a command of the page; of its trainings only the images are smaller."""
    program, *words = shlex.split(command)
    assert program == "frozenseg"
    forget()
    with pytest.raises(SystemExit) as stop:
        main([*words, *(SMALL if words[0] == "train" else [])])
    return stop.value.code


@pytest.fixture(scope="module")
def walked(kitchen):
    """All commands of the page in their order, with the log of each."""
    logs = {}
    handler, log = logging.Handler(), logging.getLogger("frozenseg")
    handler.emit = lambda record: logs[command].append(record.getMessage())
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        for command in COMMANDS:
            logs[command] = []
            assert run(command) == 0, command
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    return {command: "\n".join(lines) for command, lines in logs.items()}


def scores(folder):
    [entry] = read_results(folder / "results.json")
    return entry["dataset"], set(entry["metrics"])


def test_the_page_shows_the_path():
    written = {name for _, name, _ in BLOCKS if name}
    assert {"panoptic.yaml", "instances.yaml", "labels.yaml", "colors.yaml", "train.yaml"} < written
    assert [command.split()[1] for command in COMMANDS[:2]] == ["data", "train"]
    assert len(COMMANDS) == 10


def test_every_kind_of_annotation_is_trained_and_scored(walked, kitchen):
    output = kitchen / "output"
    assert scores(output) == ("kitchen_val", {"panoptic", "instance", "semantic"})
    assert scores(output / "instances") == ("kitchen_val", {"instance"})
    labels, colors = (
        read_results(output / name / "results.json")[0] for name in ("labels", "colors")
    )
    assert set(labels["metrics"]) == {"semantic"}
    assert labels["metrics"] == colors["metrics"]  # the same pixels, said in two ways
    assert labels["ignored_pixels"] == colors["ignored_pixels"] > 0
    found = torch.load(output / "labels" / "model_final.pth", weights_only=True)["model"]
    assert found["criterion.empty_weight"].shape == (4,)


def test_the_log_says_what_follows_from_the_data(walked):
    (said,) = [text for kind, _, text in BLOCKS if kind == "text" and "NUM_CLASSES" in text]
    for line in said.splitlines():
        assert line in walked[COMMANDS[1]]
    for command, mapper, number in zip(
        COMMANDS[2:5], ["coco_instance_lsj", "semantic_lsj", "semantic_lsj"], [2, 3, 3], strict=True
    ):
        assert f"INPUT.DATASET_MAPPER_NAME is {mapper}, from the annotations" in walked[command]
        assert f"NUM_CLASSES is {number}, from the classes of kitchen_train" in walked[command]


def test_resumed_tuned_and_other_words(walked, kitchen):
    resumed = next(command for command in COMMANDS if "--resume" in command)
    assert "6 of 8 iterations" in walked[resumed]
    assert "used from now on: SOLVER.MAX_ITER 8 (was 6)" in walked[resumed]
    tuned = next(command for command in COMMANDS if "INIT_FROM" in command)
    assert "of the file not used: criterion.empty_weight" in walked[tuned]
    picture = list((kitchen / "pictures").glob("*photo_4*"))
    assert picture
    [other] = kitchen.glob("output/zero_shot/*/results.json")
    assert "kitchen_other_words" in other.read_text()


def test_weights_for_other_classes_are_loaded_and_said(walked, kitchen, caplog):
    """Evaluated with data of other classes: the scores are there, and what they need is said."""
    words = ["--config-file", "train.yaml", "--weights", "output/instances/model_final.pth"]
    with caplog.at_level(logging.WARNING, logger="frozenseg"):
        assert run(shlex.join(["frozenseg", "evaluate", *words, "--output", "crossed"])) == 0
    assert "was trained on 2 classes, DATASETS.TRAIN has 3" in caplog.text


@pytest.mark.parametrize(
    ("kind", "key", "value", "said"),
    [
        ("labels", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "133", "133 .* has 3 classes: leave it out"),
        ("instances", "INPUT.DATASET_MAPPER_NAME", "semantic_lsj", "take 'coco_instance_lsj'"),
        ("colors", "INPUT.DATASET_MAPPER_NAME", "coco_panoptic_lsj", "take 'semantic_lsj'"),
        ("panoptic", "INPUT.DATASET_MAPPER_NAME", "episodes", "take 'coco_panoptic_lsj' or 'sem"),
    ],
)
def test_what_does_not_fit_is_one_line(kitchen, capsys, kind, key, value, said):
    files = ["DATASETS.FILES", f"['{kind}.yaml']"]
    command = ["frozenseg", "train", "--config-file", "train.yaml", *files, key, value]
    assert run(shlex.join(command)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(rf"error: {key} is .*{said}", error)
