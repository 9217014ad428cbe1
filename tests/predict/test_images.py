import io

import numpy as np
import pytest
import torch
from PIL import Image

from frozenseg.predict.images import image_list, read_image, source_of


def pixels(height=6, width=8):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_every_form_gives_the_same_pixels(tmp_path):
    image = pixels()
    Image.fromarray(image).save(tmp_path / "a.png")
    for form in (
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        Image.fromarray(image),
        image,
        image / 255,
        image.astype(np.uint16) * 257,
        torch.from_numpy(image).permute(2, 0, 1),
        torch.from_numpy(image / 255).permute(2, 0, 1),
    ):
        assert np.array_equal(read_image(form), image)


def test_results_do_not_share_memory_with_what_was_given():
    image = pixels()
    read_image(image)[:] = 0
    assert image.any()


def test_grey_and_transparent_images():
    grey = pixels()[:, :, 0]
    for form in (grey, grey[:, :, None], torch.from_numpy(grey), torch.from_numpy(grey)[None]):
        assert np.array_equal(read_image(form), np.repeat(grey[:, :, None], 3, axis=2))
    clear = np.zeros((4, 4, 4), dtype=np.uint8)  # black, all transparent
    assert (read_image(clear) == 255).all()
    assert (read_image(torch.from_numpy(clear)) == 255).all()


def test_half_precision_tensors():
    image = torch.rand(3, 5, 4).to(torch.bfloat16)
    expected = (image.float() * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    assert np.array_equal(read_image(image), expected)


def test_orientation_of_pil_images():
    image = Image.new("RGB", (30, 20))
    image.getexif()[274] = 6  # turned by 90 degrees
    assert read_image(image).shape == (30, 20, 3)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((3, 40, 50), np.uint8), r"transpose\(1, 2, 0\)"),
        (torch.zeros(40, 50, 3), r"permute\(2, 0, 1\)"),
        (np.full((4, 4, 3), 200.0), "in 0..1, got 200"),
        (np.full((4, 4, 3), np.nan), "in 0..1"),
        (np.zeros((4, 4, 3), np.int64), "int64"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros((4, 4, 2), np.uint8), r"\(4, 4, 2\)"),
        (np.zeros(4, np.uint8), r"\(4,\)"),
    ],
)
def test_wrong_arrays_are_errors_that_say_the_remedy(image, message):
    with pytest.raises(ValueError, match=message):
        read_image(image)


def test_wrong_types_and_files(tmp_path):
    for wrong in (7, b"abc", None):
        with pytest.raises(TypeError, match=r"a path, an open file, a PIL image.*got a"):
            read_image(wrong)
        with pytest.raises(TypeError, match="got a"):
            image_list(wrong)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        read_image(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match="is a folder"):
        read_image(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(ValueError, match="0 bytes"):
        read_image(tmp_path / "empty.png")


def test_one_or_several(tmp_path):
    for name in ("b.png", "a.jpg"):
        Image.fromarray(pixels()).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    names = [tmp_path / "a.jpg", tmp_path / "b.png"]
    assert list(image_list(tmp_path)) == names
    assert list(image_list(str(tmp_path / "*.png"))) == names[1:]
    assert len(image_list(np.zeros((5, 4, 4, 3), np.uint8))) == 5
    assert len(image_list([pixels()])) == 1
    for one in (names[0], pixels(), torch.zeros(3, 4, 4), Image.new("RGB", (2, 2))):
        assert image_list(one) is None
    with pytest.raises(ValueError, match="no image file"):
        image_list(str(tmp_path / "*.gif"))


def test_a_name_with_brackets_is_one_file(tmp_path):
    path = tmp_path / "photo[1].png"
    Image.fromarray(pixels()).save(path)
    assert image_list(path) is None
    assert np.array_equal(read_image(path), pixels())


def test_source(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(pixels()).save(path)
    assert source_of(path) == str(path)
    assert source_of(Image.open(path)) == str(path)
    assert source_of(pixels()) == ""


def test_what_is_no_image_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"https://x\.org/a\.png: addresses are not fetched"):
        read_image("https://x.org/a.png")
    (tmp_path / "clip.mp4").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"clip\.mp4 is a video: segmenter\.video\(path\)"):
        read_image(tmp_path / "clip.mp4")
    (tmp_path / "a.png").write_bytes(b"x")
    with (
        (tmp_path / "a.png").open() as file,
        pytest.raises(TypeError, match=r"a\.png: is open as text"),
    ):
        read_image(file)


def test_open_files_are_single_images(tmp_path):
    Image.new("RGB", (4, 3), "red").save(tmp_path / "a.png")
    with (tmp_path / "a.png").open("rb") as file:
        assert image_list(file) is None
        assert source_of(file) == str(tmp_path / "a.png")
        assert read_image(file).shape == (3, 4, 3)
    file = io.BytesIO((tmp_path / "a.png").read_bytes())
    assert (image_list(file), source_of(file)) == (None, "")
    assert read_image(file)[0, 0].tolist() == [255, 0, 0]


def test_what_a_folder_holds_besides_is_said(tmp_path, caplog):
    Image.new("RGB", (4, 3)).save(tmp_path / "a.png")
    (tmp_path / "b.txt").touch()
    assert len(image_list(tmp_path)) == 1
    assert "left out: 1 *.txt" in caplog.text
    (tmp_path / "a.png").unlink()
    with pytest.raises(ValueError, match=r"no image file found there; left out: 1 \*\.txt"):
        image_list(tmp_path)
