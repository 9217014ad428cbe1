from __future__ import annotations

import json

import pytest
import timm

from frozenseg.encoders.clip.config import read_clip_config, register_convnext


def test_names_of_open_clip_keep_their_activation():
    assert not read_clip_config("RN50").quick_gelu
    assert read_clip_config("RN50-quickgelu").quick_gelu
    assert read_clip_config("RN50").is_builtin


def test_reading_a_config_does_not_change_open_clips_own():
    read_clip_config("convnext_base").arguments["vision_cfg"]["image_size"] = 1
    assert read_clip_config("convnext_base").arguments["vision_cfg"]["image_size"] != 1


def test_unknown_name_names_a_near_one():
    with pytest.raises(ValueError, match=r"convnext_large_d_321.*convnext_large_d_320"):
        read_clip_config("convnext_large_d_321")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json"):
        read_clip_config(str(tmp_path / "nowhere.json"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[1]", "expected a JSON object"),
        ('{"embed_dim": 4}', "missing vision_cfg, text_cfg"),
        ('{"embed_dim": 4, "vision_cfg": {}, "text_cfg": {"hf_model_name": "x"}}', "hf_model_name"),
        (
            '{"embed_dim": 4, "vision_cfg": {}, "text_cfg": {}, "timm_convnext": {}}',
            "timm_model_name",
        ),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "clip.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_clip_config(str(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("depths", [None, [1, 1, 1], [1, 1, 0, 1], [1, 1, "1", 1], [1, 1, True, 1]])
def test_sizes_of_a_convnext_must_be_four_positive_integers(clip_config, depths):
    path = clip_config("convnext", timm_convnext={"depths": depths, "dims": [4, 4, 4, 4]})
    with pytest.raises(ValueError, match=r"timm_convnext\.depths.*four positive integers"):
        read_clip_config(str(path))


def test_the_layout_of_model_hubs_is_understood(tmp_path, clip_config):
    inner = json.loads(clip_config("resnet").read_text())
    path = tmp_path / "open_clip_config.json"
    path.write_text(json.dumps({"model_cfg": inner, "preprocess_cfg": {}}))
    assert read_clip_config(str(path)).arguments["embed_dim"] == inner["embed_dim"]


def test_registered_convnext_has_the_given_sizes_and_the_rest_of_convnext_large():
    register_convnext("convnext_test_registered", (1, 2, 1, 1), (4, 8, 12, 16))
    trunk = timm.create_model("convnext_test_registered", num_classes=0)
    assert [len(stage.blocks) for stage in trunk.stages] == [1, 2, 1, 1]
    assert [info["num_chs"] for info in trunk.feature_info] == [4, 8, 12, 16]
    large = timm.create_model("convnext_large", depths=(1, 2, 1, 1), dims=(4, 8, 12, 16))
    large.reset_classifier(0)
    assert repr(trunk) == repr(large)


def test_registering_again_needs_the_same_sizes():
    register_convnext("convnext_test_twice", (1, 1, 1, 1), (4, 4, 4, 4))
    register_convnext("convnext_test_twice", (1, 1, 1, 1), (4, 4, 4, 4))
    with pytest.raises(ValueError, match=r"convnext_test_twice.*another name"):
        register_convnext("convnext_test_twice", (1, 1, 1, 1), (4, 4, 4, 8))


@pytest.mark.parametrize("name", ["convnext_large", "resnet50"])
def test_names_of_timm_are_not_taken(name):
    with pytest.raises(ValueError, match="is a model of timm"):
        register_convnext(name, (1, 1, 1, 1), (4, 4, 4, 4))


def test_names_that_timm_would_read_as_a_tag_are_refused():
    with pytest.raises(ValueError, match="letters, digits"):
        register_convnext("mine.tag", (1, 1, 1, 1), (4, 4, 4, 4))
