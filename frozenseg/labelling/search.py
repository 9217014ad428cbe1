"""Segments that look like words: stored embeddings against the text's, one part after another.

Legend: N segments, S words, K numbers of an embedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import nlargest
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from frozenseg.labelling.parts import existing_parts, rows_of
from frozenseg.predict.segmenter import Segmenter

Floats = NDArray[np.float32]
_ROWS = 4096  # embeddings in memory at a time


class Hit(NamedTuple):
    """A segment found: the cosine of its embedding and the nearest word's, and its row."""

    similarity: float
    row: dict[str, Any]


def text_vectors(segmenter: Segmenter, words: list[str]) -> Floats:
    """Unit vectors (S, K) of words, in the model's prompts."""
    vectors: Floats = segmenter.predictor.model.classifier.embed(words).numpy()
    return vectors


def search(output: Path, text_SK: Floats, most: int) -> list[Hit]:
    """The segments of a job nearest to any of some words, best first; equal ones by image.

    Raises: ValueError where no part has embeddings.
    """
    parts = existing_parts(output)
    best: list[tuple[float, int, int]] = []  # similarity, -block, -row
    any_there = False
    for block, path in parts.items():
        for rows_N, vectors_NK in embeddings(path):
            any_there = True
            similarity_N = (vectors_NK @ text_SK.T).max(axis=1)
            near = np.argsort(-similarity_N, kind="stable")[:most]
            new = ((float(similarity_N[i]), -block, -int(rows_N[i])) for i in near)
            best = nlargest(most, chain(best, new))
    if not any_there:
        what = "its segments have no embeddings" if parts else "no part is there yet"
        raise ValueError(f"{output}: {what}: label with --embeddings into another --output")
    found = rows_of(output, [(-block, -row) for _, block, row in best])
    return [Hit(similarity, row) for (similarity, *_), row in zip(best, found, strict=True)]


def embeddings(part: Path) -> Iterator[tuple[NDArray[np.int64], Floats]]:
    """Numbers (N,) of rows that have an embedding, and these (N, K)."""
    first = 0
    with pq.ParquetFile(part) as file:
        for batch in file.iter_batches(_ROWS, columns=["embedding"]):
            column = batch.column(0)
            rows_N = first + np.flatnonzero(column.is_valid())
            first += len(column)
            if len(rows_N):
                yield rows_N, column.flatten().to_numpy().reshape(len(rows_N), -1)
