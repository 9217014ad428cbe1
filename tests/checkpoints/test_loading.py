"""Strict loading of weights, and what is said when they do not fit."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from frozenseg.checkpoints.digests import weights_hash
from frozenseg.checkpoints.loading import likely_key, load_weights, take_weights
from frozenseg.encoders.clip.weights import no_weights
from frozenseg.files import file_digest


class Toy(nn.Module):
    """The names of the real models, small."""

    def __init__(self, queries: int = 4, classes: int = 3, clip_width: int = 5) -> None:
        super().__init__()
        self.backbone = nn.Linear(2, clip_width).requires_grad_(False)
        self.backbone.register_buffer("running", torch.zeros(1))
        self.backbone.register_buffer("num_batches_tracked", torch.tensor(0))
        self.backbone.register_buffer("attn_mask", torch.ones(1), persistent=False)
        self.sem_seg_head = nn.ModuleDict({"predictor": nn.Module()})
        self.sem_seg_head["predictor"].query_feat = nn.Embedding(queries, 6)
        self.void_embedding = nn.Embedding(1, clip_width)
        self.criterion = nn.Module()
        self.criterion.register_buffer("empty_weight", torch.ones(classes + 1))


TRAINED = {"sem_seg_head.predictor.query_feat.weight", "void_embedding.weight"}
COUNTER = "backbone.num_batches_tracked"
FROZEN = {"backbone.weight", "backbone.bias", "backbone.running", COUNTER}


@pytest.fixture
def file(tmp_path):
    """Writes tensors to a file of the given name."""

    def write(state, name="w.pth", wrap=True):
        torch.save({"model": state} if wrap else state, tmp_path / name)
        return tmp_path / name

    return write


def equal(model, other):
    return all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.values(), strict=True)
    )


@pytest.mark.parametrize("wrap", [True, False])
def test_a_full_file_loads_everything_and_reports_it(file, wrap):
    source, model = Toy().state_dict(), Toy()
    report = load_weights(model, file(source, wrap=wrap))
    assert equal(model, source)
    assert set(report.loaded) == TRAINED | {"criterion.empty_weight"}
    assert set(report.frozen) == FROZEN
    assert set(report.changed) == {"backbone.weight", "backbone.bias"}
    assert not report.skipped
    assert not report.ignored
    assert "3 trained weights loaded" in str(report)


def test_safetensors_and_data_parallel_names(tmp_path, file):
    source = Toy().state_dict()
    save_file(source, tmp_path / "w.safetensors")
    model = Toy()
    load_weights(model, tmp_path / "w.safetensors")
    assert equal(model, source)
    other = Toy()
    load_weights(other, file({f"module.{name}": value for name, value in source.items()}))
    assert equal(other, source)


def test_frozen_weights_and_buffers_may_be_left_out(file):
    source, model = Toy().state_dict(), Toy()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = load_weights(model, file({name: source[name] for name in TRAINED}))
    assert set(report.skipped) == FROZEN | {"criterion.empty_weight"}
    assert torch.equal(model.backbone.weight, before["backbone.weight"])
    assert torch.equal(model.void_embedding.weight, source["void_embedding.weight"])


def test_frozen_weights_that_the_model_lacks_are_reported_not_loaded(file):
    source = Toy().state_dict() | {"sam.neck.weight": torch.ones(1)}
    assert load_weights(Toy(), file(source)).ignored == ("sam.neck.weight",)


def test_an_encoder_is_loaded_whole_or_not_at_all(file):
    source, model = Toy().state_dict(), Toy()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    part = {name: source[name] for name in source if name != "backbone.bias"}
    with pytest.raises(ValueError, match=r"1 names missing \(backbone\.bias\).*CLIP_MODEL_NAME"):
        load_weights(model, file(part))
    with pytest.raises(ValueError, match=r"1 unexpected names \(backbone\.wieght\)"):
        load_weights(model, file(source | {"backbone.wieght": torch.ones(1)}))
    assert equal(model, before)


def test_counters_and_buffers_that_are_never_saved_may_be_there_or_not(file):
    source = Toy().state_dict()
    extra = {"backbone.attn_mask": torch.ones(1), "backbone.bn.num_batches_tracked": torch.ones(1)}
    assert set(load_weights(Toy(), file(source | extra)).ignored) == set(extra)
    counter = source.pop(COUNTER)
    assert load_weights(Toy(), file(source)).skipped == (COUNTER,)
    model = Toy()
    report = load_weights(model, file(model.state_dict() | {COUNTER: counter + 5}))
    assert not report.changed  # nothing that a forward pass reads


def test_an_encoder_that_would_stay_random_is_an_error_with_the_key(file):
    source, key = Toy().state_dict(), "MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS"
    trained = file({name: source[name] for name in TRAINED})
    model = Toy()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=rf"w\.pth holds no backbone.*random. Set {key}"):
        load_weights(model, trained, encoders_without_weights={"backbone.": no_weights(key)})
    assert equal(model, before)
    load_weights(
        model, trained, encoders_without_weights={"sam.": no_weights(key)}
    )  # the model has none
    load_weights(model, file(source), encoders_without_weights={"backbone.": no_weights(key)})


def test_missing_and_unexpected_names_are_an_error_and_change_nothing(file):
    source = Toy().state_dict()
    source["void_embeding.weight"] = source.pop("void_embedding.weight")
    model = Toy()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError) as error:
        load_weights(model, file(source))
    assert "1 names missing (void_embedding.weight)" in str(error.value)
    assert "1 unexpected names (void_embeding.weight)" in str(error.value)
    assert "w.pth" in str(error.value)
    assert equal(model, before)


@pytest.mark.parametrize(
    ("sizes", "name", "shapes", "key"),
    [
        ({"queries": 7}, "query_feat", ("(7, 6)", "(4, 6)"), "NUM_OBJECT_QUERIES"),
        ({"clip_width": 8}, "backbone", ("(8, 2)", "(5, 2)"), "CLIP_MODEL_NAME"),
    ],
)
def test_a_wrong_shape_names_parameter_shapes_and_key(file, sizes, name, shapes, key):
    model = Toy()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError) as error:
        load_weights(model, file(Toy(**sizes).state_dict()))
    for part in (name, *shapes, key):
        assert part in str(error.value)
    assert equal(model, before)


def test_weights_for_other_classes_load_with_a_warning(file, caplog):
    model, other = Toy(), Toy(classes=9)
    report = load_weights(model, file(other.state_dict()))
    assert report.skipped == ("criterion.empty_weight",)
    assert torch.equal(model.criterion.empty_weight, torch.ones(4))
    assert torch.equal(model.void_embedding.weight, other.void_embedding.weight)
    assert "w.pth was trained on 9 classes, DATASETS.TRAIN has 3" in caplog.text


@pytest.mark.parametrize(
    ("name", "found", "wanted", "key"),
    [
        ("sem_seg_head.predictor.class_embed.layers.2.weight", (640, 256), (768, 256), "EMBED_DIM"),
        ("void_embedding.weight", (1, 640), (1, 768), "EMBED_DIM"),
        ("sem_seg_head.predictor.class_embed.layers.2.weight", (768, 64), (768, 256), "HIDDEN_DIM"),
        ("sem_seg_head.predictor.query_embed.weight", (250, 64), (250, 256), "HIDDEN_DIM"),
        (
            "sem_seg_head.pixel_decoder.input_proj.0.0.weight",
            (256, 2048, 1, 1),
            (256, 1536, 1, 1),
            "CLIP_MODEL_NAME",
        ),
        (
            "sem_seg_head.pixel_decoder.input_proj.0.0.weight",
            (64, 2048, 1, 1),
            (256, 2048, 1, 1),
            "CONVS_DIM",
        ),
        (
            "sem_seg_head.predictor.transformer_ffn_layers.3.linear1.weight",
            (2048, 256),
            (1024, 256),
            "DIM_FEEDFORWARD",
        ),
        ("sem_seg_head.predictor.mask_embed.layers.2.bias", (256,), (64,), "MASK_DIM"),
        ("something.else", (1,), (2,), "config that the file was made with"),
    ],
)
def test_the_likely_config_key(name, found, wanted, key):
    assert key in likely_key(name, torch.Size(found), torch.Size(wanted))


def test_the_hash_is_of_the_bytes(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"abc")
    second.write_bytes(b"abd")
    assert file_digest(first) == "ba7816bf8f01cfea"
    assert file_digest(first) != file_digest(second)


def test_the_hash_of_weights_is_that_of_their_names_and_values():
    model, same = Toy(), Toy()
    same.load_state_dict(model.state_dict())
    first = weights_hash(model.backbone)
    assert len(first) == 16
    same.backbone.num_batches_tracked += 3
    same.backbone.weight.data = same.backbone.weight.data.t().contiguous().t()  # other strides
    assert weights_hash(same.backbone) == first
    same.backbone.running += 1e-6
    assert weights_hash(same.backbone) != first
    renamed = nn.Linear(2, 5)
    other = weights_hash(renamed)
    renamed.offset, renamed.bias = renamed.bias, None
    assert weights_hash(renamed) != other


def test_a_fresh_model_takes_the_tensors_in_its_own_dtype_layout_and_freedom(file):
    model = nn.Module()
    model.conv = nn.Conv2d(4, 6, 3).requires_grad_(False).to(memory_format=torch.channels_last)
    model.linear = nn.Linear(3, 2)
    half = {name: torch.rand(t.shape).half() for name, t in model.state_dict().items()}
    take_weights(model, half)
    assert equal(model, {name: value.float() for name, value in half.items()})
    assert model.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True]


def test_a_fresh_model_shares_no_memory_between_two_names_nor_with_a_larger_tensor():
    model, large = nn.ModuleList(nn.Linear(3, 3, bias=False) for _ in range(3)), torch.rand(100, 3)
    same = torch.rand(3, 3)
    take_weights(model, {"0.weight": same, "1.weight": same, "2.weight": large[:3]})
    storages = {part.weight.untyped_storage().data_ptr() for part in model}
    assert len(storages) == 3
    assert model[0].weight.data_ptr() == same.data_ptr()  # no copy
    assert model[2].weight.untyped_storage().nbytes() == 36
    assert torch.equal(model[1].weight, same)


def test_fresh_or_not_the_report_and_the_values_are_the_same(file):
    source, models = Toy().state_dict(), (Toy(), Toy())
    models[1].load_state_dict(models[0].state_dict())
    reports = [
        load_weights(model, file(source), fresh=fresh)
        for model, fresh in zip(models, (False, True), strict=True)
    ]
    assert reports[0] == reports[1]
    assert equal(models[1], models[0].state_dict())
