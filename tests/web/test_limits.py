"""Requests of the web page: what is too much or no image is said in a sentence."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from frozenseg.vocab import Vocabulary
from frozenseg.web.limits import Limits, check_image_file, read_image_file, read_typed_words


def png_header(width, height):
    """A PNG that says its size and ends where its pixels begin: whoever decodes it fails."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    checked = b"\x00\x00\x00\x0d" + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + checked + b"\x00\x01\x00\x00IDAT"


@pytest.fixture
def photo(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.jpg")
    return tmp_path / "photo.jpg"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.png", b"", "empty (0 bytes)"),
        ("text.jpg", b"not a picture", "not an image"),
        ("photo.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not an image"),
        ("wide.png", png_header(10_000, 10_000), "100 megapixels (10,000 x 10,000); at most 25"),
        ("bomb.png", png_header(60_000, 60_000), "far too many pixels"),
        ("heavy.png", bytes(1_500_000), "1.4 MB; at most 1 MB"),
        ("cut.png", png_header(80, 60), "cut.png: cannot be read, damaged or incomplete"),
    ],
)
def test_bad_files_are_refused_by_name_without_the_servers_folders(
    tmp_path, name, content, message
):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read_image_file(str(path), Limits(megabytes=1))
    assert message in str(caught.value)
    assert name in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", id="EPS"),
        # An icon of a PNG, which Pillow would decode to tell its size.
        pytest.param(
            struct.pack("<3H4B2H2L", 0, 1, 1, 9, 9, 0, 0, 1, 32, 33, 22) + png_header(9, 9),
            id="ICO",
        ),
    ],
)
def test_formats_that_run_other_programs_or_decode_at_once_are_none(tmp_path, content):
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="not an image that can be read here: use JPEG"):
        check_image_file(str(path), Limits())


def test_half_a_jpeg_is_no_result(photo):
    content = photo.read_bytes()
    photo.write_bytes(content[: len(content) // 2])
    assert check_image_file(str(photo), Limits()) == photo  # its header is complete
    with pytest.raises(ValueError, match=r"^photo.jpg: .*incomplete"):
        read_image_file(str(photo), Limits())


@pytest.mark.parametrize("path", [None, ""])
def test_no_file_is_asked_for(path):
    with pytest.raises(ValueError, match="Choose an image first"):
        read_image_file(path, Limits())


def test_limits_are_inclusive(photo):
    exactly = Limits(megabytes=photo.stat().st_size / 2**20, megapixels=0.0048)
    assert read_image_file(str(photo), exactly).shape == (60, 80, 3)
    with pytest.raises(ValueError, match="megapixels"):
        read_image_file(str(photo), Limits(megapixels=0.0047))


def test_every_kind_of_picture_is_rgb_and_upright(tmp_path):
    turned = Image.Exif()
    turned[274] = 6  # to be turned by 90 degrees clockwise
    wide = np.zeros((20, 40), dtype=np.uint8)
    wide[:, :20] = 255
    files = {
        "grey.png": Image.fromarray(wide),
        "deep.png": Image.fromarray(wide.astype(np.uint16) * 257),
        "clear.png": Image.merge("RGBA", [Image.new("L", (40, 20))] * 3 + [Image.fromarray(~wide)]),
    }
    for name, image in files.items():
        image.save(tmp_path / name)
        expected = np.repeat(wide[..., None], 3, axis=2)
        assert np.array_equal(read_image_file(str(tmp_path / name), Limits()), expected), name
    Image.fromarray(wide).convert("RGB").save(tmp_path / "phone.jpg", exif=turned)
    upright = read_image_file(str(tmp_path / "phone.jpg"), Limits())
    assert upright.shape == (40, 20, 3)
    assert upright[:18].min() > 240
    assert upright[22:].max() < 15


def test_words_have_the_syntax_of_everywhere():
    text = "cat, kitten; dog\nsky:stuff"
    assert read_typed_words(f"  {text} \n", Limits()) == Vocabulary.parse(text)
    assert read_typed_words("🐱 cat; 猫; chat noir", Limits()).names == (
        "🐱 cat",
        "猫",
        "chat noir",
    )
    assert read_typed_words("pascal_voc_20", Limits()) == Vocabulary.from_table("pascal_voc_20")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "at least one word"),
        ("  \n", "at least one word"),
        (" ; ", "cannot be read: .*empty"),
        ("cat;; dog", "class 2.*empty"),
        ("🐱; 🐶", "class 1.*no letter or digit"),
        ("cat:staff", "':staff'"),
        ("cat; Cat", "given twice"),
        ("x" * 201, "201 characters"),
        ("a\x00b", "control characters"),
        ("; ".join(f"w{i}" for i in range(5000)), "^5,000 words were given; at most 1,000"),
        (", ".join(f"w{i}" for i in range(1001)), "^1,001 words"),
        ("x" * 10**6, "1,000,000 characters"),
    ],
)
def test_words_that_are_none_or_too_many(text, message):
    with pytest.raises(ValueError, match=message):
        read_typed_words(text, Limits())


def test_exactly_the_limit_of_words_is_accepted():
    assert len(read_typed_words("a, b; c", Limits(words=3))) == 2
    with pytest.raises(ValueError, match="3 words"):
        read_typed_words("a, b; c", Limits(words=2))
    with pytest.raises(ValueError, match="words were given; at most 19 "):
        read_typed_words("pascal_voc_20", Limits(words=19))


def test_words_never_open_a_file_of_the_server(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("password\n")
    assert read_typed_words(str(secret), Limits()).names == (str(secret),)
