"""SAM architectures: the published ones by name, the user's own as JSON files of sizes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer

from frozenseg.encoders.sam.attention import SamViT
from frozenseg.encoders.sam.tiny_vit import TinyVitEncoder


@dataclass(frozen=True)
class VitSizes:
    """SAM's plain vision transformer: attention in windows, and over the whole map in some blocks.

    Attributes:
        window_size: side of a window in tokens; 0 where every block is global.
        global_attn_indexes: the blocks with global attention.
    """

    width: int
    depth: int
    heads: int
    global_attn_indexes: tuple[int, ...]
    window_size: int = 14
    patch_size: int = 16

    def build(self, image_size: int, out_channels: int) -> SamViT:
        """The encoder with random weights."""
        return SamViT(
            image_size=image_size,
            patch_size=self.patch_size,
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            window_size=self.window_size,
            global_attn_indexes=self.global_attn_indexes,
            out_channels=out_channels,
        )


@dataclass(frozen=True)
class TinyVitSizes:
    """MobileSAM's TinyViT, per stage. Source: arXiv:2306.14289, arXiv:2207.10666."""

    dims: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    window_sizes: tuple[int, int, int, int]
    patch_size: int = 16  # pixels of a cell of the output, as for the plain transformer

    def build(self, image_size: int, out_channels: int) -> TinyVitEncoder:
        """The encoder with random weights."""
        return TinyVitEncoder(
            image_size=image_size,
            dims=self.dims,
            depths=self.depths,
            heads=self.heads,
            window_sizes=self.window_sizes,
            out_channels=out_channels,
        )


@dataclass(frozen=True)
class SamConfig:
    """The sizes of one SAM.

    Attributes:
        name: what the user wrote: a name of `SAM_CONFIGS` or the path of a JSON file.
        encoder: the image encoder's sizes.
        image_size: side of the square image it was trained on, in pixels.
        decoder_width: channels of the neck's output, the prompts and the mask decoder.
        decoder_mlp: hidden width of the mask decoder's transformer.
        official_file: the name under which the authors publish the weights; "" for others. Digits
            in it are the beginning of the file's MD5.
        source: where to get them.
        unused: beginnings of names in that file that belong to no part of SAM.
    """

    name: str
    encoder: VitSizes | TinyVitSizes
    image_size: int = 1024
    decoder_width: int = 256
    decoder_heads: int = 8
    decoder_mlp: int = 2048
    official_file: str = ""
    source: str = ""
    unused: tuple[str, ...] = ()

    def build_modules(self) -> tuple[SamViT | TinyVitEncoder, PromptEncoder, MaskDecoder]:
        """Image encoder, prompt encoder and mask decoder with random weights."""
        cells = self.image_size // self.encoder.patch_size
        prompts = PromptEncoder(
            embed_dim=self.decoder_width,
            image_embedding_size=(cells, cells),
            input_image_size=(self.image_size, self.image_size),
            mask_in_chans=16,
        )
        transformer = TwoWayTransformer(
            depth=2,
            embedding_dim=self.decoder_width,
            mlp_dim=self.decoder_mlp,
            num_heads=self.decoder_heads,
        )
        decoder = MaskDecoder(
            transformer=transformer,
            transformer_dim=self.decoder_width,
            iou_head_depth=3,
            iou_head_hidden_dim=self.decoder_width,
        )
        return self.encoder.build(self.image_size, self.decoder_width), prompts, decoder


_SEGMENT_ANYTHING = (
    "the README of github.com/facebookresearch/segment-anything, 'Model Checkpoints'"
)
# Sizes: arXiv:2304.02643, appendix A. File names: the README above.
SAM_CONFIGS: Mapping[str, SamConfig] = MappingProxyType(
    {
        "vit_b": SamConfig(
            "vit_b",
            VitSizes(width=768, depth=12, heads=12, global_attn_indexes=(2, 5, 8, 11)),
            official_file="sam_vit_b_01ec64.pth",
            source=_SEGMENT_ANYTHING,
        ),
        "vit_l": SamConfig(
            "vit_l",
            VitSizes(width=1024, depth=24, heads=16, global_attn_indexes=(5, 11, 17, 23)),
            official_file="sam_vit_l_0b3195.pth",
            source=_SEGMENT_ANYTHING,
        ),
        "vit_h": SamConfig(
            "vit_h",
            VitSizes(width=1280, depth=32, heads=16, global_attn_indexes=(7, 15, 23, 31)),
            official_file="sam_vit_h_4b8939.pth",
            source=_SEGMENT_ANYTHING,
        ),
        "vit_t": SamConfig(
            "vit_t",
            TinyVitSizes((64, 128, 160, 320), (2, 2, 6, 2), (2, 4, 5, 10), (7, 7, 14, 7)),
            official_file="mobile_sam.pt",
            source="the folder weights/ of github.com/ChaoningZhang/MobileSAM",
            unused=("image_encoder.norm_head.", "image_encoder.head."),  # ImageNet's classes
        ),
    }
)

_ENCODER_KEYS = ("width", "depth", "heads", "patch_size")
_DECODER_KEYS = ("image_size", "decoder_width", "decoder_heads", "decoder_mlp")
_WINDOW_KEYS = ("window_size", "global_attn_indexes")


def read_sam_config(name: str) -> SamConfig:
    """The architecture behind `name`: one of `SAM_CONFIGS`, or the path of a `.json` file.

    The file holds whole numbers: image_size, patch_size, width, depth, heads, decoder_width,
    decoder_heads, decoder_mlp; and optionally window_size with global_attn_indexes (a list).
    Without the two, attention is global in every block.

    Raises:
        FileNotFoundError: the JSON file is missing.
        ValueError: unknown name, unreadable file, missing or unknown keys, impossible sizes.
    """
    if name in SAM_CONFIGS:
        return SAM_CONFIGS[name]
    if not name.lower().endswith(".json"):
        known = ", ".join(SAM_CONFIGS)
        raise ValueError(
            f"MODEL.SAM_NAME is {name!r}: it must be one of {known}, or the path of a .json file"
        )
    sizes = _read_json(name)
    depth = sizes["depth"]
    window_size, indexes = (sizes.get(key) for key in _WINDOW_KEYS)
    encoder = VitSizes(
        **{key: sizes[key] for key in _ENCODER_KEYS},
        window_size=window_size or 0,
        global_attn_indexes=tuple(range(depth) if indexes is None else indexes),
    )
    return SamConfig(name, encoder, **{key: sizes[key] for key in _DECODER_KEYS})


def _read_json(name: str) -> dict[str, Any]:
    path = Path(name).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"SAM config file not found: {path}")
    try:
        sizes = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"SAM config {path} is no JSON: {error}") from error
    problem = _problem(sizes)
    if problem:
        raise ValueError(f"SAM config {path}: {problem}")
    return dict(sizes)


def _problem(sizes: Any) -> str:
    """What is wrong with the content of a JSON file of sizes; "" where nothing is."""
    if not isinstance(sizes, dict):
        return f"expected an object with sizes, found a {type(sizes).__name__}"
    required = (*_ENCODER_KEYS, *_DECODER_KEYS)
    missing = [key for key in required if key not in sizes]
    unknown = [key for key in sizes if key not in (*required, *_WINDOW_KEYS)]
    if missing or unknown:
        parts = [("missing", missing), ("unknown", unknown)]
        return "; ".join(f"{what} {', '.join(keys)}" for what, keys in parts if keys)
    for key in required:
        if not _is_size(sizes[key]):
            return f"{key} is {sizes[key]!r}: it must be a whole number above 0"
    for whole, part in (
        ("image_size", "patch_size"),
        ("width", "heads"),
        ("decoder_width", "decoder_heads"),
    ):
        if sizes[whole] % sizes[part]:
            return f"{whole} {sizes[whole]} is no multiple of {part} {sizes[part]}"
    return _window_problem(sizes)


def _window_problem(sizes: dict[str, Any]) -> str:
    present = [key for key in _WINDOW_KEYS if key in sizes]
    if len(present) == 1:
        return f"{' and '.join(_WINDOW_KEYS)} belong together, found only {present[0]}"
    if present:
        window_size, indexes = (sizes[key] for key in _WINDOW_KEYS)
        if not _is_size(window_size):
            return f"window_size is {window_size!r}: it must be a whole number above 0"
        blocks = range(sizes["depth"])
        if not isinstance(indexes, list) or any(index not in blocks for index in indexes):
            return f"global_attn_indexes is {indexes!r}: it must list blocks of {blocks}"
    return ""


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
