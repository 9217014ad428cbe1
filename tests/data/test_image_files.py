import io
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from frozenseg import errors
from frozenseg.data.image_files import find_images, output_names
from frozenseg.data.reading import read_rgb


def save(path, mode="RGB", size=(8, 6), color=None, **options):
    Image.new(mode, size, color or 0).save(path, **options)
    return path


def test_find_images_takes_files_folders_and_patterns_without_repeats(tmp_path):
    for name in ("b.png", "a.JPG", "note.txt", ".hidden.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.png").write_bytes(b"x")
    found = find_images(
        [str(tmp_path), str(tmp_path / "b.png"), str(tmp_path / "**" / "*.png"), "nothing*.png"]
    )
    assert [p.name for p in found.files] == ["a.JPG", "b.png", "c.png"]
    assert found.unmatched == ("nothing*.png",)


def test_find_images_takes_other_endings_from_folders(tmp_path):
    for name in ("a.png", "b.MP4", "c.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert [p.name for p in find_images([str(tmp_path)], {".png", ".mp4"}).files] == [
        "a.png", "b.MP4"
    ]  # fmt: skip


def test_names_with_glob_characters_are_taken_literally(tmp_path):
    path = tmp_path / "photo [1].png"
    path.write_bytes(b"x")
    assert find_images([str(path)]).files == (path,)


def test_explicit_files_need_no_image_suffix(tmp_path):
    path = tmp_path / "photo"
    path.write_bytes(b"x")
    assert find_images([str(path)]).files == (path,)


def test_read_rgb_turns_the_image_as_exif_says(tmp_path):
    image = Image.new("RGB", (40, 20), (0, 0, 0))
    image.paste((255, 0, 0), (0, 0, 20, 20))  # left half red
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to show
    image.save(tmp_path / "turned.png", exif=exif)
    array = read_rgb(tmp_path / "turned.png")
    assert array.shape == (40, 20, 3)
    assert tuple(array[5, 10]) == (255, 0, 0)
    assert tuple(array[35, 10]) == (0, 0, 0)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr", "I", "F", "I;16"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    # Pillow 12.3 cannot read the YCbCr TIFF that it writes; in JPEG it is what everyone has.
    suffix = {"YCbCr": ".jpg"}.get(mode, ".tiff" if mode in ("CMYK", "I", "F") else ".png")
    path = save(tmp_path / f"image{suffix}", mode)
    array = read_rgb(path)
    assert array.shape == (6, 8, 3)
    assert array.dtype == np.uint8


def test_16_bit_greys_keep_their_shades(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, 0)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    array = read_rgb(tmp_path / "ramp.png")
    assert np.abs(array[0, :, 0].astype(int) - np.arange(256)).max() <= 1


def test_transparent_pixels_are_white(tmp_path):
    save(tmp_path / "clear.png", "RGBA", color=(255, 0, 0, 0))
    assert (read_rgb(tmp_path / "clear.png") == 255).all()


def test_result_can_be_written_to(tmp_path):
    read_rgb(save(tmp_path / "a.png"))[0, 0] = 7


def damaged_png():
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "PNG")
    return buffer.getvalue()[:600]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"hello", "not an image"),
        (damaged_png(), "damaged or incomplete"),
    ],
)
def test_bad_files_are_named_with_the_reason(tmp_path, content, message):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_rgb(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(FileNotFoundError, match="no such image"):
            read_rgb(path)


def test_too_many_pixels(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ValueError, match="too large"):
        read_rgb(save(tmp_path / "huge.png"))


def test_output_names_are_unique(tmp_path):
    files = [tmp_path / name for name in ("x.jpg", "x.png", "sub/x.jpg", "x-2.png", "y.png")]
    names = output_names(files)
    assert names[0] == "x"
    assert names[-1] == "y"
    assert len(set(names)) == len(names)


@pytest.fixture
def warned(monkeypatch, caplog):
    """The warnings, of which none was given before."""
    monkeypatch.setattr(errors, "_warned", set())
    return caplog


def test_what_a_folder_holds_besides_is_counted(tmp_path):
    for name in ("a.png", "b.txt", "c.TXT", "README", ".hidden", "d.jp2", "e.HEIC", "f.nef"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    found = find_images([str(tmp_path)])
    assert [path.name for path in found.files] == ["a.png", "d.jp2", "e.HEIC"]
    assert found.left_out == {"*.txt": 2, "*.nef": 1, "files without suffix": 1, "folders": 1}
    assert "1 *.nef, 2 *.txt, 1 files without suffix, 1 folders" in found.say_left_out()
    assert find_images([str(tmp_path / "a.png")]).say_left_out() == ""


def test_names_of_results_can_be_written(tmp_path):
    names = output_names([tmp_path / "caf\udce9.png", tmp_path / ("é" * 120 + ".png")])
    assert names == ["caf%E9", "é" * 75]
    again = output_names([tmp_path / ("x" * 200 + end + ".png") for end in "ab"])
    assert again == ["x" * 150, "x" * 150 + "-2"]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_the_white_of_16_bit_images_is_that_of_the_bits_in_use(
    tmp_path, warned, suffix, channels, bits
):
    white = 2**bits - 1
    values = np.random.default_rng(0).integers(0, white + 1, (9, 7, channels), dtype=np.uint16)
    values[0, 0] = white
    values[:, :, 3:] = 65535
    blue_first = values if channels == 1 else values[:, :, [2, 1, 0, 3][:channels]]
    cv2.imwrite(str(tmp_path / f"x{suffix}"), blue_first)
    expected = np.rint(values[:, :, : min(3, channels)] / white * 255).astype(np.uint8)
    read = read_rgb(tmp_path / f"x{suffix}")
    assert np.array_equal(read, np.broadcast_to(expected, (9, 7, 3)))
    assert len(warned.records) == (bits in (10, 12, 14))
    read_rgb(tmp_path / f"x{suffix}")
    assert len(warned.records) <= 1


def test_deep_colours_are_turned_as_exif_says(tmp_path):
    values = np.zeros((4, 6, 3), np.uint16)
    values[0, 0] = 65535
    path = tmp_path / "x.png"
    cv2.imwrite(str(path), values)
    data = path.read_bytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    chunk = exif.tobytes()[6:]
    import struct
    import zlib

    end = data.rindex(b"IEND") - 4
    sum_ = zlib.crc32(b"eXIf" + chunk)
    whole = data[:end] + struct.pack(">I", len(chunk)) + b"eXIf" + chunk + struct.pack(">I", sum_)
    path.write_bytes(whole + data[end:])
    read = read_rgb(path)
    assert read.shape == (6, 4, 3)
    assert read[0, 3].tolist() == [255, 255, 255]
    assert read.sum() == 3 * 255


@pytest.mark.parametrize("name", ["x.gif", "x.tif", "x.webp"])
def test_of_several_frames_the_first_is_taken_and_said(tmp_path, warned, name):
    first, second = (Image.new("RGB", (8, 6), color) for color in ("red", "blue"))
    first.save(tmp_path / name, save_all=True, append_images=[second], lossless=True)
    assert read_rgb(tmp_path / name)[0, 0].tolist() == [255, 0, 0]
    assert f"{name}: only the first of 2 frames or pages" in warned.text


def test_jpeg_2000_and_open_files_are_read(tmp_path):
    path = tmp_path / "x.jp2"
    save(path, color=(255, 0, 0))
    with path.open("rb") as file:
        assert np.array_equal(read_rgb(file), read_rgb(path))
    assert np.array_equal(read_rgb(io.BytesIO(path.read_bytes())), read_rgb(path))


def test_heic_without_its_package_has_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    (tmp_path / "x.HEIC").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"x\.HEIC: HEIC.*pip install 'frozenseg\[heif\]'"):
        read_rgb(tmp_path / "x.HEIC")
