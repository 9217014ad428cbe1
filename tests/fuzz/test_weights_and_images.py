"""Weights, checkpoints and images that are wrong."""

from __future__ import annotations

import io
import json
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save
from torch import nn

from frozenseg.checkpoints.loading import load_weights
from frozenseg.data.reading import read_label_png, read_panoptic_png
from frozenseg.engine.checkpointer import Checkpointer
from frozenseg.predict.images import read_image
from tests.fuzz import outcomes
from tests.fuzz.mutations import NUMBERS, ODD, damaged
from tests.fuzz.outcomes import attempt, budget, command, require_no_parts

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "I;16")
SUFFIXES = (".png", ".jpg", ".webp", ".tif", ".bmp", ".gif", ".txt")
VALUES = (0.0, 1.0, 1e30, float("nan"), float("inf"), -float("inf"))
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool)
DTYPES += (torch.complex64, torch.uint8, torch.float8_e4m3fn)


def model():
    """Two layers that the weights of this file are of."""
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


@st.composite
def states(draw):
    """The state of `model` with one to three tensors changed, renamed or left out."""
    state = dict(model().state_dict())
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(state)))
        change = draw(st.sampled_from(("dtype", "shape", "value", "rename", "delete", "odd")))
        if change == "dtype" and isinstance(state[name], torch.Tensor):
            state[name] = state[name].to(draw(st.sampled_from(DTYPES)))
        elif change == "shape":
            state[name] = torch.zeros(draw(st.lists(st.integers(0, 4), max_size=3)))
        elif change == "value":
            state[name] = torch.full((2, 3), draw(st.sampled_from(VALUES)))
        elif change == "rename":
            state[draw(st.sampled_from(("", "x", 3, None, "module.0.weight")))] = state.pop(name)
        elif change == "delete":
            del state[name]
        else:
            state[name] = draw(st.sampled_from((*ODD, np.ones(2), np.float64(1), torch.ones(2))))
        if not state or not all(isinstance(key, str) for key in state):
            break
    return state


def saved(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def wrapped(state):
    """A state dict as files have it."""
    return st.sampled_from((state, {"model": state}, {"state_dict": state}, [state], {"model": 3}))


def finite(module):
    return all(tensor.isfinite().all() for tensor in module.state_dict().values())


def load_or_refuse(path, content):
    """Loads a file of this content; what was loaded is finite, and an error names the file."""
    path.write_bytes(content)
    loaded = model()
    attempt(f"load {path.suffix}", lambda: load_weights(loaded, path), (path.name,))
    outcomes.require(finite(loaded), f"load {path.suffix}: weights that are not finite")


@pytest.mark.slow
def test_pytorch_weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w.pth"
    files = states().flatmap(wrapped).map(saved)

    @budget
    @given(files | files | damaged(saved(model().state_dict())))
    def check(content):
        load_or_refuse(path, content)

    check()


@pytest.mark.slow
def test_safetensors_weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"

    def is_savable(state):
        return all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items())

    @budget
    @given(states().filter(is_savable).map(save) | damaged(save(model().state_dict())))
    def check(content):
        load_or_refuse(path, content)

    check()


@pytest.mark.slow
def test_resuming(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    valid = model()
    optimizer = torch.optim.SGD(valid.parameters(), lr=0.1, momentum=0.9)
    content = {"model": valid.state_dict(), "optimizer": optimizer.state_dict(), "iteration": 5}
    names = st.sampled_from((b"model_0000005.pth", b"", b"\xff\0", b"..", b"x" * 5000, b"/etc"))
    odd = st.sampled_from((*ODD, {"state": {}, "param_groups": []}))
    parts = st.fixed_dictionaries({}, optional={"optimizer": odd, "iteration": odd, "model": odd})
    files = parts.map(lambda changes: saved({**content, **changes}))

    @budget
    @given(names, files | damaged(saved(content)))
    def check(name, data):
        (folder / "last_checkpoint").write_bytes(name)
        (folder / "model_0000005.pth").write_bytes(data)
        loaded = model()
        sgd = torch.optim.SGD(loaded.parameters(), lr=0.1, momentum=0.9)
        checkpointer = Checkpointer(loaded, str(folder), optimizer=sgd)
        attempt("resume", lambda: checkpointer.resume_or_load("", resume=True), (str(folder),))
        outcomes.require(finite(loaded), "resume: weights that are not finite")

    check()


@st.composite
def pictures(draw):
    """(suffix, bytes) of an image of some mode, size and EXIF data, often damaged."""
    size = draw(st.sampled_from(((1, 1), (7, 5), (300, 1), (1, 2000))))
    image = Image.new(draw(st.sampled_from(MODES)), size, 1)
    exif = Image.Exif()
    exif[0x0112] = draw(st.sampled_from((0, 1, 3, 6, 9, 300)))
    file = io.BytesIO()
    try:
        image.save(file, draw(st.sampled_from(("PNG", "JPEG", "WEBP", "TIFF", "GIF"))), exif=exif)
    except (OSError, ValueError):  # a format that has no such mode
        image.convert("RGB").save(file, "PNG", exif=exif)
    data = file.getvalue()
    if draw(st.booleans()):
        data = draw(damaged(data))
    elif draw(st.booleans()) and data[:4] == b"\x89PNG":  # another width and height in the header
        sides = draw(st.tuples(*[st.sampled_from((0, 1, 20_000, 2**31 - 1, 2**32 - 1))] * 2))
        header = b"IHDR" + b"".join(side.to_bytes(4, "big") for side in sides) + data[24:29]
        data = data[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data[33:]
    return draw(st.sampled_from(SUFFIXES)), data


@pytest.mark.slow
def test_images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")

    @budget
    @given(pictures())
    def check(picture):
        suffix, data = picture
        path = folder / f"x{suffix}"
        path.write_bytes(data)
        for reader in (read_image, read_label_png, read_panoptic_png):
            pixels = attempt(
                f"load image, {reader.__name__}", lambda r=reader: r(path), (path.name,)
            )
            outcomes.require(isinstance(pixels, str) or pixels.size > 0, f"{path}: no pixels")

    check()


@pytest.mark.slow
def test_images_from_python():
    shapes = st.lists(st.integers(0, 5), max_size=4).map(tuple)
    kinds = st.sampled_from(
        ("uint8", "float32", "int64", "bool", "complex64", "object", "<U3", "M8")
    )
    arrays = st.builds(lambda shape, kind: np.zeros(shape, kind), shapes, kinds)
    filled = st.builds(
        lambda value: np.full((3, 3, 3), value), st.sampled_from(NUMBERS[:8] + NUMBERS[9:])
    )

    @budget
    @given(arrays | filled | arrays.map(lambda a: a.tolist()) | st.sampled_from(ODD))
    def check(image):
        named = ("image", "pixel", "array", "file", "No such", "File name", "path")
        pixels = attempt("python image", lambda: read_image(image), named)
        outcomes.require(isinstance(pixels, str) or pixels.size > 0, "python image: no pixels")

    check()


@pytest.mark.slow
def test_segment_names_every_image_that_it_cannot_read(tmp_path):
    """One run of the shipped model over many images: no image stops the others."""
    source, output = tmp_path / "images", tmp_path / "out"
    source.mkdir()
    number = 0

    @budget
    @given(pictures().filter(lambda picture: picture[0] != ".txt"))
    def write(picture):
        nonlocal number
        number += 1
        (source / f"{number:04d}{picture[0]}").write_bytes(picture[1])

    write()
    words = ("--input", source, "--output", output, "--write", "json", "--vocabulary", "red disk")
    code, said = command("segment", *words, named=(str(source),), codes=(0, 1))
    done = len(list(output.glob("*.json")))
    assert f"{done} of {number} images segmented" in said
    assert code == int(done < number)
    for path in output.glob("*.json"):
        assert all(0 <= each["score"] <= 1 for each in json.loads(path.read_text())["segments"])
    require_no_parts(tmp_path)
