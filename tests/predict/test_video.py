"""Reading: files that are whole, cut off, turned, without a rate, no videos; cameras."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from frozenseg.predict import video as module
from frozenseg.predict.video import USUAL_FPS, ClipWriter, Video, open_video, open_webcam

FRAMES, FPS = 6, 12.5
SIZE = (48, 64)


def frame(number, size=SIZE):
    """Red grows from frame to frame; the left half is blue."""
    image = np.zeros((*size, 3), dtype=np.uint8)
    image[..., 0] = 40 * number
    image[:, : size[1] // 2, 2] = 200
    return image


def write(stem, size=SIZE, fps=FPS, frames=FRAMES):
    writer = ClipWriter(stem, size, fps)
    for number in range(frames):
        writer.write(frame(number, size))
    return writer.finish()


@pytest.fixture
def clip(tmp_path):
    return write(tmp_path / "clip")


def test_frames_come_in_order_as_rgb_with_their_times(clip):
    with open_video(clip) as video:
        assert (video.fps, video.fps_is_known, video.announced) == (FPS, True, FRAMES)
        frames = list(video)
    assert [each.number for each in frames] == list(range(FRAMES))
    assert [each.seconds for each in frames] == pytest.approx(np.arange(FRAMES) / FPS)
    for number, each in enumerate(frames):
        assert each.image_HW3.shape == (*SIZE, 3)
        assert np.abs(each.image_HW3 - frame(number).astype(int)).mean() < 12
    assert (video.ended, video.missing) == (True, 0)


def test_a_name_that_looks_like_an_address_or_a_pattern(clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a:b", "a%02d", "-i", "früh 100%"):
        path = write(Path(name))
        with open_video(path) as video:
            assert len(list(video)) == FRAMES, name


def test_a_turned_video_comes_upright(clip):
    content = bytearray(clip.read_bytes())
    # The track header's matrix stands 40 bytes behind its version (ISO/IEC 14496-12, 8.3.2).
    matrix = content.find(b"tkhd") + 4 + 40
    assert struct.unpack_from(">9i", content, matrix)[0] == 1 << 16
    struct.pack_into(">9i", content, matrix, 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    clip.write_bytes(content)
    with open_video(clip) as video:
        image = next(video).image_HW3
    assert image.shape == (64, 48, 3)
    assert image[:24, :, 2].mean() > 150 > 50 > image[40:, :, 2].mean()  # left is now above


def test_a_file_that_ends_early_says_how_much_is_missing(tmp_path):
    path = write(tmp_path / "odd", size=(47, 63))
    assert path.suffix == ".avi"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with open_video(path) as video:
        count = sum(1 for _ in video)
    assert 0 < count < FRAMES
    assert (video.announced, video.read, video.missing) == (FRAMES, count, FRAMES - count)


def test_a_file_without_a_frame_rate(tmp_path):
    path = write(tmp_path / "odd", size=(47, 63))
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.find(b"avih") + 8, 0)
    struct.pack_into("<II", content, content.find(b"strh") + 28, 1, 0)
    path.write_bytes(content)
    with open_video(path) as video:
        assert video.fps == USUAL_FPS
        assert len(list(video)) == FRAMES


def test_a_grey_clip(tmp_path):
    path = tmp_path / "grey.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, SIZE[::-1], False)
    for _ in range(3):
        writer.write(np.full(SIZE, 90, dtype=np.uint8))
    writer.release()
    with open_video(path) as video:
        frames = list(video)
    assert len(frames) == 3
    assert np.abs(frames[0].image_HW3.astype(int) - 90).max() < 8


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", r"a\.mp4: the file is empty"), (b"no video" * 50, r"a\.mp4: not a video")],
)
def test_no_videos(tmp_path, capfd, content, message):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        open_video(tmp_path / "a.mp4")
    assert capfd.readouterr() == ("", "")  # OpenCV and FFmpeg keep quiet
    with pytest.raises(FileNotFoundError, match="no such video"):
        open_video(tmp_path / "b.mp4")


class Capture:
    """A cv2.VideoCapture that gives these pictures, an exception or None for a bad one."""

    def __init__(self, pictures, fps=0.0, count=-1.0):
        self.pictures, self.at = pictures, -1
        self.values = {cv2.CAP_PROP_FPS: fps, cv2.CAP_PROP_FRAME_COUNT: count}
        self.released = False

    def get(self, key):
        return self.values.get(key, 0.0)

    def set(self, *_):
        return False

    def isOpened(self):
        return bool(self.pictures)

    def grab(self):
        self.at += 1
        return self.at < len(self.pictures)

    def retrieve(self):
        picture = self.pictures[self.at]
        if isinstance(picture, Exception):
            raise picture
        return picture is not None, picture

    def release(self):
        self.released = True


def test_frames_that_cannot_be_decoded_are_counted_and_left_out():
    picture = np.zeros((4, 6, 3), np.uint8)
    capture = Capture([picture, None, cv2.error("broken"), picture], 10.0, 4.0)
    with Video(capture, "a.mp4") as video:
        assert [each.number for each in video] == [0, 1]
    assert (video.undecodable, video.missing, capture.released) == (2, 2, True)
    with Video(Capture([None] * 5000), "b.mp4") as video:  # it does not go on for ever
        assert list(video) == []
        assert video.undecodable == module.MOST_FAILURES


def test_all_frames_have_the_size_of_the_first():
    pictures = [np.zeros((4, 6, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)]
    shapes = {each.image_HW3.shape for each in Video(Capture(pictures), "a.mp4")}
    assert shapes == {(4, 6, 3)}


@pytest.mark.parametrize(("exact", "missing"), [(True, 1), (False, 0)])
def test_an_estimated_number_of_frames_may_be_a_little_wrong(exact, missing):
    video = Video(Capture([np.zeros((4, 6, 3), np.uint8)] * 9, 10.0, 10.0), "a", exact=exact)
    next(video)
    assert video.missing == 0  # there may be more to come
    assert len(list(video)) == 8
    assert video.missing == missing


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.0, 90_000.0])
def test_a_frame_rate_that_is_none(value):
    video = Video(Capture([np.zeros((4, 6, 3), np.uint8)], value, -(2.0**63)), "a")
    assert (video.fps, video.fps_is_known, video.announced) == (USUAL_FPS, False, None)


def test_a_camera(monkeypatch):
    capture = Capture([np.zeros((4, 6, 3), np.uint8)] * 3, 30.0)
    monkeypatch.setattr(module.cv2, "VideoCapture", lambda index: capture)
    monkeypatch.setattr(module.time, "monotonic", iter([50.0, 50.5, 52.0]).__next__)
    with open_webcam(2) as camera:
        assert (camera.name, camera.is_live, camera.fps) == ("webcam 2", True, None)
        assert [each.seconds for each in camera] == [0.0, 0.5, 2.0]
    assert camera.ended
    monkeypatch.setattr(module.cv2, "VideoCapture", lambda index: Capture([]))
    with pytest.raises(ValueError, match="webcam 7: no camera of this number"):
        open_webcam(7)
