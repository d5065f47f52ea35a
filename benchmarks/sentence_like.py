"""Vectors that lie as sentence embeddings do, any number of them, for measuring an index.

Rows drawn from an even Gaussian are all far from each other and no index can sort them; real
questions on 33 topics crowd. Here a row is what all share, plus its topic, plus its situation,
plus its own part, and each part is strong in a few directions and weak in most: the variance
of direction k falls as a power of k. Compared with all-MiniLM-L6-v2 on 779 questions that a
model wrote (MentalChat16K, the early file), first here, then there: participation ratio of
the variance 25 and 23; median cosine of a pair 0.32 and 0.31, 95th percentile 0.52 and 0.69.
Of a million rows 6 % have another one at a cosine of 0.85 or more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synth.protocol import Vectors

DIM = 384
_TOPICS, _SITUATIONS = 33, 64  # situations per topic
_SHARED, _TOPIC, _SITUATION, _OWN = 0.3, 0.1, 0.2, 0.4  # shares of a row's energy
_STEEP, _LESS_STEEP = 1.1, 1.0  # variance of direction k: k ** -slope
_BLOCK = 16_384


@dataclass(frozen=True)
class Planted:
    """Queries with a known neighbour.

    Attributes:
        vectors: q x d, unit length.
        rows: number of the row that each was made from.
        cosines: to that row.
    """

    vectors: Vectors
    rows: npt.NDArray[np.int64]
    cosines: Vectors


def sentence_like(count: int, seed: int = 0, dim: int = DIM) -> Vectors:
    """`count` unit vectors (count x `dim`); the first ones do not depend on `count`."""
    rng = np.random.default_rng(seed)
    shared = _part(rng, 1, _SHARED, 0.0, dim)
    topics = _part(rng, _TOPICS, _TOPIC, _STEEP, dim)
    situations = _part(rng, _TOPICS * _SITUATIONS, _SITUATION, _STEEP, dim)
    rows = np.empty((count, dim), dtype=np.float32)
    for first in range(0, count, _BLOCK):
        own = _part(rng, _BLOCK, _OWN, _LESS_STEEP, dim)
        situation = rng.integers(0, len(situations), _BLOCK)
        block = shared + topics[situation // _SITUATIONS] + situations[situation] + own
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        rows[first : first + _BLOCK] = block[: count - first]
    return rows


def planted(rows: Vectors, count: int, seed: int = 1) -> Planted:
    """Near neighbours of random rows, at cosines from 0.86 to 0.95.

    What sets them apart lies in the strong directions, as a paraphrase does: even noise would
    leave a row in its list and flatter an inverted file.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, len(rows), count)
    cosines = rng.uniform(0.86, 0.95, (count, 1)).astype(np.float32)
    bases = rows[chosen]
    away = _part(rng, count, 1.0, _LESS_STEEP, rows.shape[1])
    away -= np.sum(away * bases, axis=1, keepdims=True) * bases
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    vectors = cosines * bases + np.sqrt(1 - cosines**2) * away
    return Planted(vectors.astype(np.float32, copy=False), chosen, cosines[:, 0])


def _part(rng: np.random.Generator, count: int, energy: float, slope: float, dim: int) -> Vectors:
    variance = np.arange(1, dim + 1) ** -slope
    scale = np.sqrt(energy * variance / variance.sum()).astype(np.float32)
    return rng.standard_normal((count, dim), dtype=np.float32) * scale
