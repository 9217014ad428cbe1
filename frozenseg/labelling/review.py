"""A job's segments for people to judge: samples of every class, doubtful ones, near-duplicates.

Verdicts lie beside the parts, in DIR/verdicts.json: {"verdicts": {"IMAGE_ID/SEGMENT_ID": "accepted"
or "rejected"}}; what is in neither is open.

Legend: N segments of a part, K numbers of an embedding.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from frozenseg.files import read_typed, write_json
from frozenseg.labelling.coco import segmentations
from frozenseg.labelling.parts import IMAGES_OF_BLOCK, Manifest, existing_parts, rows_of
from frozenseg.predict.coco_export import save_coco

VERDICTS = "verdicts.json"
VIEWS = ("samples", "lowest scores", "near-duplicates")
MOST = 240  # segments of a class in a view
SIMILAR = 0.95  # cosine of embeddings from which on two segments are near-duplicates
Verdict = Literal["accepted", "rejected"]
Place = tuple[int, int]  # block, and row in its part


class _File(msgspec.Struct):
    """What VERDICTS holds."""

    verdicts: dict[str, Verdict] = {}


class Verdicts:
    """Judgements of people, each on the disk once it is given."""

    def __init__(self, folder: Path) -> None:
        self._path, self._lock = folder / VERDICTS, threading.Lock()

    def read(self) -> dict[str, Verdict]:
        """Those that are there, by `key_of`."""
        if not self._path.exists():
            return {}
        remedy = "mend it or delete it"
        content: _File = read_typed(self._path, _File, remedy)
        return content.verdicts

    def set(self, key: str, verdict: Verdict | None) -> None:
        """Keeps a verdict; None takes it back. Raises: NotWrittenError."""
        with self._lock:
            found = self.read()
            found.pop(key, None)
            if verdict is not None:
                found[key] = verdict
            write_json(self._path, {"verdicts": found}, durable=True)


def key_of(row: dict[str, Any]) -> str:
    """The name of a segment in the file of verdicts."""
    return f"{row['image_id']}/{row['segment_id']}"


class _Kept(NamedTuple):
    """The places with the smallest keys of a class."""

    keys: NDArray[np.float64]
    places: NDArray[np.int64]


class Review:
    """What can be looked at, in bounded memory: `MOST` segments for every class and view.

    Attributes:
        counts: segments of every class, by its index.
        verdicts: the judgements so far.
    """

    def __init__(self, output: Path, manifest: Manifest) -> None:
        """Reads classes and scores of all parts. Raises: ValueError without any segment."""
        self.output, self.manifest = output, manifest
        self.verdicts = Verdicts(output)
        self.counts = Counter[int]()
        self._kept: dict[tuple[str, int], _Kept] = defaultdict(
            lambda: _Kept(np.empty(0), np.empty((0, 2), np.int64))
        )
        for block, path in existing_parts(output).items():
            self._add(block, path)
        if not self.counts:
            raise ValueError(f"{output}: no part has a segment yet: nothing to review")
        self._duplicates: dict[int, list[Place]] = {}

    def _add(self, block: int, path: Path) -> None:
        table = pq.ParquetFile(path).read(columns=["class_index", "score"])
        class_N = table["class_index"].to_numpy().astype(float)  # NaN: no segment
        keys = {
            "samples": np.random.default_rng(block).random(len(class_N)),
            "lowest scores": table["score"].to_numpy().astype(float),
        }
        for index in np.unique(class_N[~np.isnan(class_N)]).astype(int).tolist():
            rows = np.flatnonzero(class_N == index)
            self.counts[index] += len(rows)
            places = np.stack([np.full(len(rows), block), rows], axis=1)
            for view, key_N in keys.items():
                kept = self._kept[view, index]
                all_keys = np.concatenate([kept.keys, key_N[rows]])
                first = np.argsort(all_keys, kind="stable")[:MOST]
                both = np.concatenate([kept.places, places])
                self._kept[view, index] = _Kept(all_keys[first], both[first])

    def segments(self, view: str, index: int) -> list[Place]:
        """The places of a class's segments in a view; near-duplicates in pairs, likest first.

        Raises: ValueError for near-duplicates of a job without embeddings.
        """
        if view == "near-duplicates":
            if index not in self._duplicates:
                self._duplicates[index] = list(self._pairs(index))
            return self._duplicates[index]
        places = self._kept[view, index].places.tolist()
        return [(block, row) for block, row in places]

    def _pairs(self, index: int) -> Iterator[Place]:
        if not self.manifest.settings.get("embeddings"):
            raise ValueError("Near-duplicates need a job with --embeddings.")
        places = self.segments("samples", index)
        rows = rows_of(self.output, places)
        vectors_NK = np.array([row["embedding"] for row in rows], np.float32)
        similarity_NN = np.triu(vectors_NK @ vectors_NK.T, 1)
        for flat in np.argsort(-similarity_NN, axis=None)[: MOST // 2].tolist():
            one, other = divmod(flat, len(rows))
            if similarity_NN[one, other] < SIMILAR:
                return
            if rows[one]["image_id"] != rows[other]["image_id"]:
                yield places[one]
                yield places[other]

    def export(self) -> Path:
        """Writes the accepted segments to DIR/accepted, see `save_coco`; the JSON file.

        Raises: ValueError if there are none.
        """
        accepted = {key for key, each in self.verdicts.read().items() if each == "accepted"}
        if not accepted:
            raise ValueError("No segment is accepted yet: nothing to export.")
        blocks = {int(key.partition("/")[0]) // IMAGES_OF_BLOCK for key in accepted}

        def wanted(row: dict[str, Any]) -> bool:
            return key_of(row) in accepted

        found = segmentations(self.output, self.manifest, blocks, wanted)
        return save_coco(found, self.output / "accepted", self.manifest.task)
