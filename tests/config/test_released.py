"""Files of the shape that Mask-Adapter, MAFT+ and OVRCOAT release: they load and mean the same."""

from __future__ import annotations

import pytest

from frozenseg.config import load_config

FCCLIP = """
MODEL:
  META_ARCHITECTURE: FCCLIP
  BACKBONE: {NAME: CLIP, FREEZE_AT: 0}
  SEM_SEG_HEAD: {NAME: FCCLIPHead, NUM_CLASSES: 133}
  FC_CLIP:
    CLIP_MODEL_NAME: convnext_large_d_320
    CLIP_PRETRAINED_WEIGHTS: laion2b_s29b_b131k_ft_soup
    EMBED_DIM: 768
    GEOMETRIC_ENSEMBLE_ALPHA: 0.7
    GEOMETRIC_ENSEMBLE_BETA: 0.9
    ENSEMBLE_ON_VALID_MASK: False
"""
ADAPTER = """
  MASK_ADAPTER:
    NAME: MASKAdapterHead
    MASK_IN_CHANNELS: 16
    NUM_CHANNELS: 768
    USE_CHECKPOINT: False
    NUM_OUTPUT_MAPS: 16
    MASK_THRESHOLD: 0.45
"""
MAFT = FCCLIP.replace("FCCLIP\n", "MAFT_Plus\n") + "  rc_weights: 0.1\n  cdt_params: [640, 8]\n"
MAFT = MAFT.replace("EMBED_DIM: 768", "EMBED_DIM: 640").replace("0.7", "-1").replace("0.9", "-1")
OVRCOAT = """
MODEL:
  META_ARCHITECTURE: OVRCOAT
  BACKBONE: {NAME: CLIP, FREEZE: False}
  FC_CLIP: {GEOMETRIC_ENSEMBLE_ALPHA: 0.4, GEOMETRIC_ENSEMBLE_BETA: 0.8}
  OVRCOAT:
    CE_WEIGHT: 0.1
    DIST_WEIGHT: 0.0
    RC_WEIGHTS: 0.0
    SEM_SEG_WEIGHTS: ./path
    CLIP_TRUST_WEIGHT: 0.5
TRAIN:
  LOSSES: [oov_ce, masks, labels]
  USE_PRETRAINED_SEG_HEAD_WEIGHTS: False
  DETACH_SEG_HEAD: False
"""
DATA = """
INPUT: {DATASET_MAPPER_NAME: mask_former_semantic, COLOR_AUG_SSD: True}
DATALOADER:
  DATASET_RATIO: [1, 1]
  USE_DIFF_BS_SIZE: True
  DATASET_BS: [2, 2]
  USE_RFS: [False, False]
  MULTI_DATASET_GROUPING: True
  DATASET_ANN: ['box', 'box']
DATASETS:
  TEST: ("openvocab_ade20k_panoptic_val", "openvocab_pascal20_sem_seg_val")
"""


@pytest.fixture
def load(tmp_path):
    """Loads the config of a YAML text, with command-line words on top."""

    def load_text(text, *opts):
        (tmp_path / "released.yaml").write_text(text)
        return load_config(tmp_path / "released.yaml", opts)

    return load_text


def test_fcclip_with_an_adapter(load):
    cfg = load(FCCLIP + ADAPTER + DATA)
    assert cfg.MODEL.MASK_ADAPTER.NAME == "MASKAdapterHead"
    assert cfg.MODEL.MASK_ADAPTER.MASK_THRESHOLD == 0.45
    assert (cfg.MODEL.CDT.FORM, cfg.MODEL.STUDENT.ENABLED, cfg.TEST.ORACLE_MASKS) == ("", 0, 0)
    assert cfg.INPUT.DATASET_MAPPER_NAME == "semantic_lsj"
    assert len(cfg.DATASETS.TEST) == 2


def test_the_section_alone_means_an_adapter(load):
    assert not load(FCCLIP).MODEL.MASK_ADAPTER.NAME
    nameless = ADAPTER.replace("    NAME: MASKAdapterHead\n", "")
    assert load(FCCLIP + nameless).MODEL.MASK_ADAPTER.NAME == "MASKAdapterHead"


@pytest.mark.parametrize("on_maft", [False, True])
def test_the_warm_up(load, on_maft):
    text = FCCLIP.replace("FCCLIP\n", "MASK_Adapter\n").replace("FCCLIPHead", "FCCLIPMASKHead")
    cfg = load(text + ADAPTER + f"    TRAIN_MAFT: {on_maft}\n")
    assert cfg.TEST.ORACLE_MASKS
    assert cfg.MODEL.SEM_SEG_HEAD.NAME == "FCCLIPHead"
    assert ("semantic" if on_maft else "") == cfg.MODEL.CDT.FORM
    assert ("released" if on_maft else "per_position") == cfg.MODEL.CDT.EMBEDDING
    assert not cfg.MODEL.STUDENT.ENABLED


@pytest.mark.parametrize(("panoptic", "form"), [("False", "semantic"), ("True", "panoptic")])
def test_maft_plus(load, panoptic, form):
    cfg = load(MAFT + DATA, "MODEL.MASK_FORMER.TEST.PANOPTIC_ON", panoptic)
    assert (form, 8) == (cfg.MODEL.CDT.FORM, cfg.MODEL.CDT.HEADS)
    assert (cfg.MODEL.CDT.EMBEDDING, cfg.MODEL.FC_CLIP.EMBED_DIM) == ("released", 640)
    clip, student = cfg.MODEL.FC_CLIP, cfg.MODEL.STUDENT
    assert (clip.GEOMETRIC_ENSEMBLE_ALPHA, clip.GEOMETRIC_ENSEMBLE_BETA) == (1, 1)
    assert (student.ENABLED, student.DETACHED) == (True, True)
    assert (student.RANKING_WEIGHT, student.COMPENSATION_WEIGHT) == (1, 0.1)
    assert (student.CLASS_WEIGHT, student.GRAM_WEIGHT, student.LOGIT_SCALE) == (0, 0, False)
    assert cfg.MODEL.RELEASED_LOSSES


def test_maft_plus_with_an_adapter(load):
    cfg = load(MAFT.replace("ALPHA: -1", "ALPHA: 0.7").replace("BETA: -1", "BETA: 1.0") + ADAPTER)
    clip = cfg.MODEL.FC_CLIP
    assert (clip.GEOMETRIC_ENSEMBLE_ALPHA, clip.GEOMETRIC_ENSEMBLE_BETA) == (0.7, 1)
    assert (cfg.MODEL.CDT.FORM, cfg.MODEL.CDT.EMBEDDING) == ("semantic", "released")
    assert not cfg.MODEL.STUDENT.ENABLED
    assert cfg.MODEL.MASK_ADAPTER.NAME


def test_ovrcoat(load):
    cfg = load(OVRCOAT)
    clip, student = cfg.MODEL.FC_CLIP, cfg.MODEL.STUDENT
    assert (clip.VOID_TRUST, clip.VOID_TRUST_EVERYWHERE) == (0.5, True)
    assert (student.ENABLED, student.DETACHED, student.LOGIT_SCALE) == (True, False, True)
    assert (student.CLASS_WEIGHT, student.RANKING_WEIGHT) == (0.1, 0)
    assert (student.COMPENSATION_WEIGHT, student.GRAM_WEIGHT) == (0, 0)
    assert not cfg.MODEL.CDT.FORM
    detached = load(OVRCOAT.replace("DETACH_SEG_HEAD: False", "DETACH_SEG_HEAD: True"))
    assert detached.MODEL.STUDENT.DETACHED


def test_bases_and_own_keys_take_precedence(load, tmp_path):
    (tmp_path / "base.yaml").write_text(MAFT)
    cfg = load("_BASE_: base.yaml\nMODEL: {CDT: {FORM: panoptic}}")
    assert (cfg.MODEL.CDT.FORM, cfg.MODEL.CDT.EMBEDDING) == ("panoptic", "per_position")
    assert not cfg.MODEL.RELEASED_LOSSES
    assert load(OVRCOAT, "MODEL.FC_CLIP.VOID_TRUST", "0.25").MODEL.FC_CLIP.VOID_TRUST == 0.25
    assert load("_BASE_: base.yaml", "MODEL.rc_weights", "0.3").MODEL.STUDENT.COMPENSATION_WEIGHT


@pytest.mark.parametrize(
    ("text", "old", "new", "message"),
    [
        (MAFT, "rc_weights: 0.1", "rc_weights: -1", r"\(MODEL\.rc_weights\): .* got -1\.0 "),
        (MAFT, "rc_weights: 0.1", "rc_weights: much", r"\(MODEL\.rc_weights\): .*got 'much'"),
        (MAFT, "[640, 8]", "[640]", r"MODEL\.cdt_params expects \[width, heads\], got \[640\]"),
        (MAFT, "[640, 8]", "[640, 0]", r"\(MODEL\.cdt_params\): MODEL\.CDT\.HEADS .* got 0 "),
        (OVRCOAT, "FREEZE: False", "FREEZE: half", r"\(MODEL\.BACKBONE\.FREEZE\): .* got 'half'"),
        (OVRCOAT, "CE_WEIGHT: 0.1", "CE_WEIGHT: .nan", r"\(MODEL\.OVRCOAT\.CE_WEIGHT\): .* nan"),
        (OVRCOAT, "TRUST_WEIGHT: 0.5", "TRUST_WEIGHT: 2", r"TRUST_WEIGHT\): .*VOID_TRUST .* got 2"),
        (
            OVRCOAT,
            "[oov_ce, masks, labels]",
            "[oov_ce]",
            r"TRAIN\.LOSSES = \['oov_ce'\] is not sup",
        ),
        (OVRCOAT, "CE_WEIGHT", "CE_WIGHT", r"unknown key MODEL\.OVRCOAT\.CE_WIGHT"),
        (FCCLIP + ADAPTER, "0.45", "45", r"MASK_ADAPTER\.MASK_THRESHOLD expects .* got 45"),
        (FCCLIP + ADAPTER, "MASKAdapterHead", "Other", r"MASK_ADAPTER\.NAME = 'Other' is not supp"),
        (FCCLIP + ADAPTER, "IN_CHANNELS: 16", "IN_CHANNELS: 6", r"= 6: a multiple of 4"),
    ],
)
def test_an_error_names_the_file_and_the_key_that_was_written(load, text, old, new, message):
    assert old in text
    with pytest.raises(ValueError, match=rf"released\.yaml.*{message}"):
        load(text.replace(old, new, 1))


def test_what_has_no_effect_is_said_once(load, caplog):
    load(OVRCOAT + DATA)
    [record] = caplog.records
    for key in ("MODEL.OVRCOAT.SEM_SEG_WEIGHTS", "COLOR_AUG_SSD", "DATALOADER.DATASET_BS"):
        assert key in record.getMessage()
