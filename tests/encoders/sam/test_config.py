from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from segment_anything import sam_model_registry

from frozenseg.encoders.sam.config import SAM_CONFIGS, TinyVitSizes, VitSizes, read_sam_config

MINIATURE = Path(__file__).resolve().parents[3] / "configs" / "miniature" / "miniature_sam.json"
SIZES = {
    "image_size": 64,
    "patch_size": 8,
    "width": 24,
    "depth": 3,
    "heads": 3,
    "decoder_width": 16,
    "decoder_heads": 2,
    "decoder_mlp": 32,
}


def write(path: Path, **changes) -> str:
    sizes = {key: value for key, value in {**SIZES, **changes}.items() if value is not None}
    (path / "sam.json").write_text(json.dumps(sizes))
    return str(path / "sam.json")


@pytest.mark.parametrize("name", SAM_CONFIGS)
def test_names_of_the_table(name):
    config = read_sam_config(name)
    assert config.name == name
    assert config.official_file.endswith((".pth", ".pt"))
    assert "github.com" in config.source
    assert config.image_size // config.encoder.patch_size == 64


def test_blocks_with_global_attention_are_segment_anythings(monkeypatch):
    """Names and shapes are compared in test_sam.py; they do not tell which blocks have windows."""
    seen = {}

    def record(**arguments):
        seen.update(arguments)

    # The package hides its module of this name behind a function.
    monkeypatch.setattr(sys.modules["segment_anything.build_sam"], "_build_sam", record)
    for name in ("vit_b", "vit_l", "vit_h"):
        sam_model_registry[name]()
        sizes = SAM_CONFIGS[name].encoder
        assert isinstance(sizes, VitSizes)
        assert list(sizes.global_attn_indexes) == seen["encoder_global_attn_indexes"]
        assert (sizes.width, sizes.depth, sizes.heads) == (
            seen["encoder_embed_dim"],
            seen["encoder_depth"],
            seen["encoder_num_heads"],
        )
    assert isinstance(SAM_CONFIGS["vit_t"].encoder, TinyVitSizes)


def test_without_windows_all_blocks_are_global(tmp_path):
    config = read_sam_config(write(tmp_path))
    encoder, prompts, decoder = config.build_modules()
    assert [block.window_size for block in encoder.blocks] == [0, 0, 0]
    assert prompts.image_embedding_size == (8, 8)
    assert decoder.transformer_dim == 16
    assert [block.window_size for block in read_sam_config(str(MINIATURE)).build_modules()[0].blocks
            ] == [0] * 4  # fmt: skip


def test_windows(tmp_path):
    config = read_sam_config(write(tmp_path, window_size=5, global_attn_indexes=[1]))
    assert [block.window_size for block in config.build_modules()[0].blocks] == [5, 0, 5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": None, "depth": None}, "missing .*'width' and 'depth'"),
        ({"widht": 3}, "unexpected .*'widht'"),
        ({"heads": 5}, "width 24 is not a multiple of heads 5"),
        ({"image_size": 60}, "image_size 60 is not a multiple of patch_size 8"),
        ({"decoder_heads": 3}, "decoder_width 16 is not a multiple of decoder_heads 3"),
        ({"depth": 0}, "depth is 0.*whole number above 0"),
        ({"depth": 2.0}, "depth is 2.0"),
        ({"depth": True}, "depth is True"),
        ({"window_size": 5}, "belong together, found only one"),
        ({"window_size": "5", "global_attn_indexes": [1]}, "window_size is '5'"),
        ({"window_size": 5, "global_attn_indexes": [3]}, r"global_attn_indexes is \[3\]"),
        ({"window_size": 5, "global_attn_indexes": 1}, "global_attn_indexes is 1"),
    ],
)
def test_impossible_sizes(tmp_path, changes, message):
    with pytest.raises(ValueError, match=rf"sam\.json: .*{message}"):
        read_sam_config(write(tmp_path, **changes))


def test_unreadable_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        read_sam_config(str(tmp_path / "none.json"))
    for text, message in (("{", "not valid JSON"), ("[1]", "must be a mapping, not list")):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            read_sam_config(str(tmp_path / "bad.json"))


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match=r"MODEL.SAM_NAME is 'vit_x'.*vit_b, vit_l, vit_h, vit_t"):
        read_sam_config("vit_x")
