"""The nearest row, at a cost that grows slower than the rows: exact while few, in lists later.

Few rows are compared one by one. From `SWITCH_AT` on, rows are also kept in lists around
centres (an inverted file), as one bit per dimension (RaBitQ, Gao and Long 2024, as FAISS has
it); a query looks at the lists whose centres are closest, and the best candidates are compared
again with the full vectors. So a neighbour may rarely be missed, but a cosine is never wrong.

The lists are laid out anew each time the rows have grown fourfold. The new ones are filled a
few rows with each insertion, while the old ones still answer: no insertion takes long. What
is laid out depends on the rows and their order alone, not on how they came: a restored index
equals the one that grew.
"""

from __future__ import annotations

import math
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from synth.centroids import two_step_centroids
from synth.protocol import Vectors

Rows = npt.NDArray[np.int64]

# Measured by `evenfill bench index`; results in benchmarks/results/index.md.
SWITCH_AT = 32_768  # rows; comparing all costs as much as lists at about this number
_GROWTH = 4  # one layout serves this many times the rows that it was learned from
_LISTS_PER_ROOT = 4  # lists = this times the square root of the rows halfway
_PROBED = (0.95, 0.75)  # a, b: of n lists, a * n ** b are searched; 99 % recall and some room
_LEARNED_FROM = 24  # rows per list
_MOVED = 5  # rows of the old layout that are in the new one, for each row since it was begun
_CANDIDATES = 16  # that are compared again with their full vectors
_BLOCK = 4096
_GPU_SCRATCH = 64 << 20  # bytes; FAISS would take 1.5 GB of what the engine counts on


class NearestRows:
    """Unit vectors that are only ever added, numbered in their order.

    Args:
        dim: length of a vector.
        switch_at: rows from which lists are used. On a GPU all rows are always compared.
    """

    def __init__(self, dim: int, switch_at: int = SWITCH_AT):
        self._all = faiss.IndexFlatIP(dim)
        self._switch_at = switch_at
        self._layouts: dict[int, _Lists] = {}
        self._gpu = _on_gpu(faiss.IndexFlatIP(dim))

    def __len__(self) -> int:
        return int(self._all.ntotal)

    @property
    def lists(self) -> int:
        """Lists that answer now; 0 while all rows are compared."""
        serving = self._serving()
        return 0 if serving is None else serving.count

    def add(self, vectors: Vectors) -> None:
        """Append rows (n x d)."""
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self._all.add(vectors)
        if self._gpu is not None:
            self._gpu.add(vectors)
        else:
            self._follow()

    def search(self, vectors: Vectors) -> tuple[Vectors, Rows]:
        """Cosine and number of the nearest row to each of `vectors` (n x d), both of length n.

        Both are -1 where no candidate was found.
        """
        queries = np.ascontiguousarray(vectors, dtype=np.float32)
        source = self._gpu if self._gpu is not None else self._serving()
        if source is None:
            return self._compare_all(queries)
        _, candidates = source.search(queries, _CANDIDATES)
        return self._best(queries, candidates)

    def _compare_all(self, queries: Vectors) -> tuple[Vectors, Rows]:
        """One matrix product: FAISS cuts it into blocks, and took 4 times as long (measured)."""
        if not len(self):
            return np.full(len(queries), -1, np.float32), np.full(len(queries), -1, np.int64)
        shape = len(self), self._all.d
        rows = faiss.rev_swig_ptr(self._all.get_xb(), math.prod(shape)).reshape(shape)
        cosines = queries @ rows.T
        best = cosines.argmax(axis=1)
        return cosines[np.arange(len(queries)), best], best

    def _best(self, queries: Vectors, candidates: Rows) -> tuple[Vectors, Rows]:
        """The best of each query's candidates (n x k, -1 for none) by their full vectors."""
        known = np.maximum(candidates, 0)
        full = self._all.reconstruct_batch(known.ravel()).reshape(*known.shape, -1)
        cosines = np.matmul(full, queries[:, :, None])[:, :, 0]
        cosines[candidates < 0] = -1
        best = cosines.argmax(axis=1)
        at = np.arange(len(queries))
        return cosines[at, best], candidates[at, best]

    # -- layouts -------------------------------------------------------------------

    def _start(self, level: int) -> int:
        """Rows from which a layout is learned."""
        return self._switch_at * int(_GROWTH**level)

    def _filled(self, level: int) -> int:
        """Rows that a layout holds by now."""
        return min(len(self), _MOVED * (len(self) - self._start(level)))

    def _newest(self) -> int:
        """The latest level that was begun; -1 for none."""
        level = -1
        while self._start(level + 1) < len(self):
            level += 1
        return level

    def _serving(self) -> _Lists | None:
        newest = self._newest()
        if newest >= 0 and self._filled(newest) == len(self):
            return self._layouts.get(newest)
        return self._layouts.get(newest - 1)

    def _follow(self) -> None:
        """Bring the layouts to where they have to be at this number of rows."""
        newest = self._newest()
        complete = newest >= 0 and self._filled(newest) == len(self)
        needed = {newest} if complete else {newest - 1, newest}
        self._layouts = {k: held for k, held in self._layouts.items() if k in needed}
        for level in sorted(k for k in needed if k >= 0):
            if level not in self._layouts:
                self._layouts[level] = _Lists(self._all, self._start(level))
            self._layouts[level].fill(self._filled(level))


class _Lists:
    """An inverted file over the first rows of a flat index.

    Args:
        rows: where the full vectors are.
        learned_from: the number of rows, from the first, that the centres are learned from.
    """

    def __init__(self, rows: Any, learned_from: int):
        self._rows = rows
        wanted = int(_LISTS_PER_ROOT * math.sqrt(learned_from * _GROWTH / 2))
        sample = min(learned_from, _LEARNED_FROM * wanted)
        chosen = np.linspace(0, learned_from - 1, sample).astype(np.int64)
        vectors = rows.reconstruct_batch(chosen)
        self._centres = faiss.IndexFlatIP(rows.d)  # the inverted file does not own it
        self._centres.add(two_step_centroids(vectors, min(wanted, sample)))
        self.count = int(self._centres.ntotal)
        self._index = faiss.IndexIVFRaBitQFastScan(
            self._centres, rows.d, self.count, faiss.METRIC_INNER_PRODUCT
        )
        self._index.train(vectors[:_BLOCK])
        a, b = _PROBED
        self._index.nprobe = min(self.count, math.ceil(a * self.count**b))

    def fill(self, upto: int) -> None:
        """Take in the rows before number `upto` that are not here yet."""
        while (first := int(self._index.ntotal)) < upto:
            self._index.add(self._rows.reconstruct_n(first, min(_BLOCK, upto - first)))

    def search(self, queries: Vectors, count: int) -> tuple[Vectors, Rows]:
        """Estimated similarities and numbers (n x `count`) of the closest rows, -1 for none."""
        similarities, rows = self._index.search(queries, count)
        return similarities, rows


def _on_gpu(index: Any) -> Any | None:
    """A half-precision copy of an index on the first GPU that FAISS reports; None without one."""
    if not hasattr(faiss, "StandardGpuResources") or not faiss.get_num_gpus():
        return None
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(_GPU_SCRATCH)
    options = faiss.GpuClonerOptions()
    options.useFloat16 = True
    return faiss.index_cpu_to_gpu(resources, 0, index, options)
