"""What Cityscapes' scripts are given, and what is said where they are not installed.

The scripts themselves are stood in for by a module with the functions that are called; where the
package is installed, the last test runs it on files.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from PIL import Image

from frozenseg.data.catalog.lookup import class_of_category, find_split, row_vocabulary
from frozenseg.evaluation import cityscapes_scripts
from frozenseg.evaluation.cityscapes_scripts import official_evaluators
from tests.data import raw_datasets

ROW = find_split("openvocab_cityscapes_fine_panoptic_val")
LABELS = class_of_category(ROW, row_vocabulary(ROW))
CAR = LABELS[26]
INSTALLED = importlib.util.find_spec(cityscapes_scripts.PACKAGE) is not None


@pytest.fixture
def data(tmp_path):
    """gtFine/val and the records of its two images."""
    raw_datasets.make_cityscapes(tmp_path)
    images = sorted((tmp_path / "cityscapes/leftImg8bit/val").rglob("*.png"))
    records = [{"file_name": str(path)} for path in images]
    return tmp_path / "cityscapes/gtFine/val", records


def truth(folder, record, kind):
    name = Path(record["file_name"]).name.removesuffix("_leftImg8bit.png")
    [path] = folder.rglob(f"{name}_gtFine_{kind}.png")
    return path


def outputs(folder, records):
    """The ground truth as predictions."""
    found = []
    for record in records:
        ids = np.array(Image.open(truth(folder, record, "instanceIds")))
        cars = [identity for identity in (26000, 26001) if (ids == identity).any()]
        instances = Instances(ids.shape)
        masks = np.array([ids == identity for identity in cars]).reshape(-1, *ids.shape)
        instances.pred_masks = torch.from_numpy(masks)
        instances.scores = torch.linspace(0.9, 0.8, len(cars))
        instances.pred_classes = torch.full((len(cars),), CAR)
        labels = np.array(Image.open(truth(folder, record, "labelIds"))).astype(int)
        classes = np.vectorize(lambda label: LABELS.get(label, 0))(labels)
        found.append({"instances": instances, "semantic_labels": torch.from_numpy(classes)})
    return found


@pytest.fixture
def scripts(monkeypatch):
    """Modules with the scripts' interface; what they were called with is kept."""
    calls = {}
    answers = {
        "evalInstanceLevelSemanticLabeling": {"averages": {"allAp": 0.5, "allAp50%": 0.75}},
        "evalPixelLevelSemanticLabeling": {
            "averageScoreClasses": 0.25, "averageScoreInstClasses": 0.125
        },
    }  # fmt: skip
    for name, answer in answers.items():
        module = types.ModuleType(f"cityscapesscripts.evaluation.{name}")
        module.args = types.SimpleNamespace()

        def evaluate(predictions, truths, args, name=name, answer=answer):
            read = [Path(path).read_bytes() for path in predictions]
            calls[name] = (predictions, truths, vars(args).copy(), read)
            return answer

        module.evaluateImgLists = evaluate
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(cityscapes_scripts.importlib.util, "find_spec", lambda name: object())
    return calls


def test_the_scripts_get_pairs_of_files_and_their_scores_become_percent(scripts, data):
    folder, records = data
    judges = official_evaluators(["instance", "semantic", "panoptic"], LABELS, str(folder))
    result = {}
    for judge in judges:
        judge.reset()
        judge.process(records, outputs(folder, records))
        result |= judge.evaluate()
        assert not judge.folder.exists()
    assert result == {
        "cityscapes_instance": {"all": {"AP": 50.0, "AP50": 75.0}},
        "cityscapes_semantic": {"all": {"IoU": 25.0, "iIoU": 12.5}},
    }
    for kind, call in zip(("instanceIds", "labelIds"), scripts.values(), strict=True):
        assert call[1] == [str(truth(folder, record, kind)) for record in records]
        assert call[2]["predictionPath"] == str(Path(call[0][0]).parent)
        assert not call[2]["JSONOutput"]
    lines = scripts["evalInstanceLevelSemanticLabeling"][3][0].decode().splitlines()
    assert [line.split()[1] for line in lines] == ["26", "26"]
    assert all(len(line.split(" ")) == 3 for line in lines)


def test_label_maps_have_label_ids_not_train_ids(data, tmp_path):
    folder, records = data
    judge = cityscapes_scripts.CityscapesLabels(LABELS, folder)
    judge.reset()
    judge.process(records[:1], outputs(folder, records[:1]))
    written = np.array(Image.open(judge.files[0][0]))
    labels = np.array(Image.open(truth(folder, records[0], "labelIds")))
    scored = np.isin(labels, list(LABELS))
    np.testing.assert_array_equal(written[scored], labels[scored])


def test_a_mistake_that_the_script_reports_is_one_error(scripts, data):
    def complain(*_):
        print("ERROR: no prediction for munster")
        sys.exit(-1)

    sys.modules[
        "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling"
    ].evaluateImgLists = complain
    folder, records = data
    [judge] = official_evaluators(["semantic"], LABELS, str(folder))
    judge.reset()
    judge.process(records, outputs(folder, records))
    with pytest.raises(ValueError, match="cityscapesscripts: ERROR: no prediction for munster"):
        judge.evaluate()


def test_without_the_package_the_log_says_what_differs(monkeypatch, caplog):
    monkeypatch.setattr(cityscapes_scripts.importlib.util, "find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING):
        assert official_evaluators(["instance"], LABELS, "x") == []
    assert "pip install cityscapesscripts" in caplog.text
    assert "AP here is COCO's" in caplog.text


@pytest.mark.skipif(not INSTALLED, reason="cityscapesscripts is not installed")
def test_the_real_scripts_give_100_to_the_ground_truth(data):
    folder, records = data
    for judge in official_evaluators(["semantic"], LABELS, str(folder)):
        judge.reset()
        judge.process(records, outputs(folder, records))
        [scores] = judge.evaluate().values()
        assert scores["all"]["IoU"] == pytest.approx(100)
