"""The pixel decoder: shapes, order of levels, precision and errors."""

from __future__ import annotations

import pytest
import torch
from detectron2.layers import ShapeSpec

from frozenseg.mask_classification.deform_encoder import reference_points
from frozenseg.mask_classification.pixel_decoder import MSDeformAttnPixelDecoder

SHAPES = {
    name: ShapeSpec(channels=8 * 2**i, stride=4 * 2**i)
    for i, name in enumerate(("res2", "res3", "res4", "res5"))
}
KWARGS = {
    "encoder_features": ["res3", "res4", "res5"],
    "conv_dim": 32,
    "mask_dim": 16,
    "norm": "GN",
    "num_layers": 1,
    "num_heads": 4,
    "hidden_dim": 32,
}


def features(size: int = 64) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        name: torch.randn(2, shape.channels, size // shape.stride, size // shape.stride)
        for name, shape in SHAPES.items()
    }


def test_shapes_of_the_outputs():
    pixels = MSDeformAttnPixelDecoder(SHAPES, **KWARGS)(features())
    assert pixels.mask_features_BDHW.shape == (2, 16, 16, 16)
    assert [tuple(level.shape) for level in pixels.levels] == [
        (2, 32, 2, 2),
        (2, 32, 4, 4),
        (2, 32, 8, 8),
    ]


def test_float32_under_autocast():
    decoder = MSDeformAttnPixelDecoder(SHAPES, **KWARGS)
    expected = decoder(features())
    with torch.autocast("cpu", torch.bfloat16):
        pixels = decoder({name: value.bfloat16() for name, value in features().items()})
    assert pixels.mask_features_BDHW.dtype == torch.float32
    assert (pixels.mask_features_BDHW - expected.mask_features_BDHW).abs().max() < 0.1


def test_every_parameter_learns():
    decoder = MSDeformAttnPixelDecoder(SHAPES, **KWARGS)
    pixels = decoder(features())
    loss = pixels.mask_features_BDHW.square().sum()
    (loss + sum(level.pow(3).sum() for level in pixels.levels)).backward()
    assert [n for n, p in decoder.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("names", [["res3", "res4", "res5"], ["res2", "res3", "res4"]])
def test_wrong_strides_are_an_error_that_names_the_key(names):
    shapes = {name: SHAPES[name] for name in names}
    with pytest.raises(ValueError, match=r"MODEL.SEM_SEG_HEAD.IN_FEATURES .* strides"):
        MSDeformAttnPixelDecoder(shapes, **KWARGS)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"encoder_features": ["res4", "res5"]}, "DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES"),
        ({"norm": "LN"}, r"MODEL\.SEM_SEG_HEAD\.NORM is 'LN'"),
        ({"conv_dim": 60}, r"MODEL\.SEM_SEG_HEAD\.CONVS_DIM is 60"),
    ],
)
def test_other_wrong_values_name_their_key(change, key):
    with pytest.raises(ValueError, match=key):
        MSDeformAttnPixelDecoder(SHAPES, **{**KWARGS, **change})


def test_reference_points_are_pixel_centres_in_row_major_order():
    points = reference_points([(1, 2), (2, 1)])
    assert points.tolist() == [[0.25, 0.5], [0.75, 0.5], [0.5, 0.25], [0.5, 0.75]]
