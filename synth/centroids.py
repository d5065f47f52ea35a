"""Centres for the lists of an inverted index: k-means in two steps, so that it never takes long.

One k-means with thousands of centres over a hundred thousand rows takes a minute, and the
coordinator answers nobody meanwhile. Grouping first and dividing each group afterwards costs
the square root of that and loses little (`benchmarks/results/index.md`).
"""

from __future__ import annotations

import math

import faiss
import numpy as np

from synth.protocol import Vectors

_ITERATIONS = 8
_SEED = 1


def two_step_centroids(rows: Vectors, wanted: int) -> Vectors:
    """About `wanted` unit vectors (k x d) in the middle of unit `rows` (n x d); no randomness.

    Every group of rows gets as many of them as its share of the rows.
    """
    groups = max(1, math.isqrt(wanted))
    tops = _k_means(rows, groups)
    nearest = faiss.IndexFlatIP(rows.shape[1])
    nearest.add(tops)
    owner = nearest.search(rows, 1)[1][:, 0]
    centroids = []
    for group in range(groups):
        members = np.ascontiguousarray(rows[owner == group])
        if len(members):
            share = max(1, round(wanted * len(members) / len(rows)))
            centroids.append(_k_means(members, share))
    return np.concatenate(centroids)


def _k_means(rows: Vectors, centres: int) -> Vectors:
    means = faiss.Kmeans(
        rows.shape[1],
        centres,
        niter=_ITERATIONS,
        spherical=True,
        seed=_SEED,
        min_points_per_centroid=1,
        max_points_per_centroid=max(1, len(rows)),
    )
    means.train(rows)
    return np.asarray(means.centroids, dtype=np.float32)
