"""One step of Mask-Adapter's two training stages: the released masks, losses and gradients."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from frozenseg.mask_classification.adapter_masks import (
    MixedMasks,
    ground_truth_masks,
    mixed_masks,
    paired_masks,
)
from frozenseg.mask_classification.content_text import ContentTransfer, dense_embedding
from frozenseg.mask_classification.family_losses import mask_consistency_loss, slot_class_loss
from frozenseg.mask_classification.mask_adapter import MaskAdapter, embed_by_maps
from frozenseg.mask_classification.matcher import Target
from tests.golden_models import load_golden_clip, network_input
from tests.mask_classification.test_mask_adapter import clip_head


def target_of(*rectangles, size=(32, 32)) -> Target:
    """Masks (top, bottom, left, right), classes 0, 1, ..."""
    masks = torch.zeros(len(rectangles), *size, dtype=torch.bool)
    for mask, (top, bottom, left, right) in zip(masks, rectangles, strict=True):
        mask[top:bottom, left:right] = True
    return Target(torch.arange(len(rectangles)), masks)


def test_ground_truth_slots():
    target = target_of((0, 8, 0, 8), (0, 0, 0, 0), (4, 9, 4, 20))
    few = ground_truth_masks([target, target_of()], 4)
    assert few.classes_BN.tolist() == [[0, 2, -1, -1], [-1] * 4]
    assert torch.equal(few.masks_BNHW[0, :2], target.masks_MHW[[0, 2]])
    assert not few.masks_BNHW[0, 2:].any()
    assert not few.masks_BNHW[1].any()
    many = target_of(*[(i, i + 1, 0, 8) for i in range(9)])
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))[:4]
    drawn = ground_truth_masks([many], 4, torch.Generator().manual_seed(3))
    assert drawn.classes_BN[0].tolist() == order.tolist()
    assert torch.equal(drawn.masks_BNHW[0], many.masks_MHW[order])


def test_pairs_share_enough_and_one_prediction_may_serve_two_targets():
    target = target_of((0, 16, 0, 32), (0, 16, 0, 28), (16, 32, 0, 4), (0, 0, 0, 0))
    logits = torch.full((3, 8, 8), -9.0)
    logits[1, :4] = 9  # fits the first two targets
    settings = MixedMasks(num_predicted=3)
    predicted, paired, classes = paired_masks(target, logits, settings)
    assert classes.tolist() == [0, 1, -1]
    assert torch.equal(predicted[0], logits[1].sigmoid())
    assert torch.equal(predicted[0], predicted[1])
    assert (predicted[2] == 0.5).all()
    assert paired[0].sum() == 32
    assert not paired[2].any()


def test_slices_of_mixed_masks_follow_the_settings():
    settings = MixedMasks(num_ground_truth=3, num_predicted=2)
    target = target_of((0, 16, 0, 32))
    logits = torch.full((1, 1, 8, 8), -9.0)
    logits[:, :, :4] = 9
    mixed = mixed_masks([target], logits, settings)
    assert mixed.masks_BNHW.shape == (1, 7, 32, 32)
    assert mixed.classes_BN[0].tolist() == [0, -1, -1, 0, -1, 0, -1]
    for group in (settings.predicted, settings.paired):
        assert mixed.classes_BN[0, group].tolist() == [0, -1]
        torch.testing.assert_close(mixed.masks_BNHW[0, group][0].sum(), torch.tensor(512.0))


# The released numbers. Losses and gradients come from CLIP's map, computed here once.


class Golden:
    """Everything frozen of the golden models, and their ground truth."""

    def __init__(self, golden_dir, tmp_path):
        base, own = golden_dir / "fcclip_tiny_convnext", golden_dir / "mask_adapter_tiny"
        load = lambda path: torch.load(path, weights_only=True)  # noqa: E731
        self.train, state = load(base / "train.pt"), load(base / "state_dict.pt")
        self.mixed, self.warmup = load(own / "train_mixed.pt"), load(own / "train_ground_truth.pt")
        self.maft = load(golden_dir / "mask_adapter_maft_tiny/model.pt")
        self.adapter_state = {
            key.removeprefix("mask_adapter."): value
            for key, value in load(own / "adapter_state_dict.pt").items()
        }
        prefix = "backbone.clip_model.visual."
        self.head = clip_head({k[len(prefix) :]: v for k, v in state.items() if prefix in k})
        self.void, self.scale = state["void_embedding.weight"], golden_scale(state)
        counts = json.loads((base / "vocab.json").read_text())["train_num_templates"]
        self.counts = [*counts, 1]
        clip = load_golden_clip(base, tmp_path)
        images = [network_input(base, image) for image in self.train["images"]]
        size = [max(image.shape[axis] for image in images) for axis in (-2, -1)]
        self.size = size
        padded = [F.pad(i, (0, size[1] - i.shape[-1], 0, size[0] - i.shape[-2])) for i in images]
        self.features = clip(torch.cat(padded))["clip_vis_dense"]

    def targets(self, case):
        classes, masks = self.train["gt_classes"], self.train["gt_masks"]
        if case not in ("as_fcclip_train", "plain"):
            classes = self.mixed["gt_classes_with_matches"]
            masks = [
                torch.from_numpy(np.unpackbits(rows.numpy(), axis=1)).bool().view(size)
                for rows, size in zip(
                    self.mixed["gt_masks_with_matches_packbits"],
                    self.mixed["gt_mask_sizes"],
                    strict=True,
                )
            ]
        if case.startswith("more_than"):
            classes = [classes[0].repeat(3), classes[1]]
            masks = [masks[0].repeat(3, 1, 1), masks[1]]
        if case == "no_target_in_image_1":
            classes, masks = [classes[0], classes[1][:0]], [masks[0], masks[1][:0]]
        height, width = self.size
        return [
            Target(c, F.pad(m, (0, width - m.shape[-1], 0, height - m.shape[-2])))
            for c, m in zip(classes, masks, strict=True)
        ]


def golden_scale(state):
    return state["backbone.clip_model.logit_scale"].exp().clamp(max=100)


@pytest.fixture(scope="module")
def world(golden_dir, tmp_path_factory):
    return Golden(golden_dir, tmp_path_factory.mktemp("golden"))


class Step:
    """Embeddings and class logits of masks, as the released models compute them."""

    def __init__(self, world: Golden, transfer: ContentTransfer | None):
        self.world = world
        self.transfer = transfer
        self.adapter = MaskAdapter(32, num_channels=24, num_output_maps=4)
        self.adapter.load_state_dict(world.adapter_state)
        self.void = nn.Parameter(world.void.clone())

    def __call__(self, masks_BNHW):
        world = self.world
        form = "per_position" if self.transfer is None else "released"
        dense = dense_embedding(world.features, world.head, form)
        embeddings = embed_by_maps(world.features, self.adapter(dense, masks_BNHW), world.head)
        void = F.normalize(self.void, dim=-1)
        text = torch.cat((world.train["train_text_classifier"], void)).expand(2, -1, -1)
        if self.transfer is not None:
            text = self.transfer(text[0], dense)
        logits = world.scale * F.normalize(embeddings, dim=-1) @ text.transpose(1, 2)
        by_class = [part.amax(-1) for part in logits.split(world.counts, -1)]
        return embeddings, torch.stack(by_class, -1)

    def check_gradients(self, loss, expected):
        loss.backward()
        gradients = {f"mask_adapter.{k}": p.grad for k, p in self.adapter.named_parameters()}
        if "void_embedding.weight" in expected["grad_norms"]:
            gradients["void_embedding.weight"] = self.void.grad
        assert gradients.keys() == expected["grad_norms"].keys()
        for name, norm in expected["grad_norms"].items():
            assert gradients[name].norm().item() == pytest.approx(norm, rel=1e-2, abs=1e-5), name
        if "grad_fuse_bias" in expected:
            torch.testing.assert_close(
                self.adapter.fuse.bias.grad, expected["grad_fuse_bias"], atol=1e-5, rtol=1e-2
            )


def transfer_of(world: Golden, form: str | None) -> ContentTransfer | None:
    if form is None:
        return None
    transfer = ContentTransfer(32, form=form).requires_grad_(False)
    state = world.warmup["cdt_state_dict"]
    transfer.load_state_dict({k.removeprefix("cdt."): v for k, v in state.items()})
    return transfer


@pytest.mark.golden
@pytest.mark.parametrize("case", ["plain", "matches", "more_than_32"])
@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("fcclip", None),
        ("maft_semantic_form", "semantic"),
        ("maft_panoptic_form", "panoptic"),
    ],
)
def test_released_step_of_the_warm_up(world, name, form, case):
    expected = world.warmup[name]["cases"][case]
    torch.manual_seed(world.warmup["seed"])
    slots = ground_truth_masks(world.targets(case), world.warmup[name]["num_masks"])
    sums = slots.masks_BNHW.float().sum((2, 3))
    torch.testing.assert_close(sums, expected["adapter_input_masks_sum"])
    step = Step(world, transfer_of(world, form))
    loss = world.warmup[name]["weight"] * slot_class_loss(
        step(slots.masks_BNHW)[1], slots.classes_BN
    )
    assert loss.item() == pytest.approx(expected["losses_weighted"]["loss_ce"], rel=1e-4)
    step.check_gradients(loss, expected)


def mixed_step(world, expected, case, settings, form=None):
    torch.manual_seed(world.mixed["seed"])
    slots = mixed_masks(world.targets(case), world.train["pred_masks"], settings)
    sums = slots.masks_BNHW.sum((2, 3))
    torch.testing.assert_close(sums, expected["adapter_input_masks_sum"], atol=1e-2, rtol=1e-5)
    classes = slots.classes_BN[:, settings.predicted]
    assert classes.tolist() == expected["matched_labels"].tolist()
    if "matched_src_is_padding" in expected:
        assert (classes == -1).tolist() == expected["matched_src_is_padding"]
    step = Step(world, transfer_of(world, form))
    embeddings, logits = step(slots.masks_BNHW)
    losses = {
        "loss_ce": slot_class_loss(logits, slots.classes_BN),
        "loss_cosine": mask_consistency_loss(
            embeddings[:, settings.predicted],
            embeddings[:, settings.paired],
            classes,
            detach=form is None,
            released=True,
        ),
    }
    losses = {name: world.mixed["weights"][name] * loss for name, loss in losses.items()}
    for name, value in expected["losses_weighted"].items():
        assert losses[name].item() == pytest.approx(value, rel=1e-3, abs=1e-5), name
    step.check_gradients(sum(losses.values()), expected)


@pytest.mark.golden
@pytest.mark.parametrize(
    "case", ["as_fcclip_train", "with_matches", "more_than_16", "no_target_in_image_1"]
)
def test_released_step_with_mixed_masks(world, case):
    settings = MixedMasks(iou_threshold=world.mixed["iou_threshold"])
    mixed_step(world, world.mixed["cases"][case], case, settings)


@pytest.mark.golden
@pytest.mark.parametrize("form", ["semantic", "panoptic"])
@pytest.mark.parametrize("case", ["plain", "with_matches"])
def test_released_step_with_mixed_masks_and_content_dependent_text(world, form, case):
    config = world.maft["config"]
    settings = MixedMasks(
        iou_threshold=config["iou_threshold"],
        pairing_threshold=0.5,
        mask_threshold=config["mask_threshold"],
    )
    mixed_step(world, world.maft[f"{form}_form"]["train"][case], case, settings, form)
