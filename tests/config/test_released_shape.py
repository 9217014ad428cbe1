"""FC-CLIP's and FrozenSeg's released YAML files load as they are: files of their shape do."""

from pathlib import Path

import pytest

from frozenseg.config import load_config
from frozenseg.data.catalog.register import register_splits, registered_split
from tests.config.released_shape import BASE, CLIPS, MASK2FORMER, write_released


@pytest.fixture
def released(tmp_path):
    return write_released(tmp_path)


def test_all_29_load_with_the_values_that_they_set(released):
    register_splits()
    assert len(released) == 29
    for path, dataset in released.items():
        cfg = load_config(path)
        assert (dataset,) == cfg.DATASETS.TEST, path
        assert registered_split(dataset).name, path
        assert (cfg.SOLVER.STEPS, cfg.SOLVER.BASE_LR) == ((327778, 355092), 1e-4)
        is_large = any(name in path for name in ("cityscapes", "mapillary"))
        assert (1024 if is_large else 800) == cfg.INPUT.MIN_SIZE_TEST, path
        if Path(path).name == BASE:
            continue
        model = cfg.MODEL
        assert model.SEM_SEG_HEAD.IN_FEATURES == ["res2", "res3", "res4", "res5"]
        is_model = Path(path).name != MASK2FORMER
        assert (250 if is_model else 100) == model.MASK_FORMER.NUM_OBJECT_QUERIES, path
        if is_model:
            assert model.META_ARCHITECTURE in ("FCCLIP", "FrozenSeg")
            assert ("", f"{model.META_ARCHITECTURE}Head") == (
                model.WEIGHTS,
                model.SEM_SEG_HEAD.NAME,
            )


@pytest.mark.parametrize("clip", CLIPS)
def test_a_clip_of_another_size(released, clip):
    (path,) = [path for path in released if path.endswith(f"ade20k_{clip}.yaml")]
    settings = load_config(path).MODEL.FC_CLIP
    assert CLIPS[clip] == (settings.CLIP_MODEL_NAME, settings.EMBED_DIM)
    assert settings.CLIP_PRETRAINED_WEIGHTS == "openai"
    assert settings.ENSEMBLE_ON_VALID_MASK


def test_two_values_of_a_key_are_refused_with_both_lines(released, tmp_path):
    (path, *_) = [Path(path) for path in released if path.endswith(f"/coco/{MASK2FORMER}")]
    text = path.read_text()
    last = text.rindex('IN_FEATURES: ["res2"')
    path.write_text(f'{text[:last]}IN_FEATURES: ["res3"{text[last + len("IN_FEATURES: [") + 6 :]}')
    leaf = tmp_path / "configs/coco/frozenseg/r50x64_eval_ade20k.yaml"
    with pytest.raises(ValueError, match=r"'IN_FEATURES' has two values .*\(lines 6 and 14\)") as e:
        load_config(leaf)
    assert str(path.name) in str(e.value)
    assert "\n" not in str(e.value)
