"""The segmenter over a stand-in for the model; the real one: tests/test_api.py."""

import copy
import os
import pickle
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from frozenseg import errors, loading
from frozenseg.predict import segmenter as module
from frozenseg.predict.predictor import Predictor
from frozenseg.predict.segmentation import Segmentation
from frozenseg.predict.segmenter import Segmenter
from frozenseg.predict.tasks import TASKS
from frozenseg.predict.video import ClipWriter
from frozenseg.structures import TaskSettings
from frozenseg.vocab import Vocabulary


class StripesModel(nn.Module):
    """As many vertical stripes as words, one for each."""

    def __init__(self):
        super().__init__()
        self.words_set = []
        self.task_settings = TaskSettings(object_mask_threshold=0.0)
        self.vocabulary = Vocabulary.parse("one; two:stuff")

    def set_vocabulary(self, vocabulary):
        self.vocabulary = vocabulary
        self.words_set.append(vocabulary.names)

    def forward(self, batch):
        vocabulary = self.vocabulary
        time.sleep(0.001)  # other threads run here
        assert vocabulary is self.vocabulary, "another call changed the words"
        return [self.output(each["height"], each["width"], vocabulary) for each in batch]

    def output(self, height, width, vocabulary):
        stripe = torch.arange(width) * len(vocabulary) // width
        labels = stripe.expand(height, width)
        if self.task_settings.semantic:
            return {"semantic_labels": labels}
        info = [
            {"id": i + 1, "category_id": i, "isthing": thing, "score": 0.5}
            for i, thing in enumerate(vocabulary.thing_mask)
        ]
        return {"panoptic_seg": (labels.int() + 1, info)}


@pytest.fixture
def segmenter():
    settings = {
        task: TaskSettings(object_mask_threshold=0.0, **{t: t == task for t in TASKS})
        for task in TASKS
    }
    predictor = Predictor(StripesModel(), shortest_edge=16, longest_edge=64, task_settings=settings)
    return Segmenter(predictor, name="stripes")


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (30, 20), "red").save(tmp_path / name)
    return tmp_path


IMAGE = np.zeros((20, 30, 3), dtype=np.uint8)


def names(segmentation):
    return [segment.name for segment in segmentation.segments]


def test_one_image(segmenter, folder):
    found = segmenter(folder / "a.png", "cat, kitten; dog; sky:stuff")
    assert isinstance(found, Segmentation)
    assert names(found) == ["cat", "dog", "sky"]
    assert found.source == str(folder / "a.png")
    assert (found.image_HW3 == (255, 0, 0)).all()
    assert found.overlay().shape == (20, 30, 3)


def test_calls_do_not_change_what_later_ones_mean(segmenter):
    assert names(segmenter(IMAGE, "cat; dog", "semantic")) == ["cat", "dog"]
    found = segmenter(IMAGE)
    assert (names(found), found.task) == (["one", "two"], "panoptic")
    segmenter.set_vocabulary(["red", "blue"])
    segmenter(IMAGE, "cat")
    assert names(segmenter(IMAGE)) == ["red", "blue"]


def test_the_model_is_told_of_words_only_when_they_change(segmenter):
    for words in ("cat; dog", ["cat", "dog"], "dog; cat"):
        segmenter(IMAGE, words)
    assert segmenter.predictor.model.words_set == [("cat", "dog"), ("dog", "cat")]


def test_background_pixels_have_no_segment(segmenter):
    for task in ("panoptic", "semantic"):
        found = segmenter(IMAGE, "cat; dog", task, background="rest, other")
        assert names(found) == ["cat", "dog"]
        assert (found.label_map[:, 20:] == 0).all()
        assert (found.label_map[:, :20] > 0).all()
        assert found.vocabulary == Vocabulary.parse("cat; dog")


def test_several_images_are_computed_as_they_are_asked_for(segmenter, folder):
    results = segmenter(folder, "cat; dog")
    assert len(results) == 3
    assert segmenter.predictor.model.words_set == []
    first = next(results)
    assert first.source == str(folder / "a.png")
    assert [each.source[-5:] for each in results] == ["b.png", "c.png"]
    endless = (IMAGE for _ in iter(int, 1))
    assert names(next(segmenter(endless, "cat"))) == ["cat"]


@pytest.mark.parametrize(
    "images", [[IMAGE, IMAGE], np.stack([IMAGE, IMAGE]), torch.zeros(2, 3, 20, 30)]
)
def test_lists_and_batches(segmenter, images):
    assert [each.label_map.shape for each in segmenter(images, "cat")] == [(20, 30)] * 2


def test_a_batch_gives_what_single_calls_give(segmenter, folder):
    images = [IMAGE, np.zeros((10, 24, 3), dtype=np.uint8), folder / "b.png"]
    for words, task, background in (("cat; dog", "semantic", None), ("cat", "panoptic", "rest")):
        found = segmenter.batch(images, words, task, background=background)
        assert [each.source for each in found] == ["", "", str(folder / "b.png")]
        for image, each in zip(images, found, strict=True):
            alone = segmenter(image, words, task, background=background)
            assert names(each) == names(alone)
            assert np.array_equal(each.label_map, alone.label_map)
            assert each.vocabulary == alone.vocabulary


def test_a_bad_file_among_others(segmenter, folder):
    (folder / "b.png").write_bytes(b"no image")
    results = segmenter(folder, "cat")
    next(results)
    with pytest.raises(ValueError, match=r"b\.png"):
        next(results)
    assert next(results).source[-5:] == "c.png"


def test_bad_files_are_left_out_and_named(segmenter, folder, caplog):
    (folder / "a.png").write_bytes(b"no image")
    (folder / "c.png").write_bytes(b"")
    results = segmenter(folder, "cat", skip_bad=True)
    assert [each.source[-5:] for each in results] == ["b.png"]
    assert [path[-5:] for path, _ in results.skipped] == ["a.png", "c.png"]
    assert "0 bytes" in caplog.text


def test_mistakes_are_named_before_anything_is_computed(segmenter, folder):
    for arguments, error, message in (
        (("", "panoptic"), ValueError, "empty vocabulary"),
        ((7,), TypeError, "a vocabulary must be"),
        (("cat", "panoptik"), ValueError, "unknown task 'panoptik'"),
    ):
        with pytest.raises(error, match=message):
            segmenter(folder, *arguments)
    with pytest.raises(ValueError, match="no meaning for semantic"):
        segmenter(folder, "cat", "semantic", score_threshold=0.5)
    with pytest.raises(ValueError, match="'cat' is a word of the vocabulary"):
        segmenter(folder, "cat", background="cat")
    with pytest.raises(TypeError, match="a path, an open file, a PIL image"):
        segmenter(7, "cat")
    assert segmenter.predictor.model.words_set == []


def test_threads_do_not_mix_their_words(segmenter):
    wrong = []

    def work(word):
        for _ in range(20):
            found = names(segmenter(IMAGE, word))
            wrong.extend(found if found != [word] else [])

    threads = [threading.Thread(target=work, args=(word,)) for word in ("cat", "dog", "cow")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_segment_keeps_the_last_model(monkeypatch, segmenter):
    loaded = []

    def load(name, device):
        loaded.append(name)
        return segmenter

    monkeypatch.setattr(loading, "load", load)
    loading._loaded.cache_clear()
    for _ in range(3):
        assert names(loading.segment(IMAGE, "cat")) == ["cat"]
    loading.segment(IMAGE, "cat", model="other")
    assert loaded == [loading.DEFAULT_MODEL, "other"]
    loading._loaded.cache_clear()


def test_copies_of_a_segmenter_work(segmenter):
    image = np.zeros((8, 12, 3), np.uint8)
    expected = segmenter(image, "cat; dog").label_map_HW
    for same in (copy.deepcopy(segmenter), pickle.loads(pickle.dumps(segmenter))):
        assert np.array_equal(same(image, "cat; dog").label_map_HW, expected)
        assert same._lock is not segmenter._lock


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_while_another_thread_segments_does_not_hang(segmenter):
    with segmenter._lock:  # as another thread holds it
        child = os.fork()
        if not child:
            found = segmenter(np.zeros((8, 12, 3), np.uint8), "cat; dog")
            os._exit(len(found.segments))
    until = time.monotonic() + 60
    while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < until:
        time.sleep(0.05)
    if not ended[0]:
        os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(ended[1]) == 2
    assert ended[0] == child


def test_segmentations_and_segments_can_be_kept_in_sets(segmenter):
    one, other = (segmenter(np.zeros((8, 12, 3), np.uint8), "cat; dog") for _ in range(2))
    assert one == one
    assert one != other
    assert one in [other, one]
    assert len({one, other}) == 2
    assert one.segments == other.segments
    assert len({*one.segments, *other.segments}) == 2
    assert copy.deepcopy(one).segments == one.segments


def test_addresses_are_refused_in_one_sentence(segmenter):
    addresses = (
        "https://a.org/b.jpg",
        "http://a.org/b.jpg?x=[1]",
        Path("https://a.org/b"),
        "S3://a/b",
    )
    for address in addresses:
        for call in (segmenter, segmenter.video, lambda each: next(segmenter([each]))):
            with pytest.raises(ValueError, match="addresses are not fetched: download the file"):
                call(address)


def test_frames_of_a_video(segmenter, tmp_path):
    writer = ClipWriter(tmp_path / "a", (32, 48), 10.0)
    for _ in range(5):
        writer.write(np.full((32, 48, 3), 90, np.uint8))
    path = writer.finish()
    frames = segmenter.video(path, "cat; dog", every=2)
    assert segmenter.predictor.model.words_set == []  # nothing is computed before it is asked for
    found = list(frames)
    assert [each.source for each in found] == [f"{path}#{number}" for number in (0, 2, 4)]
    assert found[0].image_HW3.shape == (32, 48, 3)
    assert names(found[1]) == ["cat", "dog"]


def test_no_video(segmenter, folder):
    with pytest.raises(FileNotFoundError, match="no such video file"):
        segmenter.video(folder / "none.mp4")
    with pytest.raises(ValueError, match="unknown task"):
        segmenter.video(folder / "none.mp4", "cat", "panoptik")
    with pytest.raises(ValueError, match="every must be at least 1"):
        segmenter.video(folder / "none.mp4", every=0)


def test_precision_device_and_chaining(segmenter):
    assert segmenter.device == torch.device("cpu")
    assert segmenter.half() is segmenter
    assert segmenter.precision == "float16"
    assert segmenter.to("cpu", torch.bfloat16).precision == "bfloat16"
    assert segmenter.to(torch.device("cpu")).precision == "bfloat16"
    assert segmenter.float().precision == "float32"
    for wrong, message in (
        ("gpu", "device 'gpu' is not a device"),
        (torch.float64, "precision 'torch.float64': use one of float32"),
        (torch.device("cuda:99"), "device 'cuda:99' cannot be used"),
    ):
        with pytest.raises(ValueError, match=message):
            segmenter.to(wrong)
    assert names(segmenter(IMAGE, "cat")) == ["cat"]


def test_a_move_waits_for_the_call_that_computes(segmenter):
    with segmenter._lock:
        thread = threading.Thread(target=segmenter.half)
        thread.start()
        thread.join(0.05)
        assert segmenter.precision == "float32"
    thread.join()
    assert segmenter.precision == "float16"


def test_compile_reaches_the_parts_that_are_network(segmenter):
    segmenter.predictor.model.backbone = nn.Conv2d(3, 4, 1)
    assert segmenter.compile(backend="eager") is segmenter
    assert segmenter.predictor.model.backbone._compiled_call_impl is not None
    assert segmenter.predictor.model._compiled_call_impl is None
    assert names(copy.deepcopy(segmenter)(IMAGE, "cat")) == ["cat"]


@pytest.mark.parametrize("threshold", ["0.3", 1.5, float("nan"), True, [0.3]])
def test_thresholds_that_are_no_probability(segmenter, threshold):
    with pytest.raises(ValueError, match=r"the score threshold must be .*, got"):
        segmenter(np.zeros((8, 12, 3), np.uint8), "cat", score_threshold=threshold)


def test_a_miniature_that_finds_nothing_says_what_it_knows(segmenter, caplog, monkeypatch):
    monkeypatch.setattr(errors, "_warned", set())
    monkeypatch.setattr(module, "segment_together", lambda *_: [nothing])
    nothing = Segmentation(np.zeros((8, 12), np.int32), (), Vocabulary.parse("cat"), "panoptic")
    segmenter(np.zeros((8, 12, 3), np.uint8), "cat")
    assert not caplog.records
    segmenter.name = "miniature-fcclip"
    for _ in range(2):
        segmenter(np.zeros((8, 12, 3), np.uint8), "cat")
    (record,) = caplog.records
    assert "miniature-fcclip knows its small synthetic world only" in record.getMessage()
    assert "fcclip-convnext-large" in record.getMessage()
