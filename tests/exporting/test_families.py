"""FrozenSeg with SAM inside, Mask-Adapter, content-dependent text and COAT as ONNX files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import frozenseg
from frozenseg import ExportedSegmenter
from frozenseg.exporting.deviation import deviations
from frozenseg.exporting.export import export, graph_of, trace, write_onnx
from frozenseg.exporting.graph import ImageGraph
from frozenseg.mask_classification.class_path import DENSE

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
WORDS = "purple heart; sand, beach:stuff; blue star; red circle"


def check(rows):
    """Two sizes, two numbers of words, a batch of 2; with masks and with empty ones."""
    assert [row["masks"] for row in rows] == ["some"] * 3 + ["none"] * 3
    for row in rows:
        assert row["mask_logits"] < 2e-3, row  # of up to a thousand
        assert row["clip_embeddings"] < 1e-4, row
        assert row["class_log_probs"] < 5e-3, row
        assert row.get("panoptic_log_probs", 0.0) < 5e-3, row
        assert row["same class %"] == 100, row
        assert row["same sign %"] > 99.99, row


@pytest.fixture(scope="module")
def segmenter():
    return frozenseg.load("miniature-frozenseg", device="cpu")


@pytest.fixture(scope="module")
def folder(segmenter, tmp_path_factory):
    made = tmp_path_factory.mktemp("frozenseg")
    export(segmenter, made, with_embeddings=True)
    return made


@pytest.mark.slow
def test_frozenseg_is_one_file_with_sam_inside(segmenter, folder):
    graph = ImageGraph(segmenter.predictor.model, with_embeddings=True).eval()
    before = {name: weight.clone() for name, weight in graph.state_dict().items()}
    check(deviations(graph, folder / "image.onnx", threads=1))
    after = graph.state_dict()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())


@pytest.mark.slow
@pytest.mark.parametrize("task", ["panoptic", "semantic", "instance"])
def test_frozenseg_segments_without_torch_as_with_it(task, segmenter, folder):
    exported = ExportedSegmenter(folder)
    scene = Image.open(frozenseg.sample_image()).convert("RGB")
    for image, words in ((scene, None), (scene.resize((150, 90)), WORDS)):
        found, expected = exported(image, words, task), segmenter(image, words, task)
        np.testing.assert_array_equal(found.label_map, expected.label_map)
        names = [each.name for each in expected.segments]
        assert [each.name for each in found.segments] == names


@torch.no_grad()
def test_the_embeddings_are_those_that_clip_pools_in_the_masks(segmenter):
    model = segmenter.predictor.model
    sample = {"image": torch.randint(0, 256, (3, 70, 90), dtype=torch.uint8)}
    images, features = model.encode([sample])
    masks = model._decode(features, model.vocabulary, auxiliary=False).final.mask_logits_BQHW
    expected, _ = model.backbone.pool_masks(features[DENSE], masks)
    graph = ImageGraph(model, with_embeddings=True).eval()
    inputs = graph.random_inputs(batch=1)
    padded = torch.zeros_like(images.tensor)
    padded[:, :, :70, :90] = sample["image"]
    inputs = inputs._replace(image_B3HW=padded, size_B2=torch.tensor([[70, 90]]))
    found = dict(zip(graph.outputs, graph(*inputs), strict=True))
    torch.testing.assert_close(found["clip_embeddings"], expected)


@pytest.mark.slow
def test_adapter_content_text_and_coat_are_one_graph(tmp_path):
    """A Mask-Adapter on MAFT+ with COAT: all parts of the class path that a config can ask for."""
    torch.manual_seed(0)
    opts = {
        "MODEL.META_ARCHITECTURE": "MAFT_Plus",
        "MODEL.CDT.FORM": "semantic",
        "MODEL.CDT.EMBEDDING": "released",
        "MODEL.FC_CLIP.VOID_TRUST": "0.25",
    }
    model = frozenseg.load(
        CONFIGS / "miniature" / "mask_adapter.yaml",
        weights="",
        device="cpu",
        opts=[word for pair in opts.items() for word in pair],
    ).predictor.model
    assert None not in (model.mask_adapter, model.cdt)
    # A decoder with masks; the adapter and the transfer stay random.
    trained = frozenseg.load("miniature-fcclip", device="cpu").predictor.model
    loaded = model.load_state_dict(trained.state_dict(), strict=False)
    assert loaded.unexpected_keys == ["criterion.empty_weight"]
    graph = graph_of(model, with_embeddings=True).eval()
    assert "panoptic_log_probs" in graph.outputs
    with torch.no_grad():
        write_onnx(trace(graph), graph, tmp_path, int8=False)
    check(deviations(graph, tmp_path / "image.onnx", threads=1))
