from __future__ import annotations

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from frozenseg.checkpoints.skip_init import SkipInitialisers


def test_parameters_stay_as_they_were():
    weight = nn.Parameter(torch.ones(3, 3))
    with SkipInitialisers():
        nn.init.normal_(weight)
        nn.init.trunc_normal_(weight)
        nn.init.kaiming_uniform_(weight)
    assert torch.equal(weight, torch.ones(3, 3))
    nn.init.normal_(weight)
    assert not torch.equal(weight, torch.ones(3, 3))


def test_other_tensors_are_still_drawn():
    with SkipInitialisers():
        drawn = torch.zeros(100).normal_()
    assert drawn.std() > 0.5


def test_a_model_draws_nothing():
    state = torch.get_rng_state()
    with SkipInitialisers():
        VisionTransformer(img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2)
    assert torch.equal(torch.get_rng_state(), state)
