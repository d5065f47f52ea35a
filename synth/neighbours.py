"""Which rows of a dataset are near each other."""

from __future__ import annotations

import math
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from synth.protocol import Vectors

THRESHOLDS = (0.8, 0.85, 0.9, 0.95)
_EXACT_UP_TO = 20_000  # rows; above, lists of an inverted file are searched instead of all
_LISTS_PER_ROOT = 4  # lists = this times the square root of the rows
_PROBED = 24  # lists; near neighbours are nearly always in one of the closest
_TRAINED_ON = 40  # rows per list, at most
_BLOCK = 4096


def nearest_others(vectors: Vectors) -> npt.NDArray[np.float32]:
    """Cosine of each unit vector (n x d) to its nearest other one; -1 where there is none."""
    rows, dim = vectors.shape
    if rows < 2:
        return np.full(rows, -1.0, dtype=np.float32)
    index = _index(vectors, dim)
    found = np.empty(rows, dtype=np.float32)
    for start in range(0, rows, _BLOCK):
        block = np.ascontiguousarray(vectors[start : start + _BLOCK])
        cosines, ids = index.search(block, 2)
        own = ids[:, 0] == np.arange(start, start + len(block))
        found[start : start + len(block)] = np.where(own, cosines[:, 1], cosines[:, 0])
    return np.minimum(found, 1.0)


def near_pairs(
    vectors: Vectors, near: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pairs of rows (unit vectors, n x d) whose cosine is `near` or more, each pair twice."""
    rows, dim = vectors.shape
    ones: list[npt.NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)]
    others: list[npt.NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)]
    if not rows:
        return ones[0], others[0]
    index = _index(vectors, dim)
    for start in range(0, rows, _BLOCK):
        block = np.ascontiguousarray(vectors[start : start + _BLOCK])
        limits, _, ids = index.range_search(block, near)
        counts = np.diff(limits.astype(np.int64))
        ones.append(np.repeat(np.arange(start, start + len(block)), counts))
        others.append(ids.astype(np.int64))
    one, other = np.concatenate(ones), np.concatenate(others)
    return one[one != other], other[one != other]


def _index(vectors: Vectors, dim: int) -> Any:
    rows = len(vectors)
    if rows <= _EXACT_UP_TO:
        exact = faiss.IndexFlatIP(dim)
        exact.add(np.ascontiguousarray(vectors))
        return exact
    lists = int(_LISTS_PER_ROOT * math.sqrt(rows))
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dim),
        dim,
        lists,
        faiss.ScalarQuantizer.QT_fp16,
        faiss.METRIC_INNER_PRODUCT,
    )
    chosen = np.linspace(0, rows - 1, min(rows, _TRAINED_ON * lists)).astype(np.int64)
    index.train(np.ascontiguousarray(vectors[chosen]))
    for start in range(0, rows, _BLOCK):
        index.add(np.ascontiguousarray(vectors[start : start + _BLOCK]))
    index.nprobe = _PROBED
    return index
