"""Evaluation of a model on the datasets of a config, and what it writes down."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model

from frozenseg.checkpoints.digests import weights_hash
from frozenseg.config import config_hash
from frozenseg.data.catalog.register import register_splits
from frozenseg.engine.evaluate import evaluate, evaluate_dataset, plan
from frozenseg.evaluation.results import flat_scores, read_results
from frozenseg.files import file_digest
from frozenseg.structures import TaskSettings
from tests.shapes_world import VAL as SHAPES_VAL
from tests.shapes_world import register_shapes, write_shapes

ROOT = Path(__file__).resolve().parents[2]
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
        *("warnings", "ignored_pixels"),
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
    assert entry["protocol"]["thresholds"]["object_mask"] == 0.0
    assert entry["protocol"]["ignore_label"] == 255
    assert entry["protocol"]["tasks"] == ["panoptic", "instance", "semantic"]
    assert entry["protocol"]["model"]["architecture"] == "StandIn"
    assert entry["protocol"]["instance_ground_truth"] == {
        "instance": "thing segments of the panoptic annotation"
    }
    assert entry["protocol"]["clip_weights"] == weights_hash(model.backbone)
    assert entry["config_hash"] == config_hash(stand_in_cfg)
    assert (entry["checkpoint"], entry["checkpoint_hash"]) == ("w.pth", file_digest(weights))
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


@pytest.mark.slow
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
            from frozenseg.data.reading import ids_of_rgb, read_image, semantic_of_panoptic

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


def test_the_row_goes_before_the_config(stand_in_cfg, model, shapes_root):
    row = replace(SHAPES_VAL, test_size=(24, 99), object_mask_threshold=0.4)
    register_splits([row], root=shapes_root)
    model.task_settings = TaskSettings(object_mask_threshold=0.0)
    seen, plain = [], model.forward

    def look(batch):
        settings = model.task_settings
        seen.append((tuple(batch[0]["image"].shape[1:]), settings.object_mask_threshold))
        return plain(batch)

    model.forward = look
    entry = evaluate_dataset(model, plan(stand_in_cfg, VAL))
    register_shapes(shapes_root)
    assert seen == [((24, 30), 0.4)] * 2
    assert model.task_settings == TaskSettings(object_mask_threshold=0.0)
    assert entry["protocol"]["thresholds"]["object_mask"] == 0.4
    assert entry["protocol"]["test_size"] == [24, 99]


RANK = """
import sys
import torch
from detectron2.modeling import build_model
import tests.engine.conftest
from frozenseg.config import load_config
from frozenseg.data.catalog.lookup import datasets_root
from frozenseg.engine.evaluate import evaluate
from frozenseg.engine.processes import launch
from tests.shapes_world import register_shapes

def main():
    cfg = load_config(sys.argv[1])
    register_shapes(datasets_root())
    torch.manual_seed(0)
    evaluate(cfg, build_model(cfg))

launch(main, (), device="cpu", num_gpus=0)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_two_processes_count_three_images_once(stand_in_cfg, tmp_path, monkeypatch):
    """gloo, 2 ranks: one of them has two of the three images. The scores are those of one."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    write_shapes(tmp_path / "shapes", train=1, val=3, size=(32, 40))
    register_shapes(tmp_path)
    annotations = Path(MetadataCatalog.get(VAL).panoptic_json)
    content = json.loads(annotations.read_text())
    for annotation in content["annotations"]:
        annotation["segments_info"][0]["area"] = -4
    annotations.write_text(json.dumps(content))
    torch.manual_seed(0)
    stand_in_cfg.TEST.SAVE_PREDICTIONS = True
    expected = evaluate(stand_in_cfg, build_model(stand_in_cfg))
    results = Path(stand_in_cfg.OUTPUT_DIR) / "results.json"
    alone = read_results(results)
    results.unlink()
    predictions = results.parent / "predictions"
    predictions.rename(tmp_path / "alone")
    config = tmp_path / "config.yaml"
    config.write_text(stand_in_cfg.dump())
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    common = {
        **os.environ,
        **{"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"},
        **{"MASTER_PORT": str(port), "PYTHONPATH": str(ROOT)},
    }
    command = [sys.executable, "-W", "ignore", "-c", RANK, str(config)]
    ranks = [
        subprocess.Popen(
            command,
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    said = [rank.communicate(timeout=120)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], said
    (entry,) = read_results(results)
    assert entry["images"] == 3
    assert entry["metrics"] == alone[0]["metrics"]
    assert any("3 in 3 of 3 images" in text for text in entry["warnings"])
    assert entry["warnings"] == alone[0]["warnings"]
    assert flat_scores(entry["metrics"]) == expected[VAL]
    kept = {
        folder: {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
        for folder in (predictions, tmp_path / "alone")
    }
    joined, one = ({key: path.read_bytes() for key, path in kept[f].items()} for f in kept)
    assert len(one) == 3 + 3 + 5
    assert joined == one
