"""Clips have the size, rate and number of their frames, and their name only when they are whole."""

import numpy as np
import pytest

from frozenseg.predict import video as module
from frozenseg.predict.video import ClipWriter, open_video


def picture(size, value=120):
    return np.full((*size, 3), value, dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "fps", "suffix"),
    [
        ((48, 64), 29.97, ".mp4"),
        ((48, 64), 0.5, ".mp4"),
        ((47, 63), 23.976, ".avi"),
        ((48, 63), 12.5, ".avi"),
        ((1, 1), 0.5, ".avi"),
    ],
)
def test_size_rate_and_number_of_frames_are_kept(tmp_path, size, fps, suffix):
    writer = ClipWriter(tmp_path / "new" / "a.b", size, fps)
    for _ in range(4):
        writer.write(picture(size))
    assert not writer.path.exists()
    path = writer.finish()
    assert path == tmp_path / "new" / f"a.b{suffix}"
    assert list(path.parent.iterdir()) == [path]
    with open_video(path) as video:
        assert video.fps == pytest.approx(fps, rel=1e-3)
        shapes = [each.image_HW3.shape for each in video]
    assert shapes == [(*size, 3)] * 4


def test_colours_stay_what_they_are(tmp_path):
    image = picture((32, 32))
    image[:] = (230, 120, 10)
    writer = ClipWriter(tmp_path / "a", (32, 32), 10.0)
    writer.write(image)
    with open_video(writer.finish()) as video:
        assert np.abs(next(video).image_HW3.astype(int) - image).max() < 8


class Missing:
    """A cv2.VideoWriter without the codec."""

    def isOpened(self):
        return False

    def release(self):
        pass


def test_motion_jpeg_where_the_codec_is_missing(tmp_path, monkeypatch):
    make = module._writer

    def writer_without_mp4(path, *more):
        return Missing() if path.suffix == ".mp4" else make(path, *more)

    monkeypatch.setattr(module, "_writer", writer_without_mp4)
    writer = ClipWriter(tmp_path / "a", (32, 32), 10.0)
    writer.write(picture((32, 32)))
    assert writer.finish() == tmp_path / "a.avi"
    monkeypatch.setattr(module, "_writer", lambda *_: Missing())
    with pytest.raises(OSError, match="can write no clip of 32 x 32 pixels"):
        ClipWriter(tmp_path / "b", (32, 32), 10.0)
    assert [path.name for path in tmp_path.iterdir()] == ["a.avi"]


def test_frames_that_did_not_reach_the_disk_are_an_error_and_the_old_clip_stays(tmp_path):
    (tmp_path / "a.mp4").write_text("the old one")
    writer = ClipWriter(tmp_path / "a", (32, 32), 10.0)
    writer.write(picture((32, 32)))
    writer.written += 3
    with pytest.raises(OSError, match="only 1 of 4 frames"):
        writer.finish()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["the old one"]


def test_discard_leaves_nothing(tmp_path):
    writer = ClipWriter(tmp_path / "a", (32, 32), 10.0)
    writer.write(picture((32, 32)))
    writer.discard()
    writer.discard()
    assert list(tmp_path.iterdir()) == []
