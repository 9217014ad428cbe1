"""Evaluation of a model on the data sets of a config, and what it writes down."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model

from frozenseg.config import config_hash
from frozenseg.engine.checkpoint import checkpoint_hash, weights_hash
from frozenseg.engine.evaluate import evaluate
from frozenseg.evaluation.results import read_results

VAL, TRAIN = "shapes_val_panoptic", "shapes_train_panoptic"


@pytest.fixture
def model(stand_in_cfg):
    torch.manual_seed(0)
    return build_model(stand_in_cfg)


def test_the_entry_holds_scores_and_protocol(stand_in_cfg, model, tmp_path):
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"x")
    scores = evaluate(stand_in_cfg, model, checkpoint=weights)
    (entry,) = read_results(Path(stand_in_cfg.OUTPUT_DIR) / "results.json")
    assert set(entry) == {
        *("benchmark", "dataset", "split", "images", "metrics", "protocol", "config_hash"),
        *("checkpoint", "checkpoint_hash", "versions", "seed", "seconds"),
    }
    assert (entry["benchmark"], entry["dataset"], entry["split"]) == ("shapes", VAL, "val")
    assert entry["images"] == 2
    assert set(entry["metrics"]) == {"panoptic", "instance", "semantic"}
    assert {"all", "seen", "unseen"} <= set(entry["metrics"]["panoptic"])
    assert {"ground_truth", "ground_truth_or_predicted"} <= set(entry["metrics"]["semantic"])
    vocabulary = MetadataCatalog.get(VAL).vocabulary
    assert entry["protocol"]["vocabulary"] == vocabulary.digest
    assert entry["protocol"]["ensemble"]["alpha"] == 0.4
    assert entry["protocol"]["test_size"] == [32, 1333]
    assert entry["protocol"]["clip_weights"] == weights_hash(model.backbone)
    assert entry["config_hash"] == config_hash(stand_in_cfg)
    assert (entry["checkpoint"], entry["checkpoint_hash"]) == ("w.pth", checkpoint_hash(weights))
    assert torch.__version__.startswith(entry["versions"]["torch"])
    assert scores[VAL]["panoptic/all/PQ"] == entry["metrics"]["panoptic"]["all"]["PQ"]


def test_the_entry_tells_backbones_of_equal_checkpoints_apart(stand_in_cfg, model):
    found = []
    for _ in range(2):
        evaluate(stand_in_cfg, model)
        (entry,) = read_results(Path(stand_in_cfg.OUTPUT_DIR) / "results.json")
        found.append(entry["protocol"]["clip_weights"])
        model.backbone.weight.data[0] += 1
    assert found[0] != found[1]


def test_every_data_set_gets_its_own_words_and_the_same_scores_again(stand_in_cfg, model):
    stand_in_cfg.DATASETS.TEST = (VAL, TRAIN)
    words = []
    model.set_vocabulary, plain = lambda v: (words.append(len(v)), plain(v)), model.set_vocabulary
    first = evaluate(stand_in_cfg, model)
    assert words == [11, 8]
    assert list(first) == [VAL, TRAIN]
    assert evaluate(stand_in_cfg, model) == first
    assert not any("unseen" in key for key in first[TRAIN])


def test_the_tasks_are_those_of_the_config(stand_in_cfg, model):
    test = stand_in_cfg.MODEL.MASK_FORMER.TEST
    test.PANOPTIC_ON = test.INSTANCE_ON = False
    scores = evaluate(stand_in_cfg, model)
    assert {key.split("/")[0] for key in scores[VAL]} == {"semantic"}
    test.SEMANTIC_ON = False
    with pytest.raises(ValueError, match="outputs nothing"):
        evaluate(stand_in_cfg, model)


def test_an_unknown_data_set_is_reported_before_anything_runs(stand_in_cfg, model):
    stand_in_cfg.DATASETS.TEST = (VAL, "shapes_vall_panoptic")
    with pytest.raises(ValueError, match=r"shapes_vall_panoptic.*did you mean shapes_val_panoptic"):
        evaluate(stand_in_cfg, model)
    assert not (Path(stand_in_cfg.OUTPUT_DIR) / "results.json").exists()


def test_a_perfect_model_scores_100(stand_in_cfg, model):
    class Oracle(torch.nn.Module):
        """Answers with the ground truth; crowds and unlabelled pixels are not segments."""

        def set_vocabulary(self, vocabulary):
            self.vocabulary = vocabulary

        def forward(self, batch):
            return [self.answer(sample) for sample in batch]

        def answer(self, sample):
            from frozenseg.data.coco_panoptic import ids_of_rgb, read_image, semantic_of_panoptic

            ids = ids_of_rgb(read_image(sample["pan_seg_file_name"]))
            labels = semantic_of_panoptic(ids, sample["segments_info"], 0)
            one_hot = torch.nn.functional.one_hot(torch.from_numpy(labels), len(self.vocabulary))
            return {
                "sem_seg": one_hot.permute(2, 0, 1),
                "panoptic_seg": (torch.from_numpy(ids), sample["segments_info"]),
            } | {"instances": _instances(ids, sample["segments_info"])}

    def _instances(ids, segments):
        from detectron2.structures import Instances

        things = [s for s in segments if s["isthing"] and not s["iscrowd"]]
        found = Instances(ids.shape)
        found.pred_masks = torch.stack(
            [torch.from_numpy(ids == s["id"]) for s in things] or [torch.zeros(ids.shape)]
        )[: len(things)]
        found.scores = torch.ones(len(things))
        found.pred_classes = torch.tensor([s["category_id"] for s in things], dtype=torch.int64)
        return found

    scores = evaluate(stand_in_cfg, Oracle())[VAL]
    ids_with_value = {key: value for key, value in scores.items() if "small" not in key}
    perfect = [key for key, value in ids_with_value.items() if abs(value - 100) > 1e-6]
    assert perfect == []
