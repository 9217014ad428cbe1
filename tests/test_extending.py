"""docs/extending.md is true: its files are written, its snippets and commands run, in order."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from frozenseg.mask_classification.class_path import DENSE

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "extending.md"
LINKED = ("configs", "docs", "frozenseg", "tools", "train_net.py")
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# ([\w.]+\.(?:py|yaml))\n")


def blocks(text):
    """(line, language, content) of every block with a language."""
    return [(text.count("\n", 0, m.start(2)) + 1, m[1], m[2]) for m in _FENCE.finditer(text)]


def sections():
    """Title -> text of the second-order sections; what stands before them has the title ""."""
    parts = re.split(r"^## (.+)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(["", *parts[1::2]], parts[::2], strict=True))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A folder like the root of a checkout, with the data that the page begins with."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    (folder / "datasets").mkdir()
    for script in (ROOT / "datasets").glob("*.py"):
        (folder / "datasets" / script.name).symlink_to(script)
    for line, language, content in blocks(sections()[""]):
        run_block(folder, line, language, content)
    return folder


@pytest.fixture
def reader(checkout, monkeypatch):
    """Works in the checkout; registries and modules are as before afterwards."""
    from detectron2.modeling import BACKBONE_REGISTRY, SEM_SEG_HEADS_REGISTRY

    import frozenseg.build  # noqa: F401  registers what is ours, for good
    from frozenseg.mask_classification.class_path import MASK_POOLING_REGISTRY
    from frozenseg.mask_classification.decoder import TRANSFORMER_DECODER_REGISTRY

    registries = (
        BACKBONE_REGISTRY,
        SEM_SEG_HEADS_REGISTRY,
        TRANSFORMER_DECODER_REGISTRY,
        MASK_POOLING_REGISTRY,
    )
    for registry in registries:
        monkeypatch.setattr(registry, "_obj_map", dict(registry._obj_map))
    monkeypatch.chdir(checkout)
    monkeypatch.syspath_prepend(str(checkout))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(checkout / "datasets"))
    monkeypatch.setenv("FROZENSEG_CACHE", str(checkout / "cache"))
    yield checkout
    for file in checkout.glob("*.py"):
        sys.modules.pop(file.stem, None)


def run_block(folder, line, language, content, namespace=None):
    """Writes a file, executes a snippet, or runs commands; returns what commands printed."""
    named = _FILE.match(content)
    if named:
        (folder / named[1]).write_text(content.split("\n", 1)[1], encoding="utf-8")
    elif language == "python":
        exec(compile("\n" * (line - 1) + content, str(PAGE), "exec"), namespace)
    elif language == "console":
        return "".join(run_command(folder, command) for command in content.splitlines())
    else:
        raise ValueError(f"{PAGE}: a block of {language} without a file name: what is it?")
    return ""


def run_command(folder, command):
    program, *words = shlex.split(command)
    words = {"python": words, "frozenseg": ["-m", "frozenseg", *words]}[program]
    paths = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    settings = {"DETECTRON2_DATASETS": str(folder / "datasets"), "PYTHONPATH": paths}
    settings["FROZENSEG_CACHE"] = str(folder / "cache")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *words],
        cwd=folder,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def run_section(title, folder):
    """Runs a section in one namespace; returns the namespace and what its commands printed."""
    namespace, printed = {}, ""
    found = blocks(sections()[title])
    assert found
    for line, language, content in found:
        printed += run_block(folder, line, language, content, namespace)
    return namespace, printed


def test_an_encoder(reader):
    run_section("An encoder", reader)
    results = json.loads((reader / "output" / "color" / "results.json").read_text())
    assert results
    trained = (reader / "output" / "color" / "model_final.pth").stat().st_size
    assert trained > 10_000


def test_a_decoder(reader):
    namespace, _ = run_section("A decoder", reader)
    assert type(namespace["model"].sem_seg_head).__name__ == "SmoothHead"
    assert type(namespace["model"].sem_seg_head.predictor).__name__ == "MaskVectors"


def test_a_pooling(reader):
    """Sharpened without end it is FC-CLIP's own; its scores say that it was there."""
    namespace, _ = run_section("A pooling", reader)
    path = namespace["segmenter"].predictor.model.class_path
    logits = torch.full((1, 2, 16, 16), -1.0)
    logits[:, 0, 2:6, 4:9] = 1.0
    logits[:, 1, 8:, :] = 1.0
    channels = path.backbone.output_shape()[DENSE].channels
    features = {DENSE: torch.randn(1, channels, 16, 16)}
    soft, seen = path.embed_masks(25 * logits, features)
    hard, seen_by_clip = path.backbone.pool_masks(features[DENSE], logits)
    torch.testing.assert_close(soft, hard, atol=1e-4, rtol=1e-4)
    assert torch.equal(seen, seen_by_clip)
    softer, _ = path.embed_masks(0.1 * logits, features)
    assert (softer - hard).abs().max() > 0.01
    results = (reader / "output" / "soft" / "results.json").read_text()
    assert json.loads(results)
    assert '"mask_pooling": "SoftMean"' in results


def test_a_benchmark(reader):
    from detectron2.data import DatasetCatalog, MetadataCatalog

    try:
        _, printed = run_section("A benchmark", reader)
    finally:
        for catalog in (DatasetCatalog, MetadataCatalog):
            catalog.pop("openvocab_textures_val", None)
    assert "my_world_val" in printed
    results = json.loads((reader / "output" / "my_world" / "results.json").read_text())
    assert "my_world_val" in json.dumps(results)


def test_the_color_encoder_keeps_the_contract_of_its_table(reader):
    """The page's encoder has every member that the table lists, and the words that it uses."""
    table = re.findall(r"^\| `(\w+)", sections()["An encoder"], re.MULTILINE)
    assert {"forward", "output_shape", "pool_masks", "text", "embed_dim"} <= set(table)
    for _, language, content in blocks(sections()["An encoder"])[:1]:
        run_block(reader, 0, language, content)
    import color_encoder

    encoder = color_encoder.ColorEncoder()
    assert all(hasattr(encoder, member) for member in table)
    assert not encoder.train().training
    from frozenseg.encoders.clip.backbone import FrozenCLIP

    assert all(hasattr(FrozenCLIP, member) or member in ("text", "embed_dim") for member in table)


def test_links_lead_somewhere():
    text = PAGE.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (PAGE.parent / target).exists(), target
    named = re.findall(r"`((?:frozenseg|tests|datasets|configs|tools)/[\w/.]+\.\w+)`", text)
    assert named
    for path in named:
        assert list(ROOT.glob(path.replace("NAME", "*"))), path
    titles = {re.sub(r"[^\w ]", "", t).lower().replace(" ", "-") for t in sections()}
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= titles
