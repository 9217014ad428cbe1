"""torch.compile of the networks: whole graphs, few of them, the same results."""

import re
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import frozenseg
from frozenseg.device import check_compiler, lacking_compiler

SIZES = ((75, 64), (64, 75), (50, 64), (64, 100), (72, 64), (64, 128), (80, 64), (64, 67), (96, 64),
         (64, 88))  # fmt: skip


def scenes():
    scene = Image.open(frozenseg.sample_image()).convert("RGB")
    return [np.asarray(scene.resize(size)) for size in SIZES]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parts"),
    [("miniature-fcclip", 2), ("miniature-frozenseg", 3), ("miniature-fusioner", 2)],
)
def test_ten_sizes_need_few_graphs(name, parts):
    """Two of a part at most: for the first size, and for all others. Counted without a compiler."""
    from torch._dynamo.testing import CompileCounterWithBackend

    torch._dynamo.reset()
    segmenter = frozenseg.load(name, device="cpu")
    expected = [segmenter(image).label_map for image in scenes()]
    counter = CompileCounterWithBackend("eager")
    segmenter.compile(backend=counter)
    for image, label_map in zip(scenes(), expected, strict=True):
        assert np.mean(segmenter(image).label_map == label_map) > 0.999
    assert parts <= counter.frame_count <= 2 * parts


@pytest.mark.slow
@pytest.mark.skipif(bool(lacking_compiler("cpu")), reason="no C++ compiler that works")
def test_compiled_results_are_those_of_eager():
    torch._dynamo.reset()
    segmenter = frozenseg.load("miniature-fusioner", device="cpu")
    expected = segmenter(scenes()[0]).label_map
    assert np.mean(segmenter.compile()(scenes()[0]).label_map == expected) > 0.999


@pytest.mark.parametrize(
    ("compiler", "message"),
    [("", r"\(.*: which is not here\): install .*set CXX"), ("/gone", r"/gone: which is not here"),
     (shutil.which("false"), r"false: exit code 1\)"), (sys.executable, "python.*: ")],
)  # fmt: skip
def test_a_compiler_that_does_not_work_is_one_sentence(monkeypatch, compiler, message):
    monkeypatch.setenv("CXX", compiler)
    if not compiler:
        monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"needs a C\+\+ compiler that works") as error:
        check_compiler("cpu")
    assert re.search(message, str(error.value))
    assert "\n" not in str(error.value)


def test_without_triton_nothing_is_compiled_for_nvidia(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"the package triton.*pip install triton"):
        check_compiler("cuda")
