"""A split into train and eval that keeps near neighbours on one side."""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from synth.neighbours import near_pairs
from synth.protocol import Vectors


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
    one, other = near_pairs(vectors, near)
    graph = coo_matrix((np.ones(len(one), dtype=bool), (one, other)), shape=(rows, rows))
    groups, group_of = connected_components(graph, directed=False)
    sizes = np.bincount(group_of, minlength=groups)
    order = list(range(groups))
    random.Random(seed).shuffle(order)
    wanted, taken = round(share * rows), 0
    chosen = np.zeros(groups, dtype=bool)
    for group in order:
        if taken + sizes[group] <= wanted:
            chosen[group] = True
            taken += int(sizes[group])
    return np.asarray(chosen[group_of], dtype=bool)
