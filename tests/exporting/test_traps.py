"""What the ONNX exporter, its optimizer or onnxruntime would change silently, each on a small part.

Every part is exported as models are, with free sizes, and run at sizes that it was not exported at.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frozenseg.encoders.clip.image_towers import attention_pool
from frozenseg.exporting.export import OPSET
from frozenseg.inference.class_ensemble import ensemble_classes
from frozenseg.layers.attention import MultiheadAttention
from frozenseg.layers.deform_attention import MultiScaleDeformableAttention
from frozenseg.layers.mask_pooling import has_positive, pool_by_masks
from frozenseg.layers.position_encoding import sine_position_code
from frozenseg.mask_classification.mask_adapter import pool_by_maps
from frozenseg.structures import TextClassifier

pytestmark = pytest.mark.slow


class Part(nn.Module):
    """A function, and the module whose weights it reads."""

    def __init__(self, function: Any, module: nn.Module | None = None) -> None:
        super().__init__()
        self.module, self.function = module or nn.Module(), function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def exported(part: Part, example: tuple[Tensor, ...], free: tuple[dict[int, Any], ...], path: Any):
    """Runs the exported part: tensors in, arrays out."""
    with torch.no_grad():
        program = torch.export.export(part, example, dynamic_shapes=(free,), strict=False)
    converted = torch.onnx.export(program, (), opset_version=OPSET, dynamo=True, verbose=False)
    converted.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(*inputs: Tensor) -> list[np.ndarray]:
        return session.run(None, dict(zip(names, (x.numpy() for x in inputs), strict=True)))

    return run


def free(*axes: int) -> dict[int, Any]:
    return dict.fromkeys(axes, torch.export.Dim.DYNAMIC)


def test_the_mean_inside_an_empty_mask_is_zero_not_nan(tmp_path):
    example = torch.randn(2, 3, 4, 5), torch.randn(2, 6, 8, 10)
    sizes = (free(0, 2, 3), free(0, 2, 3))
    run = exported(Part(pool_by_masks), example, sizes, tmp_path / "a.onnx")
    features, masks = torch.randn(1, 3, 5, 3), torch.randn(1, 6, 10, 6)
    masks[:, 2] = -1.0
    (pooled,) = run(features, masks)
    np.testing.assert_allclose(pooled, pool_by_masks(features, masks).numpy(), atol=1e-6)
    assert not pooled[:, 2].any()


def test_the_floor_of_the_probabilities_is_kept(tmp_path):
    """`p + 1e-8` is p to an optimizer that takes 1e-8 for 0, and log(0) is -inf."""

    def ensemble(inside: Tensor, outside: Tensor, seen: Tensor, valid: Tensor) -> Tensor:
        return ensemble_classes(inside, outside, seen, valid_BQ=valid, void_trust=0.5)

    def case(batch: int, classes: int) -> tuple[Tensor, ...]:
        inside = torch.randn(batch, 4, classes + 1)
        inside[:, 0, 0] = 1e4  # the others' probabilities are exactly 0
        outside = 100 * torch.randn(batch, 4, classes)
        valid = torch.tensor([True, True, False, True]).expand(batch, -1)
        outside[:, 2] = float("nan")  # of an empty mask
        return inside, outside, torch.rand(classes) < 0.5, valid

    sizes = (free(0, 2), free(0, 2), free(0), free(0))
    run = exported(Part(ensemble), case(2, 5), sizes, tmp_path / "a.onnx")
    for inputs in (case(1, 3), case(3, 9)):
        (found,) = run(*inputs)
        expected = ensemble(*inputs).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert found.min() == pytest.approx(np.log(1e-8), abs=1e-5)


def test_equal_numbers_of_words_and_classes_do_not_fix_either(tmp_path):
    def nearest(logits: Tensor, index: Tensor, seen: Tensor) -> Tensor:
        return TextClassifier(logits, index, seen.shape[0]).max_over_synonyms(logits)

    def case(words: int, classes: int) -> tuple[Tensor, ...]:
        index = torch.arange(words) * classes // words
        return torch.randn(2, 3, words) - 5, index, torch.ones(classes, dtype=torch.bool)

    sizes = (free(0, 2), free(0), free(0))
    run = exported(Part(nearest), case(6, 6), sizes, tmp_path / "a.onnx")
    for inputs in (case(7, 3), case(4, 4), case(1, 1)):
        (found,) = run(*inputs)
        np.testing.assert_array_equal(found, nearest(*inputs).numpy())


def test_attention_where_a_row_may_look_at_one_cell_only(tmp_path):
    attention = MultiheadAttention(8, 2).eval()

    def attend(query: Tensor, keys: Tensor, allowed: Tensor) -> Tensor:
        return attention(query, keys, keys, allowed)

    def case(batch: int, cells: int) -> tuple[Tensor, ...]:
        allowed = torch.rand(batch, 5, cells) < 0.5
        allowed[:, 0], allowed[..., 0] = False, True
        return torch.randn(batch, 5, 8), torch.randn(batch, cells, 8), allowed

    sizes = (free(0), free(0, 1), free(0, 2))
    run = exported(Part(attend, attention), case(2, 6), sizes, tmp_path / "a.onnx")
    inputs = case(1, 9)
    (found,) = run(*inputs)
    np.testing.assert_allclose(found, attend(*inputs).detach().numpy(), atol=1e-6)


def test_a_resnets_attention_pool_at_its_own_grid_and_at_others(tmp_path):
    """At its own size the positions are not resized: a branch that would be fixed."""
    from open_clip.modified_resnet import AttentionPool2d

    pool = AttentionPool2d(3, 8, 2, 6).eval().requires_grad_(False)

    def embed(dense: Tensor, masks: Tensor) -> Tensor:
        allowed = (masks > 0) | ~has_positive(masks)[..., None, None]
        return attention_pool(pool, dense, allowed)

    def case(batch: int, height: int, width: int) -> tuple[Tensor, ...]:
        masks = torch.randn(batch, 4, height, width)
        masks[:, 1] = -1.0
        return torch.randn(batch, 8, height, width), masks

    sizes = (free(0, 2, 3), free(0, 2, 3))
    run = exported(Part(embed, pool), case(2, 4, 5), sizes, tmp_path / "a.onnx")
    for inputs in (case(1, 3, 3), case(2, 5, 2)):
        (found,) = run(*inputs)
        np.testing.assert_allclose(found, embed(*inputs).numpy(), atol=1e-5)


def test_deformable_attention_outside_of_the_map_and_with_positions(tmp_path):
    attention = MultiScaleDeformableAttention(32, 2, 4, 3).eval().requires_grad_(False)
    nn.init.normal_(attention.sampling_offsets.weight)

    def attend(fine: Tensor, coarse: Tensor, reference: Tensor) -> Tensor:
        shapes = [(each.shape[-2], each.shape[-1]) for each in (fine, coarse)]
        maps = [each.flatten(2).transpose(1, 2) for each in (fine, coarse)]
        codes = [sine_position_code(shape, 32) for shape in shapes]
        tokens = torch.cat(maps, 1)
        points = reference[:, None, None].expand(-1, tokens.shape[1], 2, -1)
        return attention(tokens + torch.cat(codes), points, tokens, shapes)

    def case(batch: int, height: int, width: int) -> tuple[Tensor, ...]:
        fine = torch.randn(batch, 32, 2 * height, 2 * width)
        return fine, torch.randn(batch, 32, height, width), torch.rand(batch, 2)

    dim = torch.export.Dim
    batch, rows, columns = dim("batch"), dim("rows"), dim("columns")
    sizes = ({0: batch, 2: 2 * rows, 3: 2 * columns}, {0: batch, 2: rows, 3: columns}, {0: batch})
    run = exported(Part(attend, attention), case(2, 3, 4), sizes, tmp_path / "a.onnx")
    for inputs in (case(1, 5, 2), case(3, 1, 1)):
        (found,) = run(*inputs)
        np.testing.assert_allclose(found, attend(*inputs).numpy(), atol=2e-5)


def test_maps_whose_every_sigmoid_is_zero_have_finite_means(tmp_path):
    example = torch.randn(2, 3, 4, 5), torch.randn(2, 6, 2, 4, 5)
    sizes = (free(0, 2, 3), free(0, 3, 4))
    run = exported(Part(pool_by_maps), example, sizes, tmp_path / "a.onnx")
    features, maps = torch.randn(1, 3, 3, 6), torch.randn(1, 6, 2, 3, 6) - 200
    (found,) = run(features, maps)
    expected = pool_by_maps(features, maps).numpy()
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_floor_is_bit_for_bit_the_published_sum():
    p = torch.cat([torch.rand(10_000), torch.rand(10_000) ** 30, torch.tensor([0.0, 1.0, 1e-45])])
    scaled = (p * 2.0**20).add_(1e-8 * 2.0**20).div_(2.0**20)
    assert torch.equal(scaled, p + 1e-8)
    zero = F.one_hot(torch.tensor(0), 3)[None, None] * 1e30
    found = ensemble_classes(zero, zero[..., :2], torch.tensor([True, False]))
    assert found[0, 0, 1] == torch.tensor(1e-8).log()
