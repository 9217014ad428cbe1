"""Label maps of windows in numpy: those of the eager sliding window."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from frozenseg.exporting.export import trace, write_onnx
from frozenseg.exporting.fusioner_graph import WindowGraph
from frozenseg.exporting.windows import semantic_labels
from frozenseg.inference.argmax import labels_of
from frozenseg.inference.sliding_window import sliding_window
from frozenseg.structures import BACKGROUND, TextClassifier
from frozenseg.vocab import Vocabulary


@pytest.mark.parametrize(
    ("size", "stride"),
    [((40, 70), 24), ((32, 32), 24), ((20, 33), 32), ((7, 5), 10), ((100, 31), 17)],
)
def test_labels_are_those_of_the_eager_sliding_window(size, stride):
    draw = torch.Generator().manual_seed(0)
    image = 255 * torch.rand(3, *size, generator=draw)
    mix = torch.randn(5, 3, generator=draw) / 100
    owners = torch.tensor([0, 0, 1, 2, 2])

    def score(windows):
        return torch.einsum("sc,bcij->bsij", mix, windows) - 0.5

    def score_classes(windows):
        classifier = TextClassifier(mix, owners, 3)
        return classifier.max_over_synonyms(score(windows).movedim(1, -1)).movedim(-1, 1)

    bands = sliding_window(image, score_classes, crop=32, stride=stride, batch=3)
    expected = labels_of(torch.cat([logits for _, logits in bands], dim=1), 0.6)
    calls = []

    def run(windows, sizes):
        calls.append(len(windows))
        assert sizes.min() > 0
        assert sizes.max() <= 32
        return score(torch.from_numpy(windows)).numpy()

    actual = semantic_labels(
        image.numpy(), run, owners.numpy(), crop=32, stride=stride, threshold=0.6, batch=3
    )
    assert actual.dtype == np.int32
    assert len(np.unique(actual)) > 1
    np.testing.assert_array_equal(actual, expected)
    assert max(calls) <= 3


def test_what_is_not_a_number_is_background():
    image = np.zeros((3, 8, 8), np.uint8)
    labels = semantic_labels(
        image,
        lambda windows, _: np.full((len(windows), 1, 8, 8), np.nan, np.float32),
        np.zeros(1, np.int64),
        crop=8,
        stride=8,
        threshold=0.5,
    )
    assert (labels == BACKGROUND).all()


@pytest.mark.parametrize(
    ("shape", "stride", "batch", "message"),
    [((3, 0, 5), 8, 1, "shape"), ((3, 9, 9), 9, 1, "gaps"), ((3, 9, 9), 8, 0, "at least 1")],
)
def test_bad_windows_are_refused(shape, stride, batch, message):
    with pytest.raises(ValueError, match=message):
        semantic_labels(
            np.zeros(shape),
            lambda *_: np.zeros(0),
            np.zeros(1, np.int64),
            crop=8,
            stride=stride,
            threshold=0.5,
            batch=batch,
        )


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("method", ["early", "late", "spnet"])
def test_an_exported_fusioner_gives_the_eager_labels(build, method, tmp_path):
    model = build(method, threshold=0.5)
    graph = WindowGraph(model).eval()
    write_onnx(trace(graph), graph, tmp_path, False)
    session = onnxruntime.InferenceSession(tmp_path / "image.onnx")
    assert tuple(each.name for each in session.get_inputs()) == graph.inputs
    for batch, words in ((1, 1), (3, 7)):
        inputs = graph.random_inputs(batch=batch, words=words, seed=words)
        named = dict(zip(graph.inputs, (each.numpy() for each in inputs), strict=True))
        [logits] = session.run(None, named)
        assert logits.shape == (batch, words, 32, 32)
        np.testing.assert_allclose(logits, graph(*inputs)[0], atol=1e-4)
    for words, size in (("cat, kitten; dog; tree", (40, 75)), ("sky", (20, 33))):
        vocabulary = Vocabulary.parse(words)
        model.set_vocabulary(vocabulary)
        image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
        [expected] = model([{"image": image}])
        text = model.classifier(vocabulary)
        fixed = {"text": text.embeddings_SK.numpy()}
        if "rivals" in graph.inputs:
            fixed["rivals"] = model._rivals(range(len(vocabulary)), text.embeddings_SK).numpy()
        labels = semantic_labels(
            image.numpy(),
            lambda images, sizes, fixed=fixed: session.run(
                None, {"image": images, "size": sizes, **fixed}
            )[0],
            text.class_of_synonym_S.numpy(),
            crop=model.crop,
            stride=model.stride,
            threshold=model.threshold,
        )
        assert (labels == expected["semantic_labels"].numpy()).mean() > 0.999


def test_zs3net_is_refused(build):
    with pytest.raises(ValueError, match="zs3net cannot be exported"):
        WindowGraph(build("zs3net"))
