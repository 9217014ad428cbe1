"""The public API with the shipped miniature model: words that change cost only themselves."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import frozenseg
from frozenseg import build
from frozenseg.data.miniature.classes import CLASSES
from frozenseg.data.miniature.scenes import draw_scene
from frozenseg.encoders.text.clip_text import ClipText
from frozenseg.vocab import get_templates

SCENE = frozenseg.sample_image()


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FROZENSEG_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield frozenseg.load("miniature-fcclip", device="cpu")


@pytest.fixture(scope="module")
def scene():
    return draw_scene(13, 0).image


@pytest.fixture
def encoded(monkeypatch):
    """The number of prompts in every call of the text tower."""
    counts = []
    encode = ClipText.encode

    def counting(self, tokens_NL, is_token_NL):
        counts.append(len(tokens_NL))
        return encode(self, tokens_NL, is_token_NL)

    monkeypatch.setattr(ClipText, "encode", counting)
    return counts


def test_new_words_cost_only_themselves_and_nothing_is_loaded(
    segmenter, scene, encoded, monkeypatch
):
    monkeypatch.setattr(build, "build_model", lambda *_: pytest.fail("the model was built anew"))
    per_word = len(set(get_templates("vild_14")))
    weights = {
        name: value.clone() for name, value in segmenter.predictor.model.state_dict().items()
    }
    segmenter(scene, "red circle; grass:stuff")
    assert sum(encoded) == 2 * per_word
    segmenter(scene, "grass:stuff; blue square; red circle", "semantic")
    assert sum(encoded) == 3 * per_word
    segmenter(scene, {"red circle": "blue square"}, "instance")
    segmenter(scene, "grass:stuff; red circle")
    assert sum(encoded) == 3 * per_word
    for name, value in segmenter.predictor.model.state_dict().items():
        assert torch.equal(value, weights[name]), name


@pytest.mark.parametrize("task", ["panoptic", "semantic"])
def test_it_finds_what_is_there(task, segmenter):
    """In some scenes most pixels get the right word."""
    shares = []
    for index in range(2):
        scene = draw_scene(13, index)
        found = segmenter(scene.image, task=task)
        truth = {each["id"]: CLASSES[each["category"]].name for each in scene.segments}
        right = [
            (segment.mask & (scene.ids == number)).sum()
            for segment in found.segments
            for number, name in truth.items()
            if segment.name == name
        ]
        shares.append(sum(right) / scene.ids.size)
    assert np.mean(shares) > 0.6


def test_a_benchmark_by_name_and_a_background(segmenter, scene):
    found = segmenter(scene, "miniature_val_panoptic")
    assert len(found.vocabulary) == 70
    with_rest = segmenter(scene, "zebra", background="gravel, wood, grass, water")
    assert all(segment.name == "zebra" for segment in with_rest.segments)
    assert (with_rest.label_map == 0).any()


# Whoever imports frozenseg may use these names: adding one is a decision, removing one a breach.
PUBLIC = {
    "frozenseg": """
        ExportedSegmenter Results Segment Segmentation Segmenter Vocabulary load load_config
        models sample_image save_coco segment __version__
    """,
    "Segmenter": """
        about batch compile config device float half name precision predictor save_pretrained
        set_vocabulary task tasks to video vocabulary
    """,
    "Results": "skipped",
    "Segmentation": """
        boxes_xyxy filter image_HW3 label_map label_map_HW overlay polygons save save_coco
        segments segments_json sheet show source styles task to_csv to_cvat to_detectron2
        to_fiftyone to_huggingface to_json to_labelme to_pandas to_supervision to_yolo vocabulary
        without
    """,
    "Segment": "area box class_index id is_thing mask name rle score to_json",
    "Vocabulary": """
        all_synonyms category_ids classes colors dataset_ids digest from_file from_json
        from_lvis_annotations from_metadata from_names from_table names parse save synonyms
        thing_mask to_json with_words
    """,
}


def test_no_public_name_disappears(segmenter, scene):
    assert set(frozenseg.__all__) == set(PUBLIC["frozenseg"].split())
    results = segmenter([scene])
    found = next(results)
    for thing in (segmenter, results, found, found.segments[0], found.vocabulary):
        kind = type(thing).__name__
        assert type(thing) is getattr(frozenseg, kind)
        public = {name for name in dir(thing) if not name.startswith("_")}
        assert public == set(PUBLIC[kind].split()), kind


def test_names(segmenter):
    assert "fcclip-convnext-large" in frozenseg.models()
    assert set(frozenseg.__all__) <= set(dir(frozenseg))
    for name in frozenseg.__all__:
        assert getattr(frozenseg, name) is not None
    with pytest.raises(AttributeError, match="lode"):
        frozenseg.lode  # noqa: B018
    with pytest.raises(ValueError, match="did you mean 'miniature-fcclip'"):
        frozenseg.load("miniature_fcclip")
    with pytest.raises(ValueError, match="unknown task"):
        frozenseg.load("miniature-fcclip", task="panoptik")
    assert segmenter.about["weights"].endswith("miniature_fcclip.safetensors")


def test_fusioner_answers_several_words_at_once_and_leaves_the_rest_empty():
    segmenter = frozenseg.load("miniature-fusioner", device="cpu")
    assert segmenter.tasks == ("semantic",)
    found = segmenter(str(SCENE), "purple heart; yellow cross; white moon")
    assert found.task == "semantic"
    shares = {s.name: s.area / found.label_map.size for s in found.segments}
    assert min(shares["yellow cross"], shares["purple heart"]) > 0.04
    assert shares.get("white moon", 0) < 0.03  # there is none
    assert (found.label_map == 0).mean() > 0.5  # water and sand, which nobody asked for
    with pytest.raises(ValueError, match="this model computes semantic segmentation, not panoptic"):
        segmenter(str(SCENE), "purple heart", "panoptic")


@pytest.mark.slow
def test_the_first_load_from_several_threads(tmp_path):
    program = """
import pickle, threading, torch, frozenseg
found = []
load = lambda: found.append(frozenseg.load(device=torch.device("cpu")))
threads = [threading.Thread(target=load) for _ in range(4)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
assert len(found) == 4
again = pickle.loads(pickle.dumps(found[0]))
print([each.name for each in again(frozenseg.sample_image(), "purple heart; sand:stuff").segments])
"""
    environment = {**os.environ, "FROZENSEG_CACHE": str(tmp_path)}
    run = [sys.executable, "-W", "ignore", "-c", program]
    result = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "['purple heart', 'sand']\n"), result.stderr


def test_a_file_of_weights_is_no_config():
    with pytest.raises(ValueError, match=r"model\.pth is a file of weights.*weights='model\.pth'"):
        frozenseg.load("model.pth")
