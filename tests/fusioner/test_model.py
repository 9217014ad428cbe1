"""The meta-architecture: detectron2's contract, words, windows, what is trained."""

from __future__ import annotations

import pytest
import torch

from frozenseg.encoders.visual.feature_cache import CachedVisualEncoder
from frozenseg.structures import BACKGROUND, IGNORED, OTHER_CLASS
from frozenseg.vocab import Vocabulary

METHODS = ("early", "late", "spnet", "zs3net")


def image(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def training_batch():
    samples = []
    for index in range(3):
        labels = torch.full((32, 32), BACKGROUND, dtype=torch.int32)
        labels[4:20, 4:28] = index % 3
        labels[28:], labels[:2] = IGNORED, OTHER_CLASS
        samples.append({"image": image(32, 32, index), "labels": labels, "asked": index % 3})
    return samples


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_labels_of_any_image_size(build, method):
    model = build(method)
    for size in ((32, 32), (20, 50), (75, 33)):
        labels = model([{"image": image(*size)}])[0]["semantic_labels"]
        assert labels.shape == size
        assert labels.dtype == torch.int32
        assert labels.min() >= BACKGROUND
        assert labels.max() < 3


@pytest.mark.parametrize("method", METHODS)
def test_only_asked_classes_are_found(build, method):
    model = build(method, threshold=0.0)
    found = model([{"image": image(40, 40), "asked": (2, 0)}])[0]["semantic_labels"]
    expected = {2, 0} if method in ("early", "late") else {2, 0, BACKGROUND}
    assert set(found.unique().tolist()) <= expected
    assert 1 not in found


def test_the_order_of_the_asked_classes_does_not_matter(build):
    model = build()
    first, second = (
        model([{"image": image(40, 40), "asked": asked}])[0]["semantic_labels"]
        for asked in ((0, 1, 2), (2, 0, 1))
    )
    assert (first == second).float().mean() > 0.999


def test_a_class_is_where_its_best_synonym_is(build):
    """Late fusion, whose words do not see each other."""
    model = build("late", threshold=0.0)
    sample = {"image": image(32, 32)}
    joint = model([sample])[0]["semantic_labels"]
    model.set_vocabulary(Vocabulary.parse("cat; kitten; dog; tree"))
    apart = model([sample])[0]["semantic_labels"]
    assert torch.equal(joint, torch.tensor([0, 0, 1, 2], dtype=torch.int32)[apart.long()])


def test_words_change_without_a_new_model(build):
    model, sample = build(threshold=0.0), {"image": image(32, 32)}
    model.set_vocabulary(Vocabulary.parse("house"))
    assert torch.equal(
        model([sample])[0]["semantic_labels"], torch.zeros(32, 32, dtype=torch.int32)
    )


def test_results_have_the_wanted_size(build):
    model, pixels = build(), image(40, 40)
    own = model([{"image": pixels}])[0]["semantic_labels"]
    twice = model([{"image": pixels, "height": 80, "width": 120}])[0]["semantic_labels"]
    assert twice.shape == (80, 120)
    assert torch.equal(twice[::2, ::3], own)


def test_windows_together_equal_windows_alone(build):
    sample = {"image": image(70, 90)}
    together = build(windows_at_once=5)([sample])[0]["semantic_labels"]
    alone = build(windows_at_once=1)([sample])[0]["semantic_labels"]
    assert (together == alone).float().mean() > 0.999


@pytest.mark.parametrize("method", METHODS)
def test_training_moves_the_method_and_nothing_else(build, method):
    model = build(method).train()
    torch.manual_seed(1)
    losses = model(training_batch())
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {name for name, _ in model.named_parameters() if name.startswith("method.")}
    missing = [n for n, p in model.named_parameters() if n in trained and p.grad is None]
    assert not missing
    assert not model.visual.training
    assert not model.language.training


def test_the_loss_is_that_of_the_asked_class_without_ignored_pixels(build):
    model, batch = build().train(), training_batch()
    assert set(model(batch)) == set(model.loss_divisors)
    before = model(batch)["loss_bce"]
    for sample in batch:
        labels = sample["labels"]
        # Which other class it is does not matter to a question for one class.
        labels[labels == OTHER_CLASS] = BACKGROUND
    assert torch.equal(model(batch)["loss_bce"], before)
    for sample in batch:
        sample["labels"][sample["labels"] == IGNORED] = BACKGROUND
    assert not torch.equal(model(batch)["loss_bce"], before)


def test_a_step_lowers_the_loss(build):
    model, batch = build().train(), training_batch()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for _ in range(8):
        loss = model(batch)["loss_bce"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_kept_features_give_the_same_loss_and_are_for_training_alone(build, tmp_path):
    model, batch = build().train(), training_batch()
    cached = CachedVisualEncoder(model.visual, tmp_path, dtype=torch.float32)
    other = build(features=cached).train()
    expected = model(batch)["loss_bce"]
    computed = []
    model.visual.register_forward_hook(lambda *call: computed.append(len(call[2])))
    for _ in range(2):
        assert torch.equal(other(batch)["loss_bce"], expected)
        assert computed == [3]
    kept = sorted(tmp_path.rglob("*.safetensors"))
    other.eval()([{"image": image(40, 40)}])
    assert sorted(tmp_path.rglob("*.safetensors")) == kept
    assert model.state_dict().keys() == other.state_dict().keys()


def test_only_the_comparisons_let_training_classes_compete(build):
    """The asked words and their synonyms are no rivals of themselves; background always is one."""
    for method, expected in (("early", 0), ("late", 0), ("spnet", 3), ("zs3net", 3)):
        model = build(method)
        words = model.classifier(model.vocabulary).embeddings_SK
        assert len(model._rivals([0], words)) == expected
    model.set_vocabulary(Vocabulary.parse("kitten; house"))
    assert len(model._rivals([0], words)) == 3  # dog, tree, background
    assert len(model._rivals([1], words)) == 4


def test_asking_for_nothing_is_an_error(build):
    with pytest.raises(ValueError, match="names no class"):
        build()([{"image": image(32, 32), "asked": ()}])


def test_a_sample_without_labels_is_an_error_that_names_the_mapper(build):
    with pytest.raises(ValueError, match=r"INPUT\.DATASET_MAPPER_NAME must be 'episodes'"):
        build().train()([{"image": image(32, 32)}])
