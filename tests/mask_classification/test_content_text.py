"""Content-dependent transfer and dense embeddings: by definition, and the released numbers."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from frozenseg.layers.position_encoding import sine_position_code
from frozenseg.mask_classification.content_text import (
    DENSE_FORMS,
    TRANSFER_FORMS,
    ContentTransfer,
    dense_embedding,
)
from tests.mask_classification.test_mask_adapter import LargestTensor, clip_head


@pytest.mark.parametrize("form", TRANSFER_FORMS)
def test_equals_torch_attention(form):
    torch.manual_seed(0)
    transfer, text = ContentTransfer(16, num_heads=4, form=form), torch.randn(5, 16)
    nn.init.normal_(transfer.cross_atten.MLP.weight)
    dense = torch.randn(2, 16, 3, 4)
    attention = nn.MultiheadAttention(16, 4, batch_first=True)
    attention.load_state_dict(transfer.cross_atten.multihead_attn.state_dict())
    tokens = dense.flatten(2).transpose(1, 2)
    keys = tokens + sine_position_code((3, 4), 16)
    change = transfer.cross_atten.MLP(attention(text.expand(2, -1, -1), keys, tokens)[0])
    norm = transfer.cross_atten.norm
    expected = norm(text + change) if form == "semantic" else text + norm(change)
    torch.testing.assert_close(transfer(text, dense), expected, atol=1e-5, rtol=1e-5)


def test_a_fresh_panoptic_form_changes_nothing():
    text = torch.randn(3, 16)
    changed = ContentTransfer(16, form="panoptic")(text, torch.randn(2, 16, 3, 4))
    assert torch.equal(changed, text.expand(2, -1, -1))


def test_more_classes_do_not_change_the_others_nor_the_largest_tensor():
    torch.manual_seed(0)
    transfer, dense = ContentTransfer(16, num_heads=4), torch.randn(1, 16, 20, 20)
    text = torch.randn(6000, 16)
    with torch.no_grad():
        with LargestTensor() as largest:
            changed = transfer(text, dense)
        torch.testing.assert_close(changed[:, 4000:4003], transfer(text[4000:4003], dense))
    assert largest.nbytes <= 4 * max(1024 * 4 * 400, 6000 * 16)


def test_unknown_forms():
    with pytest.raises(ValueError, match="'sound' is not one of semantic, panoptic"):
        ContentTransfer(16, form="sound")
    with pytest.raises(ValueError, match="'sound' is not one of per_position, released"):
        dense_embedding(torch.zeros(1, 2, 3, 4), nn.Identity(), "sound")


def test_dense_embedding_of_either_form():
    features = torch.arange(2 * 3 * 2 * 2.0).view(2, 3, 2, 2)
    for layout in (torch.contiguous_format, torch.channels_last):
        laid_out = features.contiguous(memory_format=layout)
        per_position = dense_embedding(laid_out, nn.Identity())
        assert torch.equal(per_position, features)
        released = dense_embedding(laid_out, nn.Identity(), "released")
        assert released[0, :, 0, 0].tolist() == [0, 1, 2]  # three neighbours of one channel
        assert released[0, :, 0, 1].tolist() == [3, 4, 5]
        assert released[1, :, 1, 1].tolist() == [21, 22, 23]
    assert set(DENSE_FORMS) == {"per_position", "released"}


@pytest.mark.golden
@pytest.mark.parametrize("size", ["large", "base"])
def test_names_and_shapes_are_the_released_ones(shared_dir, size):
    path = shared_dir / f"state_dict_keys/maftplus_convnext_{size}.json"
    expected = {
        key.removeprefix("cdt."): tuple(value["shape"])
        for key, value in json.loads(path.read_text()).items()
        if key.startswith("cdt.")
    }
    state = ContentTransfer({"large": 768, "base": 640}[size]).state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == expected


@pytest.mark.golden
@pytest.mark.parametrize("form", TRANSFER_FORMS)
def test_released_transfer(golden_dir, form):
    golden = torch.load(golden_dir / "maftplus_tiny/cdt.pt", weights_only=True)
    transfer = ContentTransfer(32, num_heads=golden["nhead"], form=form)
    transfer.load_state_dict({k.removeprefix("cdt."): v for k, v in golden["state_dict"].items()})
    changed = transfer(golden["text"], golden["img_feat"])
    torch.testing.assert_close(changed, golden[f"{form}_form"], atol=5e-5, rtol=0)
    position = sine_position_code((4, 7), 32).T.view(1, 32, 4, 7)
    torch.testing.assert_close(position, golden["position"], atol=5e-5, rtol=0)


@pytest.mark.golden
@pytest.mark.parametrize("folder", ["maftplus_tiny", "mask_adapter_maft_tiny"])
def test_released_dense_embedding_and_text_of_a_whole_model(golden_dir, folder):
    """From the recorded CLIP map and text of the second golden image."""
    base = golden_dir / "fcclip_tiny_convnext"
    state = torch.load(base / "state_dict.pt", weights_only=True)
    evaluation = torch.load(base / "eval.pt", weights_only=True)
    prefix = "backbone.clip_model.visual."
    head = clip_head({k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)})
    features = evaluation["img1"]["clip_features"]["clip_vis_dense"]
    dense = dense_embedding(features, head, "released")
    void = nn.functional.normalize(state["void_embedding.weight"], dim=-1)
    text = torch.cat((evaluation["test_text_classifier"], void))
    golden = torch.load(golden_dir / folder / "model.pt", weights_only=True)
    source = golden
    if folder == "mask_adapter_maft_tiny":
        path = golden_dir / "mask_adapter_tiny/train_ground_truth.pt"
        source = torch.load(path, weights_only=True)
    weights = {k.removeprefix("cdt."): v for k, v in source["cdt_state_dict"].items()}
    for form in TRANSFER_FORMS:
        expected = golden[f"{form}_form"]
        torch.testing.assert_close(dense, expected["clip_dense_scrambled"], atol=1e-4, rtol=0)
        transfer = ContentTransfer(32, form=form)
        transfer.load_state_dict(weights)
        changed = transfer(text, dense)
        torch.testing.assert_close(changed, expected["text_after_cdt"], atol=1e-4, rtol=0)
