"""A split into train and eval that keeps near neighbours on one side."""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from synth.protocol import Vectors

LEAST_NEAR = 0.5  # below, texts of one topic all hang together and nothing can be split
_ROWS, _COLUMNS = 1024, 8192  # of a block of cosines, 32 MiB
_ROUNDING = 1e-6  # of a cosine in float32, by which two ways to compute it differ


def held_out(vectors: Vectors, share: float, near: float, seed: int) -> npt.NDArray[np.bool_]:
    """Which rows go to eval: whole groups of near neighbours, drawn until `share` is reached.

    A group that would overshoot stays in train, so a dataset whose rows are all alike may give
    fewer.

    Args:
        vectors: unit vectors of the questions, n x d.
        share: of the rows, between 0 and 1.
        near: cosine from which two rows must not be parted.
        seed: of the draw.
    """
    rows = len(vectors)
    group_of = groups(vectors, near)
    sizes = np.bincount(group_of) if rows else np.zeros(0, dtype=np.int64)
    order = list(range(len(sizes)))
    random.Random(seed).shuffle(order)
    wanted, taken = round(share * rows), 0
    chosen = np.zeros(len(sizes), dtype=bool)
    for group in order:
        if taken + sizes[group] <= wanted:
            chosen[group] = True
            taken += int(sizes[group])
    return np.asarray(chosen[group_of], dtype=bool)


def groups(vectors: Vectors, near: float) -> npt.NDArray[np.int64]:
    """The group of each row, from 0: rows that a chain of cosines of `near` or more joins.

    Every pair is looked at, a block at a time: the work grows with the square of the rows (a
    minute for 100,000 on two cores), the memory does not.

    Args:
        vectors: unit vectors, n x d.
        near: cosine.
    """
    rows = len(vectors)
    group_of = np.arange(rows)
    for start in range(0, rows, _ROWS):
        block = vectors[start : start + _ROWS]
        for other in range(start, rows, _COLUMNS):
            cosines = block @ vectors[other : other + _COLUMNS].T
            one, two = np.nonzero(cosines >= near - _ROUNDING)
            _join(group_of, group_of[one + start], group_of[two + other])
    return np.unique(group_of, return_inverse=True)[1].astype(np.int64)


def _join(
    group_of: npt.NDArray[np.int64], one: npt.NDArray[np.int64], two: npt.NDArray[np.int64]
) -> None:
    """Make one group of each pair of groups, in place."""
    apart = one != two
    if not apart.any():
        return
    size = len(group_of)
    edges = (np.ones(int(apart.sum()), dtype=bool), (one[apart], two[apart]))
    graph = coo_matrix(edges, shape=(size, size))
    _, joined = connected_components(graph, directed=False)
    group_of[:] = joined[group_of]
