from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from torch import nn

from frozenseg.config import load_config
from frozenseg.device import pick_device
from frozenseg.mask_classification.from_config import task_settings
from frozenseg.predict import predictor as module
from frozenseg.predict.predictor import Predictor
from frozenseg.predict.words import read_vocabulary
from frozenseg.structures import TaskSettings
from frozenseg.vocab import Vocabulary

CONFIG = Path(__file__).resolve().parents[2] / "configs/miniature/fcclip.yaml"
WORDS = Vocabulary.parse("dark; bright; sky:stuff")


class BrightnessModel(nn.Module):
    """Stands in for a model: halves of the image by column, remembers what it was given."""

    def __init__(self):
        super().__init__()
        self.vocabulary = WORDS
        self.samples = []

    def set_vocabulary(self, vocabulary):
        self.vocabulary = vocabulary

    def forward(self, batch):
        assert not self.training
        assert not torch.is_grad_enabled()
        self.samples += batch
        height, width = batch[0]["height"], batch[0]["width"]
        right = torch.zeros(height, width, dtype=torch.bool)
        right[:, width // 2 :] = True
        instances = Instances((height, width))
        instances.pred_masks = torch.stack([right, right, ~right, right])
        instances.scores = torch.tensor([0.3, 0.6, 0.9, 0.95])
        instances.pred_classes = torch.tensor([0, 1, 0, 2])
        label_map = torch.where(right, 2, 0).int()
        info = [{"id": 2, "isthing": True, "category_id": 1, "score": 0.5}]
        scores = torch.stack([~right, right, torch.zeros_like(right)]).float()
        return [{"panoptic_seg": (label_map, info), "sem_seg": scores, "instances": instances}]


def image(height=40, width=60):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def build(task="panoptic", **options):
    model = BrightnessModel()
    return model, Predictor(model, task=task, shortest_edge=32, longest_edge=64, **options)


def test_model_gets_resized_rgb_and_the_image_size():
    model, predictor = build()
    predictor(image())
    (sample,) = model.samples
    assert sample["image"].shape == (3, 32, 48)
    assert sample["image"].dtype == torch.uint8
    assert (sample["height"], sample["width"]) == (40, 60)
    mean = image().reshape(-1, 3).mean(0)
    assert np.abs(sample["image"].float().mean((1, 2)).numpy() - mean).max() < 5


def test_panoptic():
    result = build()[1](image())
    assert result.task == "panoptic"
    assert result.label_map_HW.shape == (40, 60)
    (segment,) = result.segments
    assert (segment.name, segment.area, segment.score) == ("bright", 40 * 30, 0.5)


def test_semantic_gives_every_pixel_a_class():
    result = build("semantic")[1](image())
    assert {s.name: s.area for s in result.segments} == {"dark": 1200, "bright": 1200}
    assert [s.id for s in result.segments] == [1, 2]


def test_instances_above_the_threshold_and_things_only():
    result = build("instance")[1](image())
    found = [(s.name, round(s.score, 2)) for s in result.segments]
    assert found == [("dark", 0.9), ("bright", 0.6)]
    assert [s.box for s in result.segments] == [(0, 0, 30, 40), (30, 0, 30, 40)]


@pytest.mark.parametrize("task", module.TASKS)
def test_large_results_are_computed_small_and_enlarged(monkeypatch, task):
    monkeypatch.setattr(module, "MOST_RESULT_PIXELS", 1000)
    model, predictor = build(task)
    result = predictor(image(200, 300))
    assert model.samples[0]["height"] * model.samples[0]["width"] < 3500
    assert result.label_map_HW.shape == (200, 300)
    bright = next(segment for segment in result.segments if segment.name == "bright")
    assert abs(bright.area - 200 * 150) < 200 * 8


@pytest.mark.parametrize("task", module.TASKS)
def test_enlarged_results_are_not_shifted(monkeypatch, task):
    """An edge in the middle stays there."""
    monkeypatch.setattr(module, "MOST_RESULT_PIXELS", 1000)
    model, predictor = build(task)
    right = predictor(image(101, 301)).label_map_HW
    width = model.samples[0]["width"]
    bright = next(s for s in predictor(image(101, 301)).segments if s.name == "bright")
    first = np.flatnonzero((right == bright.id)[0])[0]
    assert abs(first - (width // 2) * 301 / width) <= 0.5


def test_words_can_change_between_images():
    _, predictor = build()
    predictor.set_vocabulary(Vocabulary.parse("left; right"))
    assert predictor(image()).segments[0].name == "right"


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (31, 5)])
def test_sizes_that_round_to_nothing(size):
    _, predictor = build()
    assert predictor(image(*size)).label_map_HW.shape == size


def test_wrong_input_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="unknown task 'pan'"):
        Predictor(BrightnessModel(), task="pan")
    with pytest.raises(ValueError, match="uint8"):
        build()[1](image().astype(np.float32))
    with pytest.raises(ValueError, match="device 'abacus'"):
        pick_device("abacus")


def test_read_vocabulary_from_words_file_or_table(tmp_path):
    assert read_vocabulary("cat, kitten; dog; sky:stuff").names == ("cat", "dog", "sky")
    (tmp_path / "words.txt").write_text("cat, kitten\ndog\n")
    assert read_vocabulary(str(tmp_path / "words.txt")).names == ("cat", "dog")
    assert len(read_vocabulary("ade20k_150")) == 150
    assert len(read_vocabulary("; ".join(f"word {i}" for i in range(2000)))) == 2000


def test_a_missing_vocabulary_file_is_not_taken_for_words(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_vocabulary(str(tmp_path / "nowhere.txt"))
    with pytest.raises(ValueError, match="empty"):
        read_vocabulary("  ")


def test_a_mistyped_table_is_not_taken_for_a_word():
    with pytest.raises(ValueError, match="ade20k_150"):
        read_vocabulary("ade20k_15")
    assert read_vocabulary("traffic_light").names == ("traffic_light",)


def test_several_images_at_once():
    class PerImageModel(BrightnessModel):
        def forward(self, batch):
            return [super(PerImageModel, self).forward([sample])[0] for sample in batch]

    predictor = Predictor(PerImageModel(), shortest_edge=32, longest_edge=64)
    images = [image(40, 60), image(30, 20)]
    found = predictor.batch(images)
    assert [each.label_map.shape for each in found] == [(40, 60), (30, 20)]
    for each, given in zip(found, images, strict=True):
        assert np.array_equal(each.label_map, predictor(given).label_map)
        assert each.image_HW3 is given


def test_the_best_class_of_every_pixel_is_enough_for_semantic_results():
    model, predictor = build("semantic")
    outputs = model.forward

    def labels_only(batch):
        with torch.no_grad():
            return [{"semantic_labels": outputs(batch)[0]["sem_seg"].argmax(0)}]

    expected = predictor(image()).label_map
    model.forward = labels_only
    assert np.array_equal(predictor(image()).label_map, expected)


def settings_by_task():
    return {
        task: TaskSettings(object_mask_threshold=0.0, **{t: t == task for t in module.TASKS})
        for task in module.TASKS
    }


def test_tasks_change_what_the_model_computes():
    model, predictor = build("instance", task_settings=settings_by_task())
    assert model.task_settings == settings_by_task()["instance"]
    assert len(predictor(image()).segments) == 2
    predictor.set_task("instance", 0.7)
    assert len(predictor(image()).segments) == 1
    predictor.set_task("panoptic", 0.25)
    assert predictor(image()).task == "panoptic"
    assert model.task_settings.object_mask_threshold == 0.25
    predictor.set_task("panoptic")
    assert model.task_settings.object_mask_threshold == 0.0
    predictor.set_task("instance")
    assert len(predictor(image()).segments) == 2  # the usual threshold


def test_tasks_and_thresholds_that_cannot_be():
    _, predictor = build(task_settings=settings_by_task())
    with pytest.raises(ValueError, match="no meaning for semantic"):
        predictor.set_task("semantic", 0.5)
    with pytest.raises(ValueError, match=r"from 0 to 1, got 50"):
        predictor.set_task("instance", 50)
    _, fixed = build()
    fixed.set_task("panoptic")
    with pytest.raises(ValueError, match="computes only panoptic"):
        fixed.set_task("semantic")


def test_half_precision():
    class DtypeModel(BrightnessModel):
        def forward(self, batch):
            self.dtype = (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
            return super().forward(batch)

    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        model = DtypeModel()
        Predictor(model, shortest_edge=32, longest_edge=64, precision=name)(image())
        assert model.dtype == dtype
    with pytest.raises(ValueError, match="'int8'"):
        Predictor(BrightnessModel(), precision="int8")


@pytest.mark.parametrize(("others", "before_resize"), [(True, False), (False, True)])
def test_semantic_scores_are_summed_where_an_evaluation_sums_them(others, before_resize):
    cfg = load_config(CONFIG)
    test = cfg.MODEL.MASK_FORMER.TEST
    test.PANOPTIC_ON = test.INSTANCE_ON = others
    test.SEMANTIC_ON, test.RECALL_ON = True, False
    evaluated = task_settings(cfg)
    model = SimpleNamespace(task_settings=evaluated)
    alone = module._settings_by_task(model, cfg)["semantic"]
    assert alone.semantic_at_padded_size == evaluated.semantic_at_padded_size == before_resize
    assert not alone.panoptic
    assert not alone.instance
