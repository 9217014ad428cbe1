"""docs/family.md is true: its settings are those of the shipped files, its commands load."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from frozenseg.checkpoints.lookup import WEIGHTS
from frozenseg.checkpoints.named_models import MODELS
from frozenseg.config import load_config
from frozenseg.encoders.clip.backbone import config_section
from frozenseg.files import flatten

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "family.md").read_text(encoding="utf-8")
# "MAFT+, `configs/...yaml`:" and the block below it.
SETTINGS = re.findall(r"^([^\n]+), `(configs/\S+\.yaml)`:\n\n```yaml\n(.*?)^```", PAGE, re.M | re.S)
COMMANDS = [
    shlex.split(line)
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.M | re.S)
    if not language
    for line in re.sub(r"\s*\\\n\s*", " ", block).splitlines()
]


@pytest.mark.parametrize(("system", "shipped", "block"), SETTINGS, ids=[s[0] for s in SETTINGS])
def test_a_block_loads_and_says_what_the_shipped_file_sets(
    system, shipped, block, tmp_path, caplog
):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "mine.yaml").write_text(block, encoding="utf-8")
    load_config(tmp_path / "mine.yaml")
    assert caplog.records == []
    whole = dict(flatten(load_config(ROOT / shipped)))
    said = dict(flatten(yaml.safe_load(block)))
    said.pop("_BASE_")
    assert said == {key: whole[key] for key in said}


def test_the_table_has_the_same_systems_and_numbers_as_the_blocks():
    rows = re.findall(r"^\| (.+?) \|.*\| (.+?) \| ([\d.]+) \|$", PAGE.split("\n## ")[0], re.M)
    assert [name.removesuffix(" (ours)") for name, *_ in rows] == [name for name, *_ in SETTINGS]
    for (_, exponents, trust), (_, shipped, _) in zip(rows, SETTINGS, strict=True):
        cfg = load_config(ROOT / shipped)
        section = cfg.MODEL[config_section(cfg)]
        alpha, beta = re.search(r"([\d.]+), ([\d.]+)", exponents).groups()
        found = (section.GEOMETRIC_ENSEMBLE_ALPHA, section.GEOMETRIC_ENSEMBLE_BETA)
        assert (*found, section.VOID_TRUST) == (float(alpha), float(beta), float(trust))


def test_commands_name_configs_models_and_keys_that_exist():
    assert len(COMMANDS) >= 10
    for _, command, *words in COMMANDS:
        if command == "train":
            pairs = [w for w in words if not w.startswith("--")]
            config = words[words.index("--config-file") + 1]
            pairs.remove(config)
            if "--num-gpus" in words:
                pairs.remove(words[words.index("--num-gpus") + 1])
            load_config(ROOT / config, pairs)
        if "--model" in words:
            assert words[words.index("--model") + 1] in MODELS
        if command == "weights":
            inputs = words[1:] if "--output" not in words else words[1 : words.index("--output")]
            assert all(name in WEIGHTS or "/" in name for name in inputs)


def test_the_figure_is_drawn_on_a_ground_of_its_own_and_names_the_four_parts():
    """So it is readable on light and dark pages."""
    root = ElementTree.parse(ROOT / "docs" / "family.svg").getroot()
    assert "".join(root.itertext()).count("Pooling") == 1
    words = " ".join(root.itertext())
    assert all(part in words for part in ("1  Pooling", "2  Text", "3  Ensemble", "4  Void"))
    first = next(e for e in root if e.tag.endswith("rect"))
    assert first.get("class") == "card"
