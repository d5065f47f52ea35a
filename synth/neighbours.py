"""Which rows of a dataset are near each other."""

from __future__ import annotations

import hashlib
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
    first = _first_of_each(vectors)
    distinct = np.flatnonzero(first == np.arange(len(first)))
    found = np.full(len(first), -1.0, dtype=np.float32)
    if len(distinct) > 1:
        index = _index(vectors, distinct)
        for start in range(0, len(distinct), _BLOCK):
            chosen = distinct[start : start + _BLOCK]
            cosines, ids = index.search(np.ascontiguousarray(vectors[chosen]), 2)
            own = ids[:, 0] == np.arange(start, start + len(chosen))
            found[chosen] = np.where(own, cosines[:, 1], cosines[:, 0])
    copies = np.bincount(first, minlength=len(first))[first] > 1
    found[copies] = 1.0
    return np.minimum(found, 1.0)


def _first_of_each(vectors: Vectors) -> npt.NDArray[np.int64]:
    """For each row the first one that is the same: thousands of copies would share one list."""
    seen: dict[bytes, int] = {}
    found = np.empty(len(vectors), dtype=np.int64)
    for row, vector in enumerate(vectors):
        key = hashlib.blake2b(vector.tobytes(), digest_size=16).digest()
        found[row] = seen.setdefault(key, row)
    return found


def _index(vectors: Vectors, chosen: npt.NDArray[np.int64]) -> Any:
    rows, dim = len(chosen), vectors.shape[1]
    if rows <= _EXACT_UP_TO:
        exact = faiss.IndexFlatIP(dim)
        exact.add(np.ascontiguousarray(vectors[chosen]))
        return exact
    lists = min(int(_LISTS_PER_ROOT * math.sqrt(rows)), rows // _TRAINED_ON)
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dim),
        dim,
        lists,
        faiss.ScalarQuantizer.QT_fp16,
        faiss.METRIC_INNER_PRODUCT,
    )
    sample = np.linspace(0, rows - 1, min(rows, _TRAINED_ON * lists)).astype(np.int64)
    index.train(np.ascontiguousarray(vectors[chosen[sample]]))
    for start in range(0, rows, _BLOCK):
        index.add(np.ascontiguousarray(vectors[chosen[start : start + _BLOCK]]))
    index.nprobe = _PROBED
    return index
