"""The table of weights that have a name, and where each comes from.

A row with a `url` is downloaded when it is needed; a row without one says in `source` where a
person gets the file. FC-CLIP's authors publish no checksums. Those of SAM's files, and their sizes:
the Git LFS pointers of their copies on Hugging Face (the digits in SAM's file names begin the
file's MD5, not its SHA-256).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from frozenseg.errors import nearest

_MINIATURE = "trained by this project (docs/miniature_pretraining.md, docs/miniature.md)"
_SAM = "github.com/facebookresearch/segment-anything, README, 'Model Checkpoints'"
_SAM_URL = "https://dl.fbaipublicfiles.com/segment_anything"
_OPEN_CLIP = "open_clip downloads it when CLIP_PRETRAINED_WEIGHTS names this tag"

# Commits of repositories on the Hugging Face hub whose files encoders download; of one that is not
# listed `main` is taken, and its files are compared with their first use.
HUB_REVISIONS: Mapping[str, str] = MappingProxyType(
    {
        "google-bert/bert-base-uncased": "86b5e0934494bd15c9632b12f734a8a67f723594",
        "google-bert/bert-large-uncased": "6da4b6a26a1877e173fca3225479512db81a5e5b",
        "laion/CLIP-convnext_large_d_320.laion2B-s29B-b131K-ft-soup": (
            "654d0f80ff73c58e7281a3ca7dc425589049e2e1"
        ),
        "timm/resnet50_clip.openai": "ec3d92cf63a5f9d591f0d611b736895966c73076",
        "timm/vit_base_patch16_clip_224.openai": "977e3dd0ec55ab8da155f2fbeb6b5f54948b6e3d",
        "timm/vit_large_patch14_clip_224.openai": "18d0535469bb561bf468d76c1d73aa35156c922b",
    }
)


@dataclass(frozen=True)
class WeightFile:
    """One file of weights.

    Attributes:
        name: what a user writes.
        file: its name in the package's `weights` folder or in the cache; "" for an open_clip tag.
        source: where it comes from, in words.
        licence: of the weights, as their authors state it.
        url: where it is downloaded from; "": a person must fetch it.
        sha256: hexadecimal, 64 digits; "" where none is known.
        size: in bytes, None where it is not known.
        tensors: bytes of what is in it, about its size; 0 where that is not known either.
        packaged: the file is part of the package.
    """

    name: str
    file: str
    source: str
    licence: str
    url: str = ""
    sha256: str = ""
    size: int | None = None
    tensors: int = 0
    packaged: bool = False


def _packaged(name: str, file: str) -> WeightFile:
    return WeightFile(name, file, _MINIATURE, "Apache-2.0", packaged=True)


def _on_drive(
    name: str, file: str, drive_id: str, owner: str, section: str, megabytes: int
) -> WeightFile:
    """A file that authors keep on Google Drive, as their README links it.

    Args: megabytes: of its tensors.
    """
    source = f"{owner}, README, {section!r}: https://drive.google.com/file/d/{drive_id}/view"
    url = f"https://drive.google.com/uc?id={drive_id}"
    return WeightFile(name, file, source, f"see {owner}", url, tensors=megabytes * 1_000_000)


def _fcclip(name: str, file: str, drive_id: str, megabytes: int) -> WeightFile:
    owner = "github.com/bytedance/fc-clip"
    return _on_drive(f"fcclip-{name}", file, drive_id, owner, "Model Zoo", megabytes)


def _frozenseg(name: str, file: str, drive_id: str, megabytes: int) -> WeightFile:
    owner = "github.com/chenxi52/FrozenSeg"
    return _on_drive(f"frozenseg-{name}", file, drive_id, owner, "Model Zoo", megabytes)


def _descendant(
    name: str, file: str, drive_id: str, megabytes: int, owner: str, licence: str
) -> WeightFile:
    """Code of this licence; its authors say nothing of the weights'."""
    row = _on_drive(name, file, drive_id, f"github.com/{owner}", "checkpoints", megabytes)
    return replace(row, licence=f"see {row.licence.removeprefix('see ')} (code: {licence})")


def _sam(size: str, digits: str, sha256: str, length: int) -> WeightFile:
    file = f"sam_vit_{size}_{digits}.pth"
    url = f"{_SAM_URL}/{file}"
    return WeightFile(f"sam-vit-{size}", file, _SAM, "Apache-2.0", url, sha256, length)


_ROWS = (
    _packaged("miniature-fcclip", "miniature_fcclip.safetensors"),
    _packaged("miniature-frozenseg", "miniature_frozenseg.safetensors"),
    _packaged("miniature-fusioner", "miniature_fusioner.safetensors"),
    _packaged("miniature-mask-adapter", "miniature_mask_adapter.safetensors"),
    _packaged("miniature-clip", "miniature_clip.safetensors"),
    _packaged("miniature-sam", "miniature_sam.safetensors"),
    _packaged("miniature-vit", "miniature_vit.safetensors"),
    _packaged("miniature-bert", "miniature_bert.safetensors"),
    _fcclip("convnext-large", "fcclip_cocopan.pth", "1-91PIns86vyNaL3CzMmDD39zKGnPMtvj", 1490),
    _fcclip("r50", "fcclip_cocopan_r50.pth", "1tcB-8FNON-LwckXQbUyKcBA2G7TU65Zh", 492),
    _fcclip("r101", "fcclip_cocopan_r101.pth", "1P0mdgftReWzVbPQ0O0CSBfW3krHhTOj0", 563),
    _fcclip("r50x4", "fcclip_cocopan_r50x4.pth", "1nUpUsNUE22eOV9skxv9IyIkmCbg5jrIF", 798),
    _fcclip("r50x16", "fcclip_cocopan_r50x16.pth", "1rJu2UwwtI0VLDl9CyB8Mkgw9qHlnX70W", 1250),
    _fcclip("r50x64", "fcclip_cocopan_r50x64.pth", "1rvfFVp5p3PZQsHp2NGVEBeYYcqgVVaZX", 2583),
    _frozenseg(
        "convnext-large", "frozenseg_ConvNeXt-Large.pth", "1wiPKPczTXrH1cPrDbf-l9NGdOkMUUikw", 1888
    ),
    _frozenseg("r50x64", "frozenseg_R50x64.pth", "1ThjVgY7nawm1AAP1LhrmGVlI3zr1EYMG", 2981),
    *(
        _descendant(name, file, drive_id, megabytes, "hustvl/MaskAdapter", "Apache-2.0")
        for name, file, drive_id, megabytes in (
            (
                "mask-adapter-fcclip-convnext-large",
                "mask_adapter_fcclip_convnext_large.pth",
                "13_sr30_Q0Geubijik0BpVC_JgyFAmyQU",
                1550,
            ),
            (
                "mask-adapter-maftplus-convnext-base",
                "mask_adapter_maftp_convnext_base.pth",
                "1v0rdETOJl6oOKmef1L7WbtG16-zKvp2b",
                866,
            ),
            (
                "mask-adapter-maftplus-convnext-large",
                "mask_adapter_maftp_convnext_large.pth",
                "12eqDnTYaQlj9QUmWO1Vh9vvB81tKABl5",
                1561,
            ),
        )
    ),
    *(
        _descendant(f"maftplus-{name}", file, drive_id, megabytes, "jiaosiyu1999/MAFT-Plus", "MIT")
        for name, file, drive_id, megabytes in (
            ("convnext-base", "maftp_b.pth", "1BeEeKOnWWIWIH-QWK_zLhAPUzCOnHuFG", 1525),
            ("convnext-large", "maftp_l.pth", "1EQo5guVuKkSSZj4bv0FQN_4X9h_Rwfe5", 2909),
            (
                "convnext-large-panoptic",
                "maftp_l_pano.pth",
                "1znk_uco8fwvbA0kndy4kGyVp22KbQr6g",
                2909,
            ),
        )
    ),
    _descendant(
        "ovrcoat-convnext-large",
        "ovrcoat.pth",
        "1raLz9TybKGxMCsWVjjdoBnbraUXDgmQ0",
        2897,
        "nickormushev/OVRCOAT",
        "Apache-2.0",
    ),
    _sam(
        "b",
        "01ec64",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        375_042_383,
    ),
    _sam(
        "l",
        "0b3195",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        1_249_524_607,
    ),
    _sam(
        "h",
        "4b8939",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        2_564_550_879,
    ),
    WeightFile(
        "sam-vit-t",
        "mobile_sam.pt",
        "the folder weights/ of github.com/ChaoningZhang/MobileSAM",
        "Apache-2.0",
        "https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt",
        "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        40_728_226,
    ),
    WeightFile(
        "dino-vit-b-16",
        "dino_vitbase16_pretrain.pth",
        "github.com/facebookresearch/dino, README, 'Pretrained models', ViT-B/16, 'backbone only'; "
        "or VISUAL_WEIGHTS timm",
        "Apache-2.0",
    ),
    WeightFile(
        "moco-v3-vit-b-16",
        "vit-b-300ep.pth.tar",
        "github.com/facebookresearch/moco-v3, CONFIG.md, ViT-Base, 300 epochs, 'pretrain ckpt'",
        "CC-BY-NC-4.0",
    ),
    WeightFile(
        "laion2b_s29b_b131k_ft_soup",
        "",
        f"{_OPEN_CLIP} (convnext_large_d_320)",
        "MIT (huggingface.co/laion)",
    ),
    WeightFile(
        "openai",
        "",
        f"{_OPEN_CLIP} (RN50, RN101, RN50x4, RN50x16, RN50x64, ViT-B-16, ViT-L-14)",
        "MIT (github.com/openai/CLIP)",
    ),
)
WEIGHTS: Mapping[str, WeightFile] = MappingProxyType({row.name: row for row in _ROWS})


def find_weights(name: str) -> WeightFile:
    """The row of a name. Raises: ValueError with the nearest name."""
    if name not in WEIGHTS:
        (near,) = nearest(name, WEIGHTS)
        raise ValueError(
            f"no weights are named {name!r}; did you mean {near!r}? known: {', '.join(WEIGHTS)}"
        )
    return WEIGHTS[name]
