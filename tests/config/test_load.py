"""frozenseg/config.py: the key tables, merging, and what every kind of wrong input says."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from frozenseg.config import KEYS, Key, config_hash, find_config, get_config, load_config
from frozenseg.config import load as config
from frozenseg.config.legacy import LEGACY, legacy_row
from frozenseg.config.ranges import allowed
from frozenseg.encoders.sam.automatic_masks import MaskGeneration
from frozenseg.files import flatten

KNOWN = [key.name for key in KEYS]


@pytest.fixture
def write(tmp_path):
    def write_file(text: str, name: str = "config.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def test_every_key_has_a_type_and_one_line_of_meaning():
    assert len(KNOWN) == len(set(KNOWN))
    for key in KEYS:
        assert isinstance(key.default, (bool, int, float, str, list))
        assert key.meaning
        assert "\n" not in key.meaning


def test_the_tables_do_not_overlap_and_repeat_a_key_of_detectron2_only_to_change_it():
    from detectron2.config import get_cfg

    theirs = dict(flatten(get_cfg()))
    repeated = [key for key in KEYS if key.name in theirs]
    names = ["MODEL.SEM_SEG_HEAD.NUM_CLASSES", "INPUT.FORMAT", "INPUT.RANDOM_FLIP"]
    assert [key.name for key in repeated] == names
    for key in repeated:
        assert key.accepted or key.default != theirs[key.name]
    assert all(allowed(key.default, key.accepted) for key in KEYS)
    assert not {row.name for row in LEGACY} & set(KNOWN)
    assert len({row.name for row in LEGACY}) == len(LEGACY)


def test_images_are_rgb_unless_told_and_when_told_otherwise_it_is_an_error(write):
    assert get_config().INPUT.FORMAT == "RGB"
    for wrong in ("BGR", "L", "rgb"):
        with pytest.raises(ValueError, match=f"INPUT.FORMAT = '{wrong}' .*only 'RGB' is: .*CLIP"):
            load_config(write(f"INPUT: {{FORMAT: {wrong}}}"))


def test_get_config_holds_every_key_and_shares_nothing_between_calls():
    first, second = get_config(), get_config()
    assert dict(flatten(first)).items() >= {key.name: key.default for key in KEYS}.items()
    name = "DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES"
    first.MODEL.SEM_SEG_HEAD[name].append("res2")
    assert (
        second.MODEL.SEM_SEG_HEAD[name]
        == ["res3", "res4", "res5"]
        == get_config()["MODEL"].SEM_SEG_HEAD[name]
    )


@pytest.mark.golden
@pytest.mark.parametrize("name", ["fcclip_tiny_convnext", "frozenseg_tiny_convnext"])
def test_full_dumps_of_the_released_code_load_with_one_warning(name, golden_dir, caplog):
    path = golden_dir / name / "cfg.yaml"
    with caplog.at_level(logging.WARNING):
        cfg = load_config(path)
    assert len(caplog.records) == 1
    message = caplog.records[0].getMessage()
    assert "\n" not in message
    assert str(path) in message
    for key in ("MODEL.MASK_FORMER.DROPOUT", "MODEL.SWIN.* (16 keys)", "SOLVER.POLY_LR_CONST"):
        assert key in message or "frozenseg" in name
    given = yaml.safe_load(path.read_text())
    reasons = [row.reason for key, _ in flatten(given) if (row := legacy_row(key))]
    assert max(message.count(f": {reason}") for reason in reasons) == 1
    assert len(message) < 2500
    assert "MODEL.MASK_FORMER.NHEADS" not in message
    given = dict(flatten(yaml.safe_load(path.read_text())))
    for key, value in flatten(cfg):
        if key in given:
            assert json.dumps(value) == json.dumps(given[key]), key  # tuples count as lists


@pytest.mark.golden
def test_every_key_of_the_released_yaml_files_is_known(shared_dir):
    text = (shared_dir / "released_config_keys.txt").read_text()
    names = [line.split(":")[0] for line in text.splitlines() if ":" in line]
    names = [name for name in names if name.replace(".", "").replace("_", "").isalnum()]
    assert len(names) >= 75
    known = dict(flatten(get_config()))
    assert [name for name in names if name not in known and legacy_row(name) is None] == []


@pytest.mark.parametrize("name", ["configs/miniature/fcclip.yaml", "miniature/fcclip.yaml"])
def test_a_packaged_config_is_found_from_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path(config.__file__).parents[2] / "configs/miniature/fcclip.yaml"
    assert find_config(name) == path
    assert load_config(name) == load_config(path)
    own = tmp_path / name
    own.parent.mkdir(parents=True)
    own.write_text("SEED: 9")
    assert load_config(name).SEED == 9  # a file that is there takes precedence
    assert find_config(tmp_path / "none" / name) == tmp_path / "none" / name
    with pytest.raises(FileNotFoundError, match=r"none\.yaml does not exist"):
        load_config("miniature/none.yaml")


def test_the_same_value_twice_is_no_mistake(write):
    twice = (
        "MODEL:\n  SEM_SEG_HEAD:\n    IN_FEATURES: [res2]\n    NORM: GN\n    IN_FEATURES: [res2]"
    )
    assert load_config(write(twice)).MODEL.SEM_SEG_HEAD.IN_FEATURES == ["res2"]


def test_the_defaults_of_sam_s_automatic_masks_are_those_of_its_own_settings():
    cfg = get_config().TEST.SAM_MASK_GENERATION
    assert {name.lower(): value for name, value in cfg.items()} == asdict(MaskGeneration())


def test_a_dump_loads_again_without_a_warning_and_hashes_the_same(write, caplog):
    cfg = load_config(
        write("MODEL: {MASK_FORMER: {DROPOUT: 0.0, NHEADS: 4}}\nSOLVER: {STEPS: [10, 20]}")
    )
    caplog.clear()
    again = load_config(write(cfg.dump(), "output/config.yaml"))
    assert again == cfg
    assert again.SOLVER.STEPS == (10, 20)
    assert config_hash(again) == config_hash(cfg)
    assert caplog.records == []


def test_bases_merge_in_order_and_relative_to_their_file(write):
    write("SOLVER: {BASE_LR: 0.1, MAX_ITER: 1}\nSEED: 1", "base/a.yaml")
    write("SOLVER: {BASE_LR: 0.2}", "base/b.yaml")
    path = write("_BASE_: [../base/a.yaml, ../base/b.yaml]\nSEED: 3", "models/c.yaml")
    cfg = load_config(path, ["SOLVER.MAX_ITER", "7"])
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER, cfg.SEED) == (0.2, 7, 3)
    single = write("_BASE_: c.yaml", "models/d.yaml")
    assert load_config(single).SEED == 3


def test_a_clip_file_is_found_beside_its_yaml_file_wherever_one_stands(write, monkeypatch):
    clip = write("{}", "models/clip.json")
    path = write("MODEL: {FC_CLIP: {CLIP_MODEL_NAME: clip.json}}", "models/a.yaml")
    monkeypatch.chdir("/")
    cfg = load_config(path)
    assert Path(cfg.MODEL.FC_CLIP.CLIP_MODEL_NAME) == clip.resolve()
    assert (
        load_config(path, ["MODEL.FC_CLIP.CLIP_MODEL_NAME", "RN50"]).MODEL.FC_CLIP[
            "CLIP_MODEL_NAME"
        ]
        == "RN50"
    )


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("SOLVER: {BASE_LR: 1}", "SOLVER.BASE_LR", 1.0),
        ("SOLVER: {BASE_LR: 1e-4}", "SOLVER.BASE_LR", 1e-4),
        ("SOLVER: {STEPS: [1, 2]}", "SOLVER.STEPS", (1, 2)),
        ("DATASETS: {TEST: '(\"a\",)'}", "DATASETS.TEST", ("a",)),
        ("MODEL: {WEIGHTS: }", "MODEL.WEIGHTS", ""),
        ("MODEL: {WEIGHTS: '12'}", "MODEL.WEIGHTS", "12"),
        ("MODEL: {WEIGHTS: None}", "MODEL.WEIGHTS", ""),
        ("MODEL: {WEIGHTS: ./None}", "MODEL.WEIGHTS", "./None"),
        ("MODEL: {PIXEL_STD: [1, 2, 3]}", "MODEL.PIXEL_STD", [1, 2, 3]),
        ("INPUT: {FORMAT: RGB}", "INPUT.FORMAT", "RGB"),
    ],
)
def test_values_take_the_type_of_the_default(write, text, key, expected):
    value = dict(flatten(load_config(write(text))))[key]
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("MODEL: {MASK_FORMER: {N_HEADS: 8}}", ["MODEL.MASK_FORMER.N_HEADS", "R.NHEADS"]),
        ("MODEL: {MASKFORMER: {NHEADS: 8}}", ["MODEL.MASKFORMER.NHEADS", "MODEL.MASK_FORMER.NH"]),
        ("SOLVERS: {BASE_LR: 1}", ["SOLVERS.BASE_LR", "nearest known key is SOLVER.BASE_LR"]),
        ("SOLVER: {BASE_LR: fast}", ["SOLVER.BASE_LR", "a number from 0 to 1000", "'fast'"]),
        ("SOLVER: {MAX_ITER: 1.5}", ["SOLVER.MAX_ITER", "whole number from 1 to", "1.5"]),
        ("SOLVER: {MAX_ITER: true}", ["SOLVER.MAX_ITER", "whole number", "True"]),
        ("SOLVER: {AMP: {ENABLED: 1}}", ["SOLVER.AMP.ENABLED", "bool", "1"]),
        ("SOLVER: {STEPS: [a]}", ["SOLVER.STEPS", "a list, each entry a whole number", "['a']"]),
        ("DATASETS: {TRAIN: coco}", ["DATASETS.TRAIN", "list", "'coco'"]),
        ("MODEL: {WEIGHTS: 3}", ["MODEL.WEIGHTS", "a text", "3"]),
        ("SOLVER: 3", ["SOLVER is a section", "3"]),
        ("SOLVER:", ["SOLVER is a section", "None"]),
        ("SOLVER: {MAX_ITER: {A: 1}}", ["unknown key SOLVER.MAX_ITER.A"]),
        ("MODEL: {MASK_FORMER: {DROPOUT: 0.1}}", ["MODEL.MASK_FORMER.DROPOUT = 0.1", "only 0.0"]),
        ("MODEL: {MASK_FORMER: {PRE_NORM: true}}", ["MODEL.MASK_FORMER.PRE_NORM = True", "only F"]),
        ("TEST: {AUG: {ENABLED: true}}", ["TEST.AUG.ENABLED = True", "test-time augmentation"]),
        ("VERSION: 1", ["VERSION = 1", "only 2"]),
        ("INPUT: {FORMAT: BGR}", ["INPUT.FORMAT = 'BGR'", "only 'RGB'", "CLIP"]),
        (
            "INPUT: {RANDOM_FLIP: vertical}",
            ["INPUT.RANDOM_FLIP = 'vertical'", "'horizontal' or 'n"],
        ),
    ],
)
def test_a_wrong_key_or_value_is_one_line_with_file_key_and_remedy(write, text, fragments):
    path = write(text)
    with pytest.raises(ValueError) as caught:
        load_config(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message


def test_the_file_at_fault_is_named_not_the_one_that_was_asked_for(write):
    base = write("SOLVER: {BASE_LR: fast}", "base.yaml")
    with pytest.raises(ValueError, match=r"SOLVER\.BASE_LR") as caught:
        load_config(write("_BASE_: base.yaml", "child.yaml"))
    assert str(caught.value).startswith(str(base))


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("MODEL:\n  A: [1\nSOLVER: 2", r"config.yaml, line 3: not valid YAML"),
        ("SEED: 1\nSEED: 2", r"line 2: .*'SEED' has two values in one section \(lines 1 and 2\)"),
        ("MODEL:\n  A: [1]\n\n  A: [2]", r"line 4: .*'A' has two values .*\(lines 2 and 4\)"),
        ("SEED: !!python/object/apply:os.getcwd []", r"line 1: not valid YAML"),
        ("just words", "expected sections such as 'MODEL:'"),
        ("", "expected sections such as 'MODEL:'"),
        ("_BASE_: config.yaml", "cannot be its own _BASE_"),
    ],
)
def test_a_broken_file_is_one_line_that_names_it(write, text, pattern):
    with pytest.raises(ValueError, match=pattern) as caught:
        load_config(write(text))
    assert "\n" not in str(caught.value)


def test_a_base_may_be_a_packaged_config_and_a_file_beside_it_comes_first(write):
    path = write("_BASE_: configs/miniature/fcclip.yaml\nSEED: 3", "own.yaml")
    cfg = load_config(path)
    assert (cfg.SEED, cfg.MODEL.FC_CLIP.EMBED_DIM) == (3, 64)
    write("SEED: 4\nVERSION: 2", "configs/miniature/fcclip.yaml")
    assert load_config(path).MODEL.FC_CLIP.EMBED_DIM != 64


def test_a_missing_file_or_base_is_named_with_the_remedy(write, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.yaml does not exist: give the path"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(FileNotFoundError, match=r"gone.yaml \(a _BASE_ of .*config.yaml\) does"):
        load_config(write("_BASE_: gone.yaml"))


def test_command_line_pairs_win_and_their_errors_say_command_line(write):
    path = write("SEED: 1")
    cfg = load_config(path, ["SEED", "2", "DATASETS.TEST", "('x',)", "MODEL.WEIGHTS", "w.pth"])
    assert (cfg.SEED, cfg.DATASETS.TEST, cfg.MODEL.WEIGHTS) == (2, ("x",), "w.pth")
    with pytest.raises(ValueError, match="odd number of words: SEED=3"):
        load_config(path, ["SEED=3"])
    with pytest.raises(ValueError, match=r"^command line: unknown key SEDE; .* SEED$"):
        load_config(path, ["SEDE", "3"])


def test_legacy_keys_warn_once_and_only_where_the_value_has_no_effect(write, caplog):
    text = "MODEL: {SWIN: {DEPTHS: [2]}, BACKBONE: {FREEZE_AT: 0}}\nTEST: {PKL_SAM_MODEL_NAME: x}"
    cfg = load_config(write(text), ["MODEL.relu", "relu"])
    [record] = caplog.records
    for key in ("MODEL.SWIN.DEPTHS", "FREEZE_AT", "PKL_SAM_MODEL_NAME", "MODEL.relu"):
        assert key in record.getMessage()
    assert "SWIN" not in cfg.MODEL
    assert "PKL_SAM_MODEL_NAME" not in cfg.TEST
    caplog.clear()
    load_config(write("MODEL: {BACKBONE: {FREEZE_AT: 2}, SEM_SEG_HEAD: {LOSS_WEIGHT: 1.0}}"))
    assert caplog.records == []  # detectron2's own defaults, as every dump has them


DETECTOR_KEYS = {
    "MODEL.MASK_ON": True,
    "MODEL.KEYPOINT_ON": True,
    "MODEL.PROPOSAL_GENERATOR.MIN_SIZE": 9,
    "MODEL.ANCHOR_GENERATOR.SIZES": [[9]],
    "MODEL.RPN.NMS_THRESH": 0.1,
    "MODEL.ROI_HEADS.NUM_CLASSES": 9,
    "MODEL.ROI_BOX_HEAD.NUM_FC": 9,
    "MODEL.ROI_BOX_HEAD.USE_FED_LOSS": True,
    "MODEL.ROI_BOX_CASCADE_HEAD.IOUS": [0.1, 0.2, 0.3],
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 9,
    "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS": 9,
    "MODEL.RETINANET.NUM_CLASSES": 9,
    "MODEL.FPN.OUT_CHANNELS": 9,
    "MODEL.PANOPTIC_FPN.INSTANCE_LOSS_WEIGHT": 9.0,
    "DATASETS.PROPOSAL_FILES_TRAIN": ["x"],
    "DATASETS.PROPOSAL_FILES_TEST": ["x"],
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN": 9,
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST": 9,
    "TEST.AUG.FLIP": False,
    "TEST.PRECISE_BN.NUM_ITER": 9,
    "TEST.KEYPOINT_OKS_SIGMAS": [0.1],
    "TEST.EXPECTED_RESULTS": [["x", "y", 1.0, 0.1]],
    "GLOBAL.HACK": 9.0,
    "CUDNN_BENCHMARK": True,
}


@pytest.mark.parametrize("key", DETECTOR_KEYS)
def test_a_key_of_detectron2_without_effect_warns_unless_it_has_its_default(write, key, caplog):
    load_config(write("SEED: 1"), [key, repr(DETECTOR_KEYS[key])])
    [record] = caplog.records
    assert f"1 keys have no effect here: {key}: " in record.getMessage()
    caplog.clear()
    default = dict(flatten(get_config())).get(key)
    if default is not None:
        load_config(write("SEED: 1"), [key, repr(default)])
    assert caplog.records == []


def test_the_warning_gives_each_reason_once_and_sections_as_a_whole(write, caplog):
    text = "MODEL: {SWIN: {DEPTHS: [2], APE: true}, FPN: {NORM: BN}, BACKBONE: {FREEZE_AT: 0}}"
    load_config(write(text), ["MODEL.relu", "relu", "DATALOADER.DATASET_BS", "[2, 2]"])
    [record] = caplog.records
    assert record.getMessage().endswith(
        "config.yaml: 6 keys have no effect here: "
        f"DATALOADER.DATASET_BS, MODEL.relu: {legacy_row('MODEL.relu').reason}; "
        f"MODEL.BACKBONE.FREEZE_AT: {legacy_row('MODEL.BACKBONE.FREEZE_AT').reason}; "
        f"MODEL.FPN.NORM: {legacy_row('MODEL.FPN.NORM').reason}; "
        "MODEL.SWIN.* (2 keys): there is no Swin backbone here"
    )


def test_a_key_of_detectron2_main_counts_as_its_own_where_it_is_installed(
    write, monkeypatch, caplog
):
    cfg = get_config()
    cfg.SOLVER.NUM_DECAYS = 3
    monkeypatch.setattr(config, "get_config", lambda: cfg)
    assert load_config(write("SOLVER: {NUM_DECAYS: 5}")).SOLVER.NUM_DECAYS == 5
    assert caplog.records == []


def test_the_hash_follows_what_is_computed_and_not_where_files_lie(write):
    plain = config_hash(load_config(write("SEED: 1")))
    elsewhere = ["OUTPUT_DIR", "/x", "MODEL.WEIGHTS", "/y.pth", "MODEL.TEXT_CACHE_DIR", "/z"]
    moved = write("SEED: 1", "other/place.yaml")
    assert config_hash(load_config(moved, elsewhere)) == plain
    assert config_hash(load_config(moved, ["SEED", "2"])) != plain
    here, there, other = (
        config_hash(load_config(moved, ["MODEL.FC_CLIP.CLIP_MODEL_NAME", name]))
        for name in ("/a/clip.json", "/b/clip.json", "/a/other.json")
    )
    assert here == there != other


def test_a_key_added_to_the_table_becomes_a_key_of_the_config(write, monkeypatch):
    monkeypatch.setattr(config, "KEYS", (*KEYS, Key("MODEL.NEW_PART.SIZE", 3, "a size")))
    assert load_config(write("MODEL: {NEW_PART: {SIZE: 4}}")).MODEL.NEW_PART.SIZE == 4


def test_a_list_is_no_number_and_processes_share_the_images_evenly():
    for opts, message in (
        (["SOLVER.WEIGHT_DECAY_BIAS", "(0, 0)"], r"WEIGHT_DECAY_BIAS expects a number"),
        (
            ["SOLVER.IMS_PER_BATCH", "16", "SOLVER.REFERENCE_WORLD_SIZE", "3"],
            r"IMS_PER_BATCH = 16, SOLVER.REFERENCE_WORLD_SIZE = 3: a multiple of the second",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            load_config("configs/miniature/fcclip.yaml", opts)
