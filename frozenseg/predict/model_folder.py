"""Models as folders: all tensors as safetensors, everything else in one JSON, a model card.

    segmenter.save_pretrained("my-model")
    frozenseg.load("my-model")            the same model, without this repository's configs
    frozenseg.load("hf:owner/name")       one of the Hugging Face hub

Nothing is pickled, nothing is fetched besides. What else lies in the folder is left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import structs

from frozenseg.checkpoints.hub import PREFIX, fetch_model
from frozenseg.checkpoints.lookup import ENCODER_KEYS, encoder_keys
from frozenseg.checkpoints.named_models import MODELS, config_path, model_config
from frozenseg.checkpoints.table import WEIGHTS as WEIGHT_TABLE
from frozenseg.config.load import FILE_KEYS, config_hash, config_of, load_config
from frozenseg.files import file_digest, flatten, read_typed, write_atomically, write_text
from frozenseg.predict.model_card import CARD_MARK, card_text
from frozenseg.predict.model_manifest import (
    CARD,
    FORMAT,
    LEFT_OUT,
    MANIFEST,
    WEIGHTS,
    FileRecord,
    Manifest,
    Part,
    check_files,
    read_manifest,
    record_of,
    rows_of,
    words_of,
    write_manifest,
)
from frozenseg.versions import package_versions
from frozenseg.vocab import Vocabulary

if TYPE_CHECKING:
    from detectron2.config import CfgNode
    from torch import Tensor, nn


logger = logging.getLogger(__name__)

_BESIDES = "files"  # the subfolder of files that the config names
_TRAINING_ALONE = "criterion."  # tensors of the losses


class OpenedModel(NamedTuple):
    """What a model is built from.

    Attributes:
        cfg: its config.
        weights: the file; "": none.
        about: what identifies the model in result files.
        task, vocabulary: a folder's own; None for the config's.
        training: name in DATASETS.TRAIN -> its words, of a folder that was trained on words that no
            dataset of that name has here (`use_words`).
    """

    cfg: CfgNode
    weights: str
    about: dict[str, Any]
    task: str | None = None
    vocabulary: Vocabulary | None = None
    training: Mapping[str, Vocabulary] = {}


def open_model(
    model: str | Path, weights: str | Path | None = None, opts: Sequence[str] = ()
) -> OpenedModel:
    """The config and weights of a named model, a YAML file, a model folder or one of the hub.

    Args: weights, opts: as `frozenseg.load` takes them.
    Raises: as `model_config`, `fetch_model` and `read_manifest`; ValueError for files that do not
        fit their digests.
    """
    name = str(model)
    folder = Path(name).expanduser()
    is_on_hub = name.startswith(PREFIX)
    if not is_on_hub and (name in MODELS or not folder.is_dir()):
        cfg, path = model_config(model, None if weights is None else str(weights), opts)
        return OpenedModel(cfg, path, _about(cfg, name, path))
    if weights is not None:
        raise ValueError(f"{name} brings its own weights: leave `weights` out")
    if is_on_hub:
        folder = fetch_model(name, MANIFEST, lambda path: read_manifest(path).files)
    return _open_folder(folder, name, opts)


def _about(cfg: CfgNode, name: str, weights: str) -> dict[str, Any]:
    return {
        "architecture": cfg.MODEL.META_ARCHITECTURE,
        "name": name,
        "config_hash": config_hash(cfg),
        "weights": weights or None,
    }


def _open_folder(folder: Path, name: str, opts: Sequence[str]) -> OpenedModel:
    manifest, path = read_manifest(folder), folder / MANIFEST
    check_files(folder, manifest)
    train = words_of(manifest.train_vocabulary, f"{path}: $.train_vocabulary")
    words = words_of(manifest.vocabulary, f"{path}: $.vocabulary")
    saved_with = manifest.versions.get("frozenseg", "unknown")
    where = f"{path} ($.config, saved with frozenseg {saved_with})"
    cfg = config_of(manifest.config, folder, where, opts)
    training: dict[str, Vocabulary] = {}
    if _words_here("TRAIN", cfg) != train:
        training = {f"words-{train.digest[:16]}": train}
        cfg.DATASETS.TRAIN = tuple(training)
        use_words(training)
    if _words_here("TEST", cfg) is None:
        cfg.DATASETS.TEST = ()
    weights = str(folder / WEIGHTS)
    about = _about(cfg, name, weights)
    return OpenedModel(cfg, weights, about, manifest.task, words, training)


def _words_here(key: str, cfg: CfgNode) -> Vocabulary | None:
    """The words of DATASETS.TRAIN or .TEST on this machine; None if they are not known here."""
    from detectron2.data import MetadataCatalog

    from frozenseg.data.catalog.register import REGISTRATION, register_datasets
    from frozenseg.encoders.open_vocabulary import datasets_vocabulary

    names = cfg.DATASETS[key]
    with REGISTRATION:
        register_datasets(cfg)
        if not names or not all(name in MetadataCatalog for name in names):
            return None
        try:
            return datasets_vocabulary(f"DATASETS.{key}", names)
        except (ValueError, OSError):  # words that lie in files of a dataset that is not here
            return None


def use_words(training: Mapping[str, Vocabulary]) -> None:
    """Makes `OpenedModel.training` known in this process; again is harmless."""
    from detectron2.data import MetadataCatalog

    for name, vocabulary in training.items():
        MetadataCatalog.get(name).set(vocabulary=vocabulary)


def save_folder(
    folder: str | Path,
    model: nn.Module,
    cfg: CfgNode,
    *,
    task: str,
    vocabulary: Vocabulary,
    loaded_as: str,
    name: str = "",
    licence: str = "",
    results: str | Path | None = None,
) -> Path:
    """Writes a model folder, see `Segmenter.save_pretrained`.

    Files appear whole, `frozenseg.json` after all that it lists: an interrupted save leaves what
    was there, or a folder that loading refuses.

    Args:
        cfg: what the model was built from.
        task, vocabulary: those of calls that say none.
        loaded_as: what `open_model` was given.
    """
    folder = Path(folder).expanduser()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: name a folder")
    if cfg.TEST.USE_SAM_MASKS and cfg.TEST.SAM_MASKS_DIR:
        raise ValueError(
            f"TEST.SAM_MASKS_DIR is {cfg.TEST.SAM_MASKS_DIR!r}, masks on this machine: load the "
            "model with TEST.SAM_MASKS_DIR '' (it makes its own) or TEST.USE_SAM_MASKS False"
        )
    source = _source(cfg.MODEL.WEIGHTS)
    scores = source.scores if source else []
    if results is not None:
        scores = _read_scores(Path(results), cfg.MODEL.WEIGHTS)
    train: Any = model.train_vocabulary
    values, besides = _portable(cfg, model)
    files: dict[str, FileRecord] = {}

    def write(path: Path, content: bytes | dict[str, Tensor]) -> FileRecord:
        record: list[FileRecord] = []

        def to(part: Path) -> None:
            if isinstance(content, bytes):
                part.write_bytes(content)
            else:
                _save_tensors(content, part)
            record.append(record_of(part))

        write_atomically(path, to, durable=True)
        return record[0]

    for file, content in besides.items():
        files[file] = write(folder / file, content)
    files[WEIGHTS] = write(folder / WEIGHTS, _tensors(model))
    manifest = Manifest(
        format_version=FORMAT,
        name=name or _short_name(loaded_as),
        task=task,
        config=values,
        train_vocabulary=rows_of(train),
        vocabulary=rows_of(vocabulary),
        versions=package_versions(),
        parts=_parts(cfg, model, loaded_as, licence, source),
        scores=scores,
        files=files,
    )
    write_manifest(folder, manifest)
    _write_card(folder / CARD, card_text(manifest))
    logger.info("%s: %d files", folder, len(files) + 2)
    return folder


def _write_card(path: Path, text: str) -> None:
    """Writes the card, unless somebody else's is there."""
    if path.is_file() and CARD_MARK not in path.read_text(encoding="utf-8", errors="replace"):
        logger.warning("%s is kept: save_pretrained did not make it", path)
    else:
        write_text(path, text)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """The model's tensors on the CPU, without those of training; none share memory."""
    tensors: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, value in model.state_dict().items():
        if name.startswith(_TRAINING_ALONE):
            continue
        tensor = value.detach().cpu().contiguous()
        storage = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone() if storage in taken else tensor
        taken.add(storage)
    return tensors


def _portable(cfg: CfgNode, model: nn.Module) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The config without places of this machine, and the files that it names, as the folder's."""
    values = {key: value for key, value in flatten(cfg) if key not in LEFT_OUT}
    values.update(dict.fromkeys(ENCODER_KEYS, ""))
    for prefix, key in encoder_keys(cfg).items():
        values[key] = "openai:" if _has_quick_gelu(getattr(model, prefix[:-1], None)) else ""
    besides: dict[str, bytes] = {}
    for key in set(FILE_KEYS) & values.keys() - set(ENCODER_KEYS):
        value = values[key]
        if isinstance(value, (list, tuple)):
            values[key] = [_beside(key, each, besides) for each in value]
        else:
            values[key] = _beside(key, value, besides)
    language = getattr(model, "language", None)
    if hasattr(language, "files"):
        folder = f"{_BESIDES}/bert"
        besides.update({f"{folder}/{name}": data for name, data in language.files().items()})
        values["MODEL.FUSIONER.LANGUAGE"] = folder
    return dict(sorted(values.items())), besides


def _beside(key: str, value: Any, besides: dict[str, bytes]) -> Any:
    """`value`, or the folder's name for the file that it names, whose content is added."""
    path = Path(value).expanduser() if isinstance(value, str) and value else None
    if path is None or not path.is_file():
        return value
    content = path.read_bytes()
    name = f"{_BESIDES}/{path.name}"
    if not path.name.isascii() or not path.stem.replace("-", "_").isidentifier():
        name = f"{_BESIDES}/{key.lower()}{path.suffix}"
    if besides.setdefault(name, content) != content:
        name = f"{_BESIDES}/{key.lower()}.{path.name}"
        besides[name] = content
    return name


def _has_quick_gelu(module: nn.Module | None) -> bool:
    """Whether a CLIP has OpenAI's activation, which neither names nor shapes of tensors tell."""
    from open_clip.transformer import QuickGELU

    return module is not None and any(isinstance(part, QuickGELU) for part in module.modules())


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    path.touch()
    mode = path.stat().st_mode
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(mode)  # safetensors leaves files that only their owner can read


def _short_name(loaded_as: str) -> str:
    """A name without folders of this machine."""
    path = Path(loaded_as.removeprefix(PREFIX))
    return path.stem if path.suffix in (".yaml", ".yml") else path.resolve().name


def _source(weights: str) -> Manifest | None:
    """The manifest of the folder that a model was loaded from; None for other models."""
    path = Path(weights)
    is_folder = path.name == WEIGHTS and (path.parent / MANIFEST).is_file()
    return read_manifest(path.parent) if is_folder else None


def _parts(
    cfg: CfgNode, model: nn.Module, name: str, licence: str, source: Manifest | None
) -> list[Part]:
    """Where the weights of every part come from; `licence` is the decoder's, if given."""
    if source is not None:
        return [
            structs.replace(part, licence=licence) if licence and part.part == "decoder" else part
            for part in source.parts
        ]
    given = dict(flatten(cfg))
    # A released checkpoint holds its encoders: the config as it was read says which they are.
    original = dict(flatten(load_config(config_path(MODELS[name])))) if name in MODELS else given
    parts = [_part("decoder", cfg.MODEL.WEIGHTS, licence)]
    parts += [
        _part(prefix[:-1], given[key] or original[key])
        for prefix, key in encoder_keys(cfg).items()
        if getattr(model, prefix[:-1], None) is not None
    ]
    return parts


def _part(part: str, weights: str, licence: str = "") -> Part:
    file = Path(weights.removeprefix("openai:")).name
    row = WEIGHT_TABLE.get(weights) or next(
        (row for row in WEIGHT_TABLE.values() if row.file and row.file == file), None
    )
    if row is None:
        unknown = "not known" if file else "none: random numbers, or those of the checkpoint"
        return Part(part, file, unknown, licence or "not stated")
    return Part(part, row.name, row.source, licence or row.licence)


def _read_scores(path: Path, weights: str) -> list[dict[str, Any]]:
    """The entries of a results.json of these weights, without scores of single classes.

    Raises: FileNotFoundError; ValueError for another file, or scores of other weights.
    """
    content: Mapping[str, list[dict[str, Any]]] = read_typed(
        path, dict[str, Any], "give the results.json of an evaluation"
    )
    entries = content.get("results")
    digest = file_digest(Path(weights)) if weights else None
    needed = ("dataset", "metrics", "protocol", "checkpoint_hash")
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and all(key in entry for key in needed) for entry in entries
    ):
        raise ValueError(f"{path}: no results of an evaluation (`frozenseg evaluate` writes them)")
    for entry in entries:
        if entry["checkpoint_hash"] != digest:
            raise ValueError(
                f"{path}: the scores of {entry['dataset']} are those of {entry.get('checkpoint')} "
                f"({entry['checkpoint_hash']}), the model's weights are {weights} ({digest}): "
                "evaluate these"
            )
    return [{**entry, "metrics": _without_classes(entry["metrics"])} for entry in entries]


def _without_classes(metrics: Any) -> Any:
    if not isinstance(metrics, dict):
        return metrics
    return {key: _without_classes(item) for key, item in metrics.items() if key != "per_class"}
