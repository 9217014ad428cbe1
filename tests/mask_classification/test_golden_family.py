"""FC-CLIP's descendants against the golden values: Mask-Adapter and COAT."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from frozenseg.inference.class_ensemble import ensemble_classes
from frozenseg.mask_classification.class_path import CELLS
from tests.mask_classification.conftest import build_golden_model
from tests.mask_classification.test_golden import (
    CALLS,
    close,
    compare_instances,
    rows_of_distinct_synonyms,
    without_scores,
)

pytestmark = pytest.mark.golden

BASE = "fcclip_tiny_convnext"


def read(path: Path) -> Any:
    return torch.load(path, weights_only=True)


def options(section: str, **values: Any) -> list[str]:
    """Config pairs for keys of one section."""
    return [word for key, value in values.items() for word in (f"{section}.{key}", str(value))]


def adapter_options(config: dict[str, Any]) -> list[str]:
    return options(
        "MODEL.MASK_ADAPTER",
        NAME="MASKAdapterHead",
        MASK_IN_CHANNELS=config.get("mask_in_channels", 16),
        NUM_CHANNELS=config.get("num_channels", 24),
        NUM_OUTPUT_MAPS=config.get("num_output_maps", 4),
        MASK_THRESHOLD=config["mask_threshold"],
    ) + options(
        "MODEL.FC_CLIP",
        GEOMETRIC_ENSEMBLE_ALPHA=config["alpha"],
        GEOMETRIC_ENSEMBLE_BETA=config["beta"],
    )


@pytest.fixture(scope="module")
def inputs(golden_dir):
    return read(golden_dir / BASE / "inputs.pt")


@pytest.fixture(scope="module")
def adapter_eval(golden_dir):
    return read(golden_dir / "mask_adapter_tiny" / "eval.pt")


@pytest.fixture(scope="module")
def adapter_model(golden_dir, adapter_eval, tmp_path_factory):
    return build_golden_model(
        golden_dir / BASE,
        tmp_path_factory.mktemp("adapter"),
        *adapter_options(adapter_eval["config"]),
        parts=read(golden_dir / "mask_adapter_tiny" / "adapter_state_dict.pt"),
    )


@pytest.mark.parametrize("call", CALLS)
def test_mask_adapter(adapter_model, inputs, adapter_eval, call):
    model, samples, expected = adapter_model, [inputs[i] for i in CALLS[call]], adapter_eval[call]
    with torch.no_grad():
        _, features = model.encode(samples)
        prediction = model._decode(features, model.vocabulary, False).final
        close(prediction.class_logits_BQC1, expected["pred_logits"])
        if "binary_masks" in expected:
            close(features[CELLS], expected["clip_dense_embedding"])
            maps = model.mask_adapter(features[CELLS], expected["binary_masks"])
            close(maps.flatten(1, 2), expected["adapter_maps"])
        pooled, _ = model.class_path.embed_masks(prediction.mask_logits_BQHW, features)
        close(pooled, expected["pooled_embedding"])
        logits = model.classify(prediction, features)
        close(logits.shared, expected["mask_cls_after_ensemble"])
        assert logits.panoptic is logits.shared
    for result, image in zip(model(samples), expected["per_image"], strict=True):
        label_map, segments = result["panoptic_seg"]
        assert (label_map == image["panoptic_seg"]).float().mean() >= 0.999
        assert without_scores(segments) == image["segments_info"]
        labels = result["sem_seg"].argmax(0)
        assert (labels == image["sem_seg_argmax"]).float().mean() >= 0.999
        if "sem_seg_stride8" in image:
            close(result["sem_seg"][:, ::8, ::8], image["sem_seg_stride8"])
        compare_instances(result["instances"], image)


@pytest.mark.parametrize("trust", [0.0, 0.5, 1.0])
def test_coat_formula(golden_dir, trust):
    cases = read(golden_dir / "coat" / "cases.pt")
    result = ensemble_classes(
        cases["in_vocabulary_logits"],
        cases["clip_logits_without_void"],
        cases["seen"].bool(),
        alpha=cases["alpha"],
        beta=cases["beta"],
        void_trust=trust,
    )
    close(result, cases["log_space_results"][str(trust)], atol=5e-5)
    released = cases["results"][str(trust)]
    finite = released.isfinite().all(-1)
    close(result[finite], released[finite], atol=5e-5)


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("trust", [0.0, 0.5, 1.0])
def test_coat_model(golden_dir, tmp_path, inputs, trust, everywhere):
    golden = read(golden_dir / "coat" / "model.pt")
    expected = golden["eval"][str(trust)]
    model = build_golden_model(
        golden_dir / BASE,
        tmp_path,
        *options("MODEL.FC_CLIP", VOID_TRUST=trust, VOID_TRUST_EVERYWHERE=everywhere),
        *("MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD", str(golden["config"]["overlap_threshold"])),
    )
    plain = read(golden_dir / BASE / "eval.pt")["img0"]
    image = inputs[0]
    with torch.no_grad():
        _, features = model.encode([image])
        prediction = model._decode(features, model.vocabulary, False).final
        logits = model.classify(prediction, features)
    close(logits.panoptic, expected["mask_cls"])
    close(logits.shared, expected["mask_cls"] if everywhere else plain["mask_cls_after_ensemble"])
    result = model([image])[0]
    label_map, segments = result["panoptic_seg"]
    assert (label_map == expected["panoptic_seg"]).float().mean() >= 0.999
    assert without_scores(segments) == expected["segments_info"]
    if everywhere:
        labels = result["sem_seg"].argmax(0)
        assert (labels == expected["sem_seg_argmax"]).float().mean() >= 0.999


@pytest.mark.parametrize("form", ["semantic", "panoptic"])
@pytest.mark.parametrize("folder", ["maftplus_tiny", "mask_adapter_maft_tiny"])
def test_maftplus(golden_dir, tmp_path, inputs, folder, form):
    golden = read(golden_dir / folder / "model.pt")
    expected, config = golden[f"{form}_form"], golden["config"]
    transfer = read(golden_dir / "maftplus_tiny" / "model.pt")["cdt_state_dict"]
    parts, opts = dict(transfer), options("MODEL.CDT", FORM=form, EMBEDDING="released")
    if folder == "mask_adapter_maft_tiny":
        ground_truth = read(golden_dir / "mask_adapter_tiny" / "train_ground_truth.pt")
        parts = dict(ground_truth["cdt_state_dict"])
        parts |= read(golden_dir / "mask_adapter_tiny" / "adapter_state_dict.pt")
        opts += adapter_options(config)
        overlap, least = 0.7, 0.0
    else:
        opts += options("MODEL.FC_CLIP", GEOMETRIC_ENSEMBLE_ALPHA=1.0, GEOMETRIC_ENSEMBLE_BETA=1.0)
        overlap, least = config["overlap_threshold"], config["object_mask_threshold"]
    opts += options(
        "MODEL.MASK_FORMER.TEST", OVERLAP_THRESHOLD=overlap, OBJECT_MASK_THRESHOLD=least
    )
    model = build_golden_model(
        golden_dir / BASE, tmp_path, "MODEL.META_ARCHITECTURE", "MAFT_Plus", *opts, parts=parts
    )
    with torch.no_grad():
        _, features = model.encode([inputs[1]])
        close(features[CELLS], expected["clip_dense_scrambled"])
        prediction = model._decode(features, model.vocabulary, False).final
        classifier = model.classifier(model.vocabulary)
        text = model.class_path.text(classifier.embeddings_SK, features)
        close(text, expected["text_after_cdt"][:, rows_of(golden_dir)])
        pooled, _ = model.class_path.embed_masks(prediction.mask_logits_BQHW, features)
        close(pooled, expected["pooled_embedding"])
        name = "mask_cls" if "mask_cls" in expected else "mask_cls_after_ensemble"
        close(model.classify(prediction, features).shared[0], expected[name])
    if "panoptic_seg" not in expected:  # there, the semantic form has this one task
        model.task_settings = replace(
            model.task_settings, panoptic=False, instance=False, semantic_at_padded_size=True
        )
    result = model([inputs[1]])[0]
    labels = result["sem_seg"].argmax(0)
    assert (labels == expected["sem_seg_argmax"]).float().mean() >= 0.999
    if "sem_seg_stride8" in expected:
        close(result["sem_seg"][:, ::8, ::8], expected["sem_seg_stride8"])
    if "panoptic_seg" in expected:
        label_map, segments = result["panoptic_seg"]
        assert (label_map == expected["panoptic_seg"]).float().mean() >= 0.999
        assert without_scores(segments) == expected["segments_info"]


def rows_of(golden_dir):
    names = json.loads((golden_dir / BASE / "vocab.json").read_text())["test_stuff_classes"]
    return rows_of_distinct_synonyms(names)
