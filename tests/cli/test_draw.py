"""The sheets of tools/draw_results.py, with a stand-in for the model (the real one: quickstart)."""

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from PIL import Image
from torch import nn

from frozenseg.cli import draw as command
from frozenseg.cli.main import main, parser_of
from frozenseg.data.miniature.classes import SEEN
from frozenseg.data.miniature.dataset import write_miniature
from frozenseg.predict import predictor as predictor_module
from frozenseg.predict.predictor import Predictor
from frozenseg.predict.segmentation import from_label_map
from frozenseg.vocab import Vocabulary
from tools.quickstart import CONFIGS

WORDS = Vocabulary.parse("cat; dog; sky:stuff; sea:stuff")


class FirstClassModel(nn.Module):
    """Everything is the first word."""

    vocabulary = WORDS

    def set_vocabulary(self, vocabulary):
        self.vocabulary = vocabulary

    def forward(self, batch):
        size = batch[0]["height"], batch[0]["width"]
        self.sizes = (*getattr(self, "sizes", ()), tuple(batch[0]["image"].shape[1:]))
        info = [{"id": 1, "isthing": True, "category_id": 0}]
        return [{"panoptic_seg": (torch.ones(size, dtype=torch.int32), info)}]


def segmentation(rows, classes):
    return from_label_map(np.array(rows).repeat(20, 0).repeat(20, 1), classes, WORDS, "panoptic")


@pytest.fixture
def draw(tmp_path, monkeypatch):
    """Two scenes on disk; runs the script in this process: (exit code, output folder, model)."""
    write_miniature(tmp_path / "miniature", {"train": 1, "dev": 0, "val": 2})
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    model = FirstClassModel()
    monkeypatch.setattr(
        predictor_module, "build_predictor", lambda cfg, **_: (Predictor(model), None)
    )

    def call(*words):
        config, output = str(CONFIGS / "fcclip.yaml"), str(tmp_path / "out")
        words = ("--config-file", config, "--output", output, *words)
        with pytest.raises(SystemExit) as ended:
            main(["draw", *words])
        return ended.value.code, tmp_path / "out", model

    return call


def test_ground_truth_is_that_of_the_annotation(tmp_path):
    ids = np.zeros((4, 6), np.int32)
    ids[:2], ids[2:, :3] = 70_000, 5  # ids beyond 16 bits, as COCO has them
    rgb = np.stack([ids & 255, (ids >> 8) & 255, ids >> 16], -1).astype(np.uint8)
    Image.fromarray(rgb).save(tmp_path / "truth.png")
    record = {
        "pan_seg_file_name": str(tmp_path / "truth.png"),
        "segments_info": [{"id": 5, "category_id": 1}, {"id": 70_000, "category_id": 2}],
    }
    truth = command.ground_truth(record, WORDS)
    assert {s.name: s.area for s in truth.segments} == {"dog": 6, "sky": 12}
    assert (truth.label_map_HW == np.where(ids == 5, 1, np.where(ids == 0, 0, 2))).all()


def test_legend_marks_unseen_missed_and_wrong_classes_largest_first():
    truth = segmentation([[1, 1, 1], [2, 3, 3]], {1: 2, 2: 0, 3: 1})
    prediction = segmentation([[1, 1, 1], [0, 2, 3]], {1: 2, 2: 1, 3: 3})
    entries = command.legend_entries(truth, prediction, unseen={0, 1})
    assert [entry.name for entry in entries] == ["sky", "dog ★", "cat ★ (missed)", "sea (wrong)"]
    assert [entry.color for entry in entries] == [WORDS.colors[i] for i in (2, 1, 0, 3)]


def test_sheet_shows_image_truth_and_prediction():
    truth = segmentation([[1, 1], [1, 1]], {1: 0})
    prediction = segmentation([[1, 1], [1, 1]], {1: 3})
    image = np.full((40, 40, 3), 255, np.uint8)
    sheet = command.draw_sheet(image, truth, prediction, set())
    corners = sheet[-20, [20, 20 + 328, 20 + 656]].astype(int)  # 320 wide each, and gaps
    assert (corners[0] == 255).all()
    for corner, index in ((corners[1], 0), (corners[2], 3)):
        half = (np.array(WORDS.colors[index]) + 255) / 2
        assert np.abs(corner - half).max() <= 1


@pytest.mark.slow
def test_one_sheet_for_each_of_the_first_images(draw, monkeypatch):
    marked = []
    original = command.draw_sheet
    monkeypatch.setattr(
        command, "draw_sheet", lambda *words: marked.append(words[-1]) or original(*words)
    )
    code, folder, model = draw("--count", "1", "--dataset", "miniature_val_panoptic")
    assert code == 0
    assert [path.name for path in folder.iterdir()] == ["000000.png"]
    assert len(model.sizes) == 1
    vocabulary = MetadataCatalog.get("miniature_val_panoptic").vocabulary
    assert model.vocabulary == vocabulary
    assert marked == [set(range(len(vocabulary))) - set(SEEN)]


@pytest.mark.slow
def test_the_data_set_is_that_of_the_config_unless_named(draw):
    code, folder, model = draw("--count", "9")
    assert code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["000000.png", "000001.png"]
    assert draw("--dataset", "miniature_train_panoptic")[0] == 0
    assert len(model.vocabulary) == len(SEEN)


def test_mistakes_are_one_line(draw, capsys):
    code, folder, _ = draw("--dataset", "miniature_vall_panoptic")
    assert code == 2
    assert "did you mean miniature_val_panoptic" in capsys.readouterr().err
    assert not folder.exists()
    with pytest.raises(SystemExit):
        parser_of("draw").parse_args(["--config-file", "x", "--count", "0"])
    assert "--count: expects a whole number from 1 to 2147483647, got 0" in capsys.readouterr().err
