"""Centres for the lists of an inverted index: k-means in two steps, so that it does not take long.

While centres are found, the coordinator answers nobody. Grouping the rows first and dividing
each group costs about the square root of one k-means; two iterations over all then mend what
was cut at the borders of the groups (`benchmarks/results/index.md`).
"""

from __future__ import annotations

import math

import faiss
import numpy as np

from synth.protocol import Vectors

_ITERATIONS = 8
_MENDING = 2  # iterations over all centres
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
    divided = np.concatenate(centroids)
    return _k_means(rows, len(divided), _MENDING, divided)


def _k_means(
    rows: Vectors, centres: int, iterations: int = _ITERATIONS, start: Vectors | None = None
) -> Vectors:
    means = faiss.Kmeans(
        rows.shape[1],
        centres,
        niter=iterations,
        spherical=True,
        seed=_SEED,
        min_points_per_centroid=1,
        max_points_per_centroid=max(1, len(rows)),
    )
    means.train(rows, init_centroids=start)
    return np.asarray(means.centroids, dtype=np.float32)
