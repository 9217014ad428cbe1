"""Training steps of FC-CLIP's descendants against the golden values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from frozenseg.encoders.clip.backbone import FrozenCLIP
from tests.golden_models import load_golden_clip
from tests.mask_classification.conftest import build_golden_model
from tests.mask_classification.test_golden import close, training_batch
from tests.mask_classification.test_golden_family import BASE, adapter_options, options, read

pytestmark = pytest.mark.golden


@pytest.fixture(scope="module")
def train(golden_dir):
    return read(golden_dir / BASE / "train.pt")


@pytest.fixture(scope="module")
def mixed(golden_dir):
    return read(golden_dir / "mask_adapter_tiny" / "train_mixed.pt")


@pytest.fixture(scope="module")
def adapter_parts(golden_dir):
    return read(golden_dir / "mask_adapter_tiny" / "adapter_state_dict.pt")


def batch_of(train, mixed, case):
    """The training batch of a case: the targets that `README_family.md` names."""
    batch = training_batch(train)
    if case in ("as_fcclip_train", "plain"):
        return batch
    for sample, bits, (count, height, width), classes in zip(
        batch,
        mixed["gt_masks_with_matches_packbits"],
        mixed["gt_mask_sizes"],
        mixed["gt_classes_with_matches"],
        strict=True,
    ):
        flat = np.unpackbits(bits.numpy(), axis=1)[:, : height * width]
        masks = torch.from_numpy(flat.reshape(count, height, width)).bool()
        sample["instances"] = replace_targets(sample["instances"], classes, masks)
    if case in ("more_than_16", "more_than_32"):
        one = batch[0]["instances"]
        times = 3
        batch[0]["instances"] = replace_targets(
            one, one.gt_classes.repeat(times), one.gt_masks.repeat(times, 1, 1)
        )
    if case == "no_target_in_image_1":
        one = batch[1]["instances"]
        batch[1]["instances"] = replace_targets(one, one.gt_classes[:0], one.gt_masks[:0])
    return batch


def replace_targets(instances, classes, masks):
    changed = type(instances)(instances.image_size)
    changed.gt_classes, changed.gt_masks = classes, masks
    return changed


def step(model, batch, seed):
    """Losses and gradients of one training step; the model is left as it was."""
    model.train()
    torch.manual_seed(seed)
    losses = model(batch)
    sum(losses.values()).backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    model.eval()
    return {name: loss.item() for name, loss in losses.items()}, gradients


def check_step(found, gradients, expected):
    assert found.keys() == expected["losses_weighted"].keys()
    for name, value in expected["losses_weighted"].items():
        assert found[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name
    for name, value in expected.get("grad_norms", {}).items():
        assert gradients[name].norm().item() == pytest.approx(value, rel=1e-2, abs=1e-5), name
    for key, name in (("grad_fuse_bias", "fuse.bias"), ("grad_final_bias", "final.bias")):
        if key in expected:
            close(gradients[f"mask_adapter.{name}"], expected[key])
    if "grad_void" in expected:
        close(gradients["void_embedding.weight"], expected["grad_void"])


def trained(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    "case", ["as_fcclip_train", "with_matches", "more_than_16", "no_target_in_image_1"]
)
def test_mixed_masks(golden_dir, tmp_path, train, mixed, adapter_parts, case):
    config = read(golden_dir / "mask_adapter_tiny" / "eval.pt")["config"]
    model = build_golden_model(
        golden_dir / BASE,
        tmp_path,
        *adapter_options(config),
        *options(
            "MODEL.MASK_ADAPTER",
            IOU_THRESHOLD=mixed["iou_threshold"],
            NUM_GT_MASKS=mixed["num_gt_masks"],
            NUM_PRED_MASKS=mixed["num_pred_masks"],
        ),
        *("MODEL.RELEASED_LOSSES", "True"),
        parts=adapter_parts,
    )
    assert trained(model) == set(mixed["trainable"])
    check_step(*step(model, batch_of(train, mixed, case), mixed["seed"]), mixed["cases"][case])


def warm_up_model(golden_dir, tmp_path, golden, adapter_parts, form):
    """The model without a decoder that `golden` (train_ground_truth.pt) was made with."""
    config = read(golden_dir / "mask_adapter_tiny" / "eval.pt")["config"]
    parts, opts = dict(adapter_parts), []
    if form != "fcclip":
        parts |= golden["cdt_state_dict"]
        opts = options("MODEL.CDT", FORM=form.split("_")[1], EMBEDDING="released")
    return build_golden_model(
        golden_dir / BASE,
        tmp_path,
        *("MODEL.META_ARCHITECTURE", "MASK_Adapter", "TEST.ORACLE_MASKS", "True"),
        *adapter_options(config),
        *("MODEL.MASK_ADAPTER.NUM_GT_MASKS", str(golden["fcclip"]["num_masks"])),
        *opts,
        parts=parts,
    )


@pytest.mark.parametrize("case", ["plain", "matches", "more_than_32"])
@pytest.mark.parametrize("form", ["fcclip", "maft_semantic_form", "maft_panoptic_form"])
def test_warm_up(golden_dir, tmp_path, train, mixed, adapter_parts, form, case):
    golden = read(golden_dir / "mask_adapter_tiny" / "train_ground_truth.pt")
    model = warm_up_model(golden_dir, tmp_path, golden, adapter_parts, form)
    assert trained(model) == set(golden[form]["trainable"])
    batch = batch_of(train, mixed, case)
    check_step(*step(model, batch, golden["seed"]), golden[form]["cases"][case])


@pytest.mark.parametrize("case", ["plain", "with_matches"])
@pytest.mark.parametrize("form", ["semantic", "panoptic"])
def test_mixed_masks_on_maftplus(golden_dir, tmp_path, train, mixed, adapter_parts, form, case):
    golden = read(golden_dir / "mask_adapter_maft_tiny" / "model.pt")
    warm_up = read(golden_dir / "mask_adapter_tiny" / "train_ground_truth.pt")
    model = build_golden_model(
        golden_dir / BASE,
        tmp_path,
        *("MODEL.META_ARCHITECTURE", "MAFT_Plus", "MODEL.RELEASED_LOSSES", "True"),
        *options("MODEL.CDT", FORM=form, EMBEDDING="released"),
        *adapter_options(golden["config"]),
        *("MODEL.MASK_ADAPTER.IOU_THRESHOLD", str(golden["config"]["iou_threshold"])),
        parts={**adapter_parts, **warm_up["cdt_state_dict"]},
    )
    assert trained(model) == set(golden["config"]["trainable"])
    expected = golden[f"{form}_form"]["train"][case]
    check_step(*step(model, batch_of(train, mixed, case), warm_up["seed"]), expected)


def student(golden_dir, tmp_path, config, *opts, parts=None):
    """A golden model whose CLIP trains, and whose teacher is the golden CLIP."""
    folder = golden_dir / BASE
    state = read(folder / "state_dict.pt")
    scaled = {
        name: value * config["stage_scale"]
        for name, value in state.items()
        if name.startswith("backbone.clip_model.visual.trunk.stages.")
    }
    model = build_golden_model(
        folder, tmp_path, "MODEL.STUDENT.ENABLED", "True", *opts, parts={**scaled, **(parts or {})}
    )
    teacher: FrozenCLIP = load_golden_clip(folder, tmp_path)
    object.__setattr__(model.backbone, "teacher", teacher)
    return model


@pytest.mark.parametrize("form", ["semantic", "panoptic"])
def test_maftplus(golden_dir, tmp_path, train, form):
    golden = read(golden_dir / "maftplus_tiny" / "model.pt")
    model = student(
        golden_dir,
        tmp_path,
        golden["config"],
        *("MODEL.META_ARCHITECTURE", "MAFT_Plus", "MODEL.RELEASED_LOSSES", "True"),
        *options("MODEL.CDT", FORM=form, EMBEDDING="released"),
        *options(
            "MODEL.STUDENT",
            DETACHED=True,
            RANKING_WEIGHT=1.0,
            COMPENSATION_WEIGHT=golden["config"]["rc_weights"],
        ),
        parts=golden["cdt_state_dict"],
    )
    assert trained(model) == set(golden["trainable"])
    found = step(model, training_batch(train), golden["config"]["seed"])
    check_step(*found, golden[f"{form}_form"]["train"])


@pytest.mark.parametrize("form", ["joint", "detach"])
def test_ovrcoat(golden_dir, tmp_path, train, form):
    golden = read(golden_dir / "coat" / "model.pt")
    config = golden["config"]
    model = student(
        golden_dir,
        tmp_path,
        config,
        *("MODEL.META_ARCHITECTURE", "OVRCOAT", "MODEL.RELEASED_LOSSES", "True"),
        *options(
            "MODEL.STUDENT",
            LOGIT_SCALE=True,
            DETACHED=form == "detach",
            CLASS_WEIGHT=config["weights"]["loss_oov_ce"],
            COMPENSATION_WEIGHT=config["rc_weight"],
            GRAM_WEIGHT=config["dist_weight"],
        ),
        *("MODEL.MASK_FORMER.MASK_WEIGHT", str(config["weights"]["loss_mask"])),
    )
    assert trained(model) == set(golden["trainable"])
    found = step(model, training_batch(train), config["seed"])
    check_step(*found, golden["train"][form])


@pytest.mark.parametrize("form", ["fcclip", "maft_semantic_form", "maft_panoptic_form"])
def test_names_of_true_masks_after_the_warm_up(golden_dir, tmp_path, adapter_parts, form):
    """Released scores are a softmax of the probabilities; ours are these, with the same maximum."""
    golden = read(golden_dir / "mask_adapter_tiny" / "train_ground_truth.pt")
    expected = golden[form]["ground_truth_mask_eval"]
    model = warm_up_model(golden_dir, tmp_path, golden, adapter_parts, form)
    truth = expected["sem_seg"].long()
    masks = torch.stack([truth == label for label in expected["mask_labels"]])
    image = read(golden_dir / BASE / "inputs.pt")[0]
    with torch.no_grad():
        [result] = model([{**image, "true_masks": masks}])
        _, features = model.encode([image])
        probabilities = model.classify_proposals(2.0 * masks[None] - 1, features)[0].exp()
    inside = masks.any(0)  # elsewhere the released scores are 0
    labels = result["sem_seg"].argmax(0)[inside]
    assert (labels == expected["sem_seg_argmax"][inside]).float().mean() >= 0.999
    scores = probabilities.softmax(-1)[:, :-1].T @ masks.flatten(1).float()
    close(scores.view(-1, *truth.shape)[:, ::20, ::20], expected["sem_seg_scores_at_mask_centres"])
