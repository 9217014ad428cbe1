"""SAM architectures: the published ones by name, the user's own as JSON files of sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer

from frozenseg.encoders.sam.attention import SamViT
from frozenseg.encoders.sam.tiny_vit import TinyVitEncoder
from frozenseg.files import read_json


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
        return SamViT(image_size=image_size, out_channels=out_channels, **vars(self))


@dataclass(frozen=True)
class TinyVitSizes:
    """MobileSAM's TinyViT, per stage. Source: arXiv:2306.14289, arXiv:2207.10666."""

    dims: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    window_sizes: tuple[int, int, int, int]
    patch_size: ClassVar[int] = 16  # pixels of a cell of the output

    def build(self, image_size: int, out_channels: int) -> TinyVitEncoder:
        """The encoder with random weights."""
        return TinyVitEncoder(image_size=image_size, out_channels=out_channels, **vars(self))


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


def _published_vit(name: str, digits: str, *, width: int, depth: int, heads: int) -> SamConfig:
    """Attention is global in the last block of each quarter. Sizes: arXiv:2304.02643, appendix A;
    file names: the README named below.
    """
    quarter = depth // 4
    return SamConfig(
        name,
        VitSizes(width, depth, heads, tuple(range(quarter - 1, depth, quarter))),
        official_file=f"sam_{name}_{digits}.pth",
        source="the README of github.com/facebookresearch/segment-anything, 'Model Checkpoints'",
    )


SAM_CONFIGS: Mapping[str, SamConfig] = MappingProxyType(
    {
        "vit_b": _published_vit("vit_b", "01ec64", width=768, depth=12, heads=12),
        "vit_l": _published_vit("vit_l", "0b3195", width=1024, depth=24, heads=16),
        "vit_h": _published_vit("vit_h", "4b8939", width=1280, depth=32, heads=16),
        "vit_t": SamConfig(
            "vit_t",
            TinyVitSizes((64, 128, 160, 320), (2, 2, 6, 2), (2, 4, 5, 10), (7, 7, 14, 7)),
            official_file="mobile_sam.pt",
            source="the folder weights/ of github.com/ChaoningZhang/MobileSAM",
            unused=("image_encoder.norm_head.", "image_encoder.head."),  # ImageNet's classes
        ),
    }
)


@dataclass(frozen=True)
class _JsonSizes:
    """The content of a JSON file of sizes. Raises: ValueError, with the key, for impossible ones.

    Attributes: as of `VitSizes` and `SamConfig`; without windows every block is global.
    """

    image_size: int
    patch_size: int
    width: int
    depth: int
    heads: int
    decoder_width: int
    decoder_heads: int
    decoder_mlp: int
    window_size: int | None = None
    global_attn_indexes: list[int] | None = None

    def __post_init__(self) -> None:
        for key, value in asdict(self).items():
            is_left_out = key == "window_size" and value is None
            is_size = type(value) is int and value > 0
            if key != "global_attn_indexes" and not is_left_out and not is_size:
                raise ValueError(f"{key} is {value!r}: it must be a whole number above 0")
        for whole, part in (
            ("image_size", "patch_size"),
            ("width", "heads"),
            ("decoder_width", "decoder_heads"),
        ):
            if getattr(self, whole) % getattr(self, part):
                raise ValueError(
                    f"{whole} {getattr(self, whole)} is not a multiple of {part} "
                    f"{getattr(self, part)}"
                )
        blocks, indexes = range(self.depth), self.global_attn_indexes
        if (self.window_size is None) != (indexes is None):
            raise ValueError("window_size and global_attn_indexes belong together, found only one")
        is_list = isinstance(indexes, list) and all(index in blocks for index in indexes)
        if indexes is not None and not is_list:
            raise ValueError(f"global_attn_indexes is {indexes!r}: it must list blocks of {blocks}")


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
    path = Path(name).expanduser()
    content = read_json(path, "give the path of a file with SAM's sizes")
    try:
        sizes = _JsonSizes(**content)
    except (TypeError, ValueError) as error:
        raise ValueError(f"SAM config {path}: {str(error).rpartition('__init__() ')[2]}") from error
    blocks: Iterable[int] = sizes.global_attn_indexes or ()
    if sizes.window_size is None:
        blocks = range(sizes.depth)
    values = asdict(sizes) | {
        "window_size": sizes.window_size or 0,
        "global_attn_indexes": tuple(blocks),
    }
    encoder = VitSizes(**{field.name: values.pop(field.name) for field in fields(VitSizes)})
    return SamConfig(name, encoder, **values)
