"""`export.json`: what a folder of exported files says about itself. Imports neither torch nor
detectron2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from frozenseg.files import read_typed, write_text
from frozenseg.structures import TaskSettings
from frozenseg.vocab import Vocabulary

FILE_NAME = "export.json"
FORMAT_VERSION = 1
MASK_CLASSIFICATION, FUSIONER = "mask_classification", "fusioner"
FORMATS = ("onnx", "pt2")


class FusionerSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What the runtime of a Fusioner needs beside its graph.

    Attributes:
        crop, stride: of the sliding window, in pixels.
        threshold: probability of a word below which a pixel is background.
        background: the word of the background.
    """

    crop: int
    stride: int
    threshold: float
    background: str


class ExportManifest(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The content of `export.json`.

    Attributes:
        frozenseg: version that wrote the folder.
        name: of the model, or the path of its config.
        family: "mask_classification" or "fusioner".
        format: "onnx" or "pt2". precision: of the weights in the files; int8: those of the matrix
            products are 8 bits wide, by onnxruntime's dynamic quantisation.
        files: role -> file name: "image", "text", "tokenizer", "package" (AOTInductor).
        outputs: of the image's graph, in their order.
        divisor: height and width of its input are multiples of this many pixels.
        shortest_edge, longest_edge: size that test images are resized to, in pixels.
        tasks: what each task computes; the first is the one where a call does not say.
        vocabulary: the words where a call does not say, as `Vocabulary.to_json` writes them.
        training_vocabulary: the words of training: classes that share a name with it are `seen`.
        templates, text_digest, context_length, embed_dim: of the text tower.
        batch_independent: an image's result does not depend on the others of its batch.
        licence: of the weights, as their authors state it; "": not known.
        deviation: largest differences from the model, see `frozenseg export`.
    """

    format_version: int = FORMAT_VERSION
    frozenseg: str
    name: str
    family: str
    format: str
    precision: str
    int8: bool = False
    files: dict[str, str]
    outputs: list[str]
    divisor: int
    shortest_edge: int
    longest_edge: int
    tasks: dict[str, TaskSettings]
    vocabulary: dict[str, Any]
    training_vocabulary: dict[str, Any]
    templates: list[str]
    text_digest: str
    context_length: int
    embed_dim: int
    batch_independent: bool = True
    licence: str = ""
    fusioner: FusionerSettings | None = None
    deviation: list[dict[str, Any]] = []

    def words(self) -> Vocabulary:
        """The words where a call does not say."""
        return _vocabulary(self.vocabulary)

    def training_words(self) -> Vocabulary:
        """The words of training."""
        return _vocabulary(self.training_vocabulary)


def _vocabulary(content: dict[str, Any]) -> Vocabulary:
    return Vocabulary.from_json(msgspec.json.encode(content).decode())


def write_manifest(folder: Path, manifest: ExportManifest) -> None:
    """Writes `export.json`, last of all: a folder with it is whole."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=1).decode()
    write_text(folder / FILE_NAME, text + "\n")


def read_manifest(folder: Path) -> ExportManifest:
    """The manifest of a folder that `frozenseg export` wrote.

    Raises: FileNotFoundError where there is none; ValueError for another format version, another
        structure, or a file that it names and that is not there.
    """
    path = folder / FILE_NAME
    remedy = "write the folder again with `frozenseg export`"
    manifest: ExportManifest = read_typed(path, ExportManifest, remedy)
    if manifest.format_version != FORMAT_VERSION:
        raise ValueError(
            f"{path}: format_version is {manifest.format_version}, this version reads "
            f"{FORMAT_VERSION}; {remedy}"
        )
    for role in ("image", "text", "tokenizer"):
        if role not in manifest.files:
            raise ValueError(f"{path}: $.files: no {role!r}; {remedy}")
    for name in manifest.files.values():
        if Path(name).name != name:
            raise ValueError(f"{path}: $.files: {name!r} is no plain file name; {remedy}")
        if not (folder / name).exists():
            raise FileNotFoundError(f"{folder / name} is missing, which {path} names; {remedy}")
    return manifest
