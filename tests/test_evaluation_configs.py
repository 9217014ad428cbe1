"""configs/evaluation/: every model of configs/ merges with every benchmark and builds on "meta"."""

from __future__ import annotations

from pathlib import Path

import pytest
from detectron2.data import MetadataCatalog

from frozenseg.build import build_model
from frozenseg.config import load_config
from frozenseg.data.catalog.lookup import DATASET_SPLITS
from frozenseg.data.catalog.register import register_splits, registered_split
from tests.data import raw_datasets

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
MODELS = sorted(p for folder in ("fcclip", "frozenseg") for p in (CONFIGS / folder).glob("*.yaml"))
EVALUATIONS = sorted((CONFIGS / "evaluation").glob("*.yaml"))
TASKS = {"panoptic": "PANOPTIC_ON", "instance": "INSTANCE_ON", "semantic": "SEMANTIC_ON"}


@pytest.fixture(scope="module", autouse=True)
def words_that_come_with_the_data(tmp_path_factory):
    """LVIS, A-847 and PC-459 publish their class names beside the annotations."""
    root = tmp_path_factory.mktemp("datasets")
    raw_datasets.make_lvis(root, "val")
    raw_datasets.make_pascal_context(root, "val")
    raw_datasets.make_ade20k_full(root, "val")
    classes = str(root / "ade20k_full_classes.tsv")
    assert raw_datasets.run_prepare("ade20k_full", root, "--classes", classes) == 0
    register_splits(root=root)
    yield
    register_splits()


def load(model, evaluation):
    return load_config(model, ["MODEL.DEVICE", "meta"], recipe=evaluation)


def test_every_benchmark_with_an_official_validation_split_has_a_file():
    wanted = {
        row.benchmark
        for row in DATASET_SPLITS
        if row.split == "val"
        and row.kind != "episodes"  # other models
        and not row.benchmark.startswith("miniature")
    }
    found = {registered_split(load(MODELS[0], p).DATASETS.TEST[0]).benchmark for p in EVALUATIONS}
    assert found == wanted
    assert {path.stem for path in EVALUATIONS} == wanted


@pytest.mark.parametrize("path", EVALUATIONS, ids=lambda path: path.stem)
def test_the_tasks_are_those_that_the_ground_truth_can_score(path):
    cfg = load(MODELS[0], path)
    row = registered_split(cfg.DATASETS.TEST[0])
    on = {task for task, key in TASKS.items() if cfg.MODEL.MASK_FORMER.TEST[key]}
    assert on == set(row.tasks)
    header = path.read_text(encoding="utf-8").split("DATASETS:")[0]
    assert f"--recipe configs/evaluation/{path.name}" in header


@pytest.mark.parametrize("model", MODELS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_model_builds_with_the_words_of_every_benchmark(model):
    first, *others = (load(model, path) for path in EVALUATIONS)
    built = build_model(first)
    for cfg in (first, *others):
        vocabulary = MetadataCatalog.get(cfg.DATASETS.TEST[0]).vocabulary
        built.set_vocabulary(vocabulary)
        assert len(built.seen_C) == len(vocabulary)
    assert all(parameter.is_meta for parameter in built.parameters())


@pytest.mark.parametrize("path", EVALUATIONS, ids=lambda path: path.stem)
def test_one_model_builds_from_each_merged_config(path):
    cfg = load(CONFIGS / "fcclip" / "r50.yaml", path)
    vocabulary = MetadataCatalog.get(cfg.DATASETS.TEST[0]).vocabulary
    assert build_model(cfg).vocabulary == vocabulary
