"""The demo over videos and cameras with the shipped miniature model."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import frozenseg
from frozenseg.cli.main import main
from frozenseg.cli.segment_clips import segmented_frames
from frozenseg.cli.segment_job import Job
from frozenseg.data.miniature.scenes import draw_scene
from frozenseg.predict import clip_files
from frozenseg.predict import segmenter as segmenter_module
from frozenseg.predict import video as video_module
from frozenseg.predict.video import ClipWriter, Frame, open_video

SCRIPT = Path(__file__).parents[2] / "demo" / "demo.py"
FRAMES, FPS, SIZE = 5, 12.5, (96, 128)
WORDS = ("--vocabulary", "purple heart, violet heart; red heart; sand:stuff; water:stuff")


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FROZENSEG_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield frozenseg.load(device="cpu")


@pytest.fixture
def asked():
    """The arguments that the model was loaded with."""
    return []


@pytest.fixture
def demo(monkeypatch, segmenter, asked):
    """Runs the script in this process; gives its exit code."""
    monkeypatch.setattr(
        segmenter_module, "load", lambda *words, **more: asked.append((words, more)) or segmenter
    )

    def call(*words):
        with pytest.raises(SystemExit) as ended:
            main(["segment", *map(str, words)])
        return ended.value.code

    return call


def picture(number, size=SIZE):
    """A view of a scene that moves to the right."""
    height, width = size
    return np.ascontiguousarray(draw_scene(13, 1).image[70 : 70 + height, 8 * number :][:, :width])


def write_clip(stem, size=SIZE, frames=FRAMES):
    writer = ClipWriter(stem, size, FPS)
    for number in range(frames):
        writer.write(picture(number, size))
    return writer.finish()


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "clip")


def lines_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def read(path):
    with open_video(path) as video:
        return video.fps, [frame.image_HW3 for frame in video]


@pytest.mark.slow
def test_a_clip_in_a_labelled_clip_out(demo, clip, tmp_path, capsys, segmenter, asked):
    out = tmp_path / "out"
    assert demo("--input", clip, "--output", out, *WORDS) == 0
    assert asked[0][0][:2] == (segmenter_module.DEFAULT_MODEL, None)
    assert "1 of 1 videos" in capsys.readouterr().out
    assert names_in(out) == ["clip.json", "clip.jsonl", "clip_overlay.mp4"]
    fps, shown = read(out / "clip_overlay.mp4")
    _, given = read(clip)
    assert (fps, len(shown), shown[0].shape) == (FPS, FRAMES, (*SIZE, 3))
    lines = lines_of(out / "clip.jsonl")
    assert [line["frame"] for line in lines] == list(range(FRAMES))
    assert [line["seconds"] for line in lines] == pytest.approx(np.arange(FRAMES) / FPS)
    for line, image, given_image in zip(lines, shown, given, strict=True):
        found = segmenter(given_image, WORDS[1])
        assert line["segments"] == found.segments_json()
        assert {"sand"} <= {segment["category_name"] for segment in line["segments"]}
        difference = np.abs(image.astype(int) - found.overlay()).mean()
        assert difference < 10 < np.abs(image.astype(int) - given_image).mean()
    content = json.loads((out / "clip.json").read_text())
    assert (content["frames"], content["missing_frames"], content["complete"]) == (FRAMES, 0, True)
    assert [word["name"] for word in content["vocabulary"]][:2] == ["purple heart", "red heart"]


@pytest.mark.slow
def test_the_same_command_again_does_nothing_unless_it_differs(demo, clip, tmp_path, capsys):
    command = ("--input", clip, "--output", tmp_path / "out", *WORDS, "--max-frames", "1")
    assert demo(*command) == 0
    assert demo(*command) == 0
    assert "0 of 1 videos segmented, 1 there already" in capsys.readouterr().out
    assert demo(*command, "--every", "2") == 0
    assert demo(*command, "--every", "2", "--overwrite") == 0
    assert demo(*command, "--write", "json") == 0
    assert demo(*command) == 0  # the clip was that of --every 2
    assert capsys.readouterr().out.count("1 of 1 videos") == 4


@pytest.mark.slow
def test_images_and_videos_of_a_folder_and_names_that_are_the_same(demo, clip, tmp_path):
    Image.fromarray(picture(0)).save(clip.with_name("clip.png"))
    out = tmp_path / "out"
    command = ("--input", tmp_path, "--output", out, *WORDS, "--max-frames", "1")
    assert demo(*command, "--write", "json", "overlay") == 0
    assert names_in(out) == [
        *("clip-2.json", "clip-2_overlay.png"),
        *("clip.json", "clip.jsonl", "clip_overlay.mp4"),
    ]


@pytest.mark.slow
def test_between_the_segmented_frames_the_last_result_is_shown(demo, clip, tmp_path):
    out = tmp_path / "out"
    assert demo("--input", clip, "--output", out, *WORDS, "--every", "2", "--batch-size", "2") == 0
    lines = lines_of(out / "clip.jsonl")
    assert [line["segmented_frame"] for line in lines] == [0, 0, 2, 2, 4]
    assert lines[0]["segments"] == lines[1]["segments"] != lines[2]["segments"]
    assert len(read(out / "clip_overlay.mp4")[1]) == FRAMES


def test_videos_that_are_none_are_named_and_the_others_done(demo, clip, tmp_path, capsys):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video " * 50)
    out = tmp_path / "out"
    command = ("--input", tmp_path, tmp_path / "no.mp4", "--output", out, *WORDS)
    assert demo(*command, "--max-frames", "1") == 1
    output, errors = capsys.readouterr()
    skipped = [line for line in errors.splitlines() if line.startswith("skipped")]
    assert len(skipped) == 3
    for name, line in zip(("no.mp4", "empty.mp4", "text.mp4"), skipped, strict=True):
        assert name in line
    assert "1 of 3 videos" in output
    assert names_in(out) == ["clip.json", "clip.jsonl", "clip_overlay.mp4"]


@pytest.mark.slow
def test_a_file_that_ends_early_keeps_its_frames_and_is_counted(demo, tmp_path, capsys):
    path = write_clip(tmp_path / "odd", size=(95, 127))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    out = tmp_path / "out"
    for _ in range(2):  # it is not taken as done
        assert demo("--input", path, "--output", out, *WORDS) == 1
        assert f"of {FRAMES} frames could not be read" in capsys.readouterr().err
    _, shown = read(out / "odd_overlay.avi")
    assert 0 < len(shown) < FRAMES
    assert shown[0].shape == (95, 127, 3)
    assert len(lines_of(out / "odd.jsonl")) == len(shown)
    assert json.loads((out / "odd.json").read_text())["missing_frames"] == FRAMES - len(shown)


def fail_at(monkeypatch, number, error):
    """The model raises an error at its `number`-th batch."""
    segment, calls = Job.segment, []

    def failing(self, images):
        calls.append(len(images))
        if len(calls) == number:
            raise error
        return segment(self, images)

    monkeypatch.setattr(Job, "segment", failing)


@pytest.mark.slow
def test_ctrl_c_leaves_a_clip_of_the_frames_so_far(demo, clip, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        fail_at(patch, 3, KeyboardInterrupt())
        assert demo("--input", clip, "--output", out, *WORDS) == 130
    assert "stopped, kept the first 2 frames" in capsys.readouterr().out
    assert names_in(out) == ["clip.json", "clip.jsonl", "clip_overlay.mp4"]
    assert len(read(out / "clip_overlay.mp4")[1]) == 2
    assert demo("--input", clip, "--output", out, *WORDS) == 0
    assert len(read(out / "clip_overlay.mp4")[1]) == FRAMES


@pytest.mark.slow
@pytest.mark.parametrize(("number", "error"), [(1, KeyboardInterrupt()), (2, RuntimeError("x"))])
def test_otherwise_nothing_is_left(demo, clip, tmp_path, monkeypatch, number, error):
    fail_at(monkeypatch, number, error)
    out = tmp_path / "out"
    assert demo("--input", clip, "--output", out, *WORDS) == (130 if number == 1 else 1)
    assert names_in(out) == []


def test_a_full_disk_is_named(demo, clip, tmp_path, monkeypatch, capsys):
    written = ClipWriter.write
    monkeypatch.setattr(
        ClipWriter, "write", lambda self, image: written(self, image) or setattr(self, "written", 9)
    )
    command = ("--input", clip, "--output", tmp_path / "out", *WORDS, "--max-frames", "1")
    assert demo(*command) == 1
    assert "is the disk full?" in capsys.readouterr().err
    assert names_in(tmp_path / "out") == []


class Camera:
    """A cv2.VideoCapture with some pictures."""

    def __init__(self, pictures):
        self.pictures = pictures

    def get(self, key):
        return 0.0

    def set(self, key, value):
        return False

    def isOpened(self):
        return bool(self.pictures)

    def grab(self):
        return bool(self.pictures)

    def retrieve(self):
        return True, self.pictures.pop(0)[..., ::-1]

    def release(self):
        self.pictures = []


def connect(monkeypatch, pictures):
    """A camera of any number gives these pictures; files are read as ever."""
    real, camera = video_module.cv2.VideoCapture, Camera(pictures)

    def capture(source):
        return camera if isinstance(source, int) else real(source)

    monkeypatch.setattr(video_module.cv2, "VideoCapture", capture)


@pytest.mark.slow
@pytest.mark.parametrize(("more", "frames", "code"), [(("--max-frames", "3"), 3, 0), ((), 4, 1)])
def test_a_camera(demo, tmp_path, monkeypatch, capsys, more, frames, code):
    """It ends after enough frames, or because it gives no more: that is said and counted."""
    connect(monkeypatch, [picture(number) for number in range(4)])
    assert demo("--webcam", "--output", tmp_path / "out", *WORDS, *more) == code
    assert ("no more pictures after 4 frames" in capsys.readouterr().err) == (code == 1)
    record, lines, recording = sorted((tmp_path / "out").iterdir())
    assert recording.name.startswith("webcam-0-")
    assert len(lines_of(lines)) == len(read(recording)[1]) == frames
    assert json.loads(record.read_text())["frames"] == frames


def test_no_camera_is_said_before_the_model_is_loaded(demo, monkeypatch, capsys, asked):
    connect(monkeypatch, [])
    assert demo("--webcam", "3", *WORDS) == 2
    assert "error: webcam 3: no camera" in capsys.readouterr().err
    assert asked == []


def test_the_rate_of_a_camera_is_that_of_its_first_frames_but_one():
    assert clip_files._measured([0.0, 4.0, 4.5, 5.0, 5.5]) == 2.0
    assert clip_files._measured([0.0]) == 1.0
    assert clip_files._measured([0.0, 4.0, 4.0, 4.0]) == clip_files.RATES[1]


@pytest.mark.parametrize(
    ("every", "batch_size"), [(1, 1), (9, 1), (1, 4), (3, 2), (100, 5), (7, 64)]
)
def test_frames_keep_their_order_and_few_wait(every, batch_size, monkeypatch):
    read_so_far, waiting = [], []

    def frames():
        for number in range(80):
            read_so_far.append(number)
            yield Frame(number, 0.0, np.full((1, 1, 3), number, np.uint8))

    monkeypatch.setattr(Job, "segment", lambda self, images: [int(x[0, 0, 0]) for x in images])
    job = Job(None, None, every=every, batch_size=batch_size)
    for number, (frame, result, segmented) in enumerate(segmented_frames(job, frames())):
        assert frame.number == number
        assert result == segmented == number - number % every
        waiting.append(len(read_so_far) - number)
    assert len(waiting) == 80
    assert max(waiting) <= (1 if batch_size == 1 else 32)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["panoptic", "semantic", "instance"])
def test_a_batch_of_the_real_model_gives_what_single_images_give(segmenter, task):
    images = [draw_scene(13, index).image for index in range(2)] + [picture(0)]
    together = segmenter.batch(images, "heart; cross; sand:stuff; water:stuff", task)
    for image, found in zip(images, together, strict=True):
        alone = segmenter(image, "heart; cross; sand:stuff; water:stuff", task)
        assert [each.name for each in found.segments] == [each.name for each in alone.segments]
        assert (found.label_map != alone.label_map).mean() < 1e-3
