import shutil
from pathlib import Path

import pytest
import torch

from frozenseg.checkpoints import named_models as module
from frozenseg.checkpoints.named_models import MODELS, config_path, model_config
from frozenseg.checkpoints.table import WEIGHTS
from frozenseg.encoders.clip.backbone import CONFIG_SECTIONS

MINIATURE = Path(module.__file__).parents[2] / "configs" / "miniature" / "fcclip.yaml"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FROZENSEG_CACHE", str(tmp_path))
    folder = tmp_path / "weights"
    folder.mkdir()
    return folder


def whole_file(path):
    """A file with the names of a model and its frozen encoders, all of them too small."""
    names = ("void_embedding.weight", "backbone.clip_model.logit_scale", "sam.neck.0.weight")
    torch.save({"model": {name: torch.zeros(1) for name in names}}, path)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_weights_a_config_and_fitting_keys(name, monkeypatch, tmp_path):
    assert name in WEIGHTS
    monkeypatch.setattr(module, "locate", lambda asked: tmp_path / asked)
    whole_file(tmp_path / name)
    cfg, weights = model_config(name)
    assert weights == str(tmp_path / name)
    sections = {**CONFIG_SECTIONS, "Fusioner": "FUSIONER"}
    section = cfg.MODEL[sections[cfg.MODEL.META_ARCHITECTURE]]
    miniature = name.startswith("miniature")
    assert miniature == cfg.DATASETS.TRAIN[0].startswith("miniature")
    encoders = {key: value for key, value in section.items() if key.endswith("_WEIGHTS")}
    if miniature:  # named by the YAML file, part of the package
        assert all(Path(value).is_file() for value in encoders.values())
    else:  # the file brings them: nothing is downloaded
        assert set(encoders.values()) <= {"", "openai:"}


def test_released_files_bring_their_encoders(cache):
    whole_file(cache / "fcclip_cocopan.pth")
    whole_file(cache / "fcclip_cocopan_r50.pth")
    cfg, weights = model_config("fcclip-convnext-large")
    assert weights == str(cache / "fcclip_cocopan.pth")
    assert cfg.MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS == ""
    cfg, _ = model_config("fcclip-r50")
    assert cfg.MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS == "openai:"


def test_weights_of_ones_own_need_the_encoders_of_the_config(tmp_path):
    own = tmp_path / "model_final.pth"
    own.touch()
    cfg, weights = model_config("fcclip-r50", str(own))
    assert weights == str(own)
    assert cfg.MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS == "openai"


@pytest.mark.parametrize(
    ("yaml", "section", "clip"),
    [
        ("fcclip/r50.yaml", "FC_CLIP", "openai:"),
        ("fcclip/convnext_large.yaml", "FC_CLIP", ""),
        ("frozenseg/released_convnext_large.yaml", "FROZEN_SEG", ""),
    ],
)
def test_encoders_that_the_file_holds_are_not_fetched(yaml, section, clip, tmp_path):
    whole_file(tmp_path / "whole.pth")
    opts = ("MODEL.SAM_PRETRAINED_WEIGHTS", "sam-vit-b")  # not here: it would be fetched
    cfg, _ = model_config(config_path(yaml), str(tmp_path / "whole.pth"), opts)
    assert clip == cfg.MODEL[section].CLIP_PRETRAINED_WEIGHTS
    assert cfg.MODEL.SAM_PRETRAINED_WEIGHTS == ""
    here = tmp_path / "clip.pt"
    here.touch()
    opts = (f"MODEL.{section}.CLIP_PRETRAINED_WEIGHTS", str(here))
    cfg, _ = model_config(config_path(yaml), str(tmp_path / "whole.pth"), opts)
    assert str(here) == cfg.MODEL[section].CLIP_PRETRAINED_WEIGHTS  # read, and compared


def test_a_missing_checkpoint_is_said_before_anything_is_downloaded_for_it(tmp_path):
    opts = ("MODEL.SAM_PRETRAINED_WEIGHTS", "sam-vit-b")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth does not exist"):
        model_config(config_path("frozenseg/convnext_large.yaml"), "nowhere.pth", opts)


def test_an_encoder_that_cannot_be_downloaded_names_all_ways_out(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise ConnectionError("cannot download it: put it at cache/sam.pth")

    monkeypatch.setattr("frozenseg.checkpoints.lookup.download", refuse)
    torch.save({"void_embedding.weight": torch.zeros(1)}, tmp_path / "own.pth")
    opts = ("MODEL.SAM_PRETRAINED_WEIGHTS", "sam-vit-b")
    with pytest.raises(
        ConnectionError,
        match=r"MODEL\.SAM_PRETRAINED_WEIGHTS: cannot .* put it at .*; or name another file .* "
        "or take a checkpoint that holds",
    ):
        model_config(config_path("frozenseg/convnext_large.yaml"), str(tmp_path / "own.pth"), opts)


def test_a_yaml_file(tmp_path):
    own = tmp_path / "model_final.pth"
    own.touch()
    assert model_config(MINIATURE, str(own))[1] == str(own)
    assert model_config(str(MINIATURE), "")[1] == ""
    assert model_config(MINIATURE, "miniature-fcclip")[1].endswith("miniature_fcclip.safetensors")
    with pytest.raises(ValueError, match="names no weights"):
        model_config(MINIATURE)
    named = tmp_path / "named.yaml"
    named.write_text(f"_BASE_: {MINIATURE}\nMODEL:\n  WEIGHTS: miniature-fcclip\n")
    assert model_config(named)[1].endswith("miniature_fcclip.safetensors")


def test_options_go_before_the_config():
    cfg, _ = model_config("miniature-fcclip", opts=["INPUT.MIN_SIZE_TEST", "64"])
    assert cfg.INPUT.MIN_SIZE_TEST == 64 != model_config("miniature-fcclip")[0].INPUT.MIN_SIZE_TEST


def test_unknown_names():
    with pytest.raises(ValueError, match="did you mean 'fcclip-r50'"):
        model_config("fcclip_r50")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        model_config("nowhere.yaml")


def test_configs_of_an_installed_package(tmp_path, monkeypatch):
    package = tmp_path / "site" / "frozenseg"
    monkeypatch.setattr("frozenseg.config.sources.PACKAGE", package)
    with pytest.raises(FileNotFoundError, match="not installed"):
        config_path("miniature/fcclip.yaml")
    shutil.copytree(MINIATURE.parents[1], package / "configs")
    assert config_path("miniature/fcclip.yaml") == package / "configs/miniature/fcclip.yaml"
    cfg, _ = model_config("miniature-fcclip")  # the YAML's own relative path leads nowhere there
    assert Path(cfg.MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS).is_file()
