"""Small CLIP models with random weights in every parameter, and a small BERT's folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from frozenseg.encoders.clip.weights import load_clip

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
RESNET = {"layers": [1, 1, 1, 1], "width": 8, "head_width": 64, "image_size": 64}
CONVNEXT = {
    "timm_model_name": "convnext_encoder_tests",
    "timm_pool": "",
    "timm_proj": "mlp",
    "image_size": 64,
}
TRUNK = {"depths": [1, 1, 2, 1], "dims": [8, 12, 16, 24]}


BERT = {
    "model_type": "bert",
    "vocab_size": 24,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 10,
}
BERT_WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a photo of red blue circle star cat . , ##s e".split()


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Fills what initialisers leave at 0 or 1 (norms, layer scales, statistics) too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not tensor.is_floating_point() or name == "logit_scale":
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
                tensor.copy_(1 + 0.2 * noise.tanh())
            elif tensor.ndim > 1:
                fan_in = tensor[0].numel() if "embedding" not in name else 1
                tensor.copy_(noise / fan_in**0.5)
            else:
                tensor.copy_(0.3 * noise)
    return model


@pytest.fixture
def clip_config(tmp_path: Path) -> Callable[..., Path]:
    """Writes a config: `clip_config("resnet" | "convnext", vision={}, text={}, **top_level)`."""

    def write(kind: str, vision: Any = None, text: Any = None, **top_level: Any) -> Path:
        config = {
            "embed_dim": 16,
            "vision_cfg": {**(RESNET if kind == "resnet" else CONVNEXT), **(vision or {})},
            "text_cfg": {**TEXT, **(text or {})},
            **({"timm_convnext": TRUNK} if kind == "convnext" else {}),
            **top_level,
        }
        path = tmp_path / f"{kind}{len(list(tmp_path.glob('*.json')))}.json"
        path.write_text(json.dumps(config))
        return path

    return write


@pytest.fixture
def make_clip(clip_config: Callable[..., Path]) -> Callable[..., Any]:
    """Builds what `clip_config` describes, with the same random numbers every time."""

    def build(kind: str, **settings: Any) -> Any:
        return randomise(load_clip(str(clip_config(kind, **settings))))

    return build


@pytest.fixture
def bert_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes config.json and vocab.txt: `bert_folder(words=[...], **config)`; no weights."""

    def write(words: Any = None, **config: Any) -> Path:
        folder = tmp_path / f"bert{len(list(tmp_path.glob('bert*')))}"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({**BERT, **config}))
        (folder / "vocab.txt").write_text("\n".join(words or BERT_WORDS) + "\n", encoding="utf-8")
        return folder

    return write


@pytest.fixture
def make_bert() -> Callable[[], Any]:
    """transformers' model of `bert_folder`, with the same random numbers every time."""
    transformers = pytest.importorskip("transformers")

    def build() -> Any:
        config = transformers.BertConfig.from_dict(BERT)
        return randomise(transformers.BertModel(config, add_pooling_layer=False)).eval()

    return build
