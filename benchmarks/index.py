"""What does it cost to find the nearest question, and what is missed? By index and by size.

    evenfill bench index --rows 10000,100000,1000000 --json

Vectors are made by `benchmarks.sentence_like`. Each index takes in the rows in blocks, then
works as the coordinator does: it searches a batch of queries, adds a batch of rows, and again.
Queries have a planted neighbour at a cosine of 0.86 to 0.95; `recall` is the share for which a
row at 0.85 or more came back, `same` the share for which it is the one that brute force finds.
Indexes that keep codes return candidates that are compared again with the full vectors, whose
bytes are counted. Times are CPU time, of all threads together; one thread unless told otherwise.
So another program on the machine disturbs them little, but for caches and memory.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import faiss
import numpy as np

from benchmarks.common import Figures, command_line, positive, show, stamped, whole_numbers
from benchmarks.sentence_like import DIM, Planted, planted, sentence_like
from synth.centroids import two_step_centroids
from synth.nearest import _CANDIDATES, _LEARNED_FROM, _LISTS_PER_ROOT, _PROBED, NearestRows
from synth.protocol import Vectors

THRESHOLD = 0.85
HARD = 0.88  # planted neighbours below this cosine are counted once more by themselves
_BLOCK = 512  # rows of an insertion while the index is built
_PATIENCE_S = 30.0  # of searching, per index and size
_FULL = 4 * DIM  # bytes of a full vector


class Index(Protocol):
    """What is measured: cosine and number of the nearest row, after the full vectors."""

    def add(self, vectors: Vectors) -> None: ...

    def search(self, vectors: Vectors) -> tuple[Vectors, Any]: ...

    def bytes(self) -> int: ...


@dataclass(frozen=True)
class Measured:
    """One index at one size.

    Attributes:
        search_ms, insert_ms: per row, in batches; insert_ms after the index was built.
        build_ms: per row, centres included.
        learn_s: finding centres, where that is apart from the insertions.
        longest_insert_s: the slowest insertion of 512 rows while it was built.
        recall, recall_hard, same: see above; `queries` is out of how many.
        bytes_per_row: the index and, where it needs them, the full vectors.
    """

    index: str
    rows: int
    search_ms: float
    insert_ms: float
    build_ms: float
    learn_s: float
    longest_insert_s: float
    recall: float
    recall_hard: float
    same: float
    queries: int
    bytes_per_row: float


class Faiss:
    """A FAISS index; with `full` vectors, its candidates are compared again."""

    def __init__(self, index: Any, capacity: int = 0, keeps: Any = None):
        self._index = index
        self._keeps = keeps  # a coarse index that FAISS does not own
        self._full = np.empty((capacity, DIM), dtype=np.float32) if capacity else None
        self._count = 0

    def add(self, vectors: Vectors) -> None:
        self._index.add(vectors)
        if self._full is not None:
            self._full[self._count : self._count + len(vectors)] = vectors
        self._count += len(vectors)

    def search(self, vectors: Vectors) -> tuple[Vectors, Any]:
        if self._full is None:
            cosines, rows = self._index.search(vectors, 1)
            return cosines[:, 0], rows[:, 0]
        _, rows = self._index.search(vectors, _CANDIDATES)
        cosines = np.matmul(self._full[np.maximum(rows, 0)], vectors[:, :, None])[:, :, 0]
        best = np.where(rows < 0, -1, cosines).argmax(axis=1)
        at = np.arange(len(vectors))
        return cosines[at, best], rows[at, best]

    def bytes(self) -> int:
        return _serialised(self._index) + (0 if self._full is None else self._count * _FULL)


class Ours(NearestRows):
    """What Evenfill uses, with its layouts counted."""

    def bytes(self) -> int:
        parts = [self._all, *(lists._index for lists in self._layouts.values())]
        return sum(_serialised(part) for part in parts)


def _serialised(index: Any) -> int:
    written = 0

    def count(block: bytes) -> int:
        nonlocal written
        written += len(block)
        return len(block)

    faiss.write_index(index, faiss.PyCallbackIOWriter(count))  # type: ignore[attr-defined]
    return written


def _hnsw(width: int, construction: int) -> Callable[[Vectors, int], Index]:
    def make(_: Vectors, __: int) -> Index:
        index = faiss.IndexHNSWFlat(DIM, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = construction, width
        return Faiss(index)

    return make


def _one_step(rows: Vectors, wanted: int) -> Vectors:
    means = faiss.Kmeans(DIM, wanted, niter=8, spherical=True, seed=1, min_points_per_centroid=1)
    means.train(rows)
    return np.asarray(means.centroids, dtype=np.float32)


def _ivf(
    build: Callable[[Any, int], Any], *, exact: bool = False, centres: Any = two_step_centroids
) -> Callable[[Vectors, int], Index]:
    """An inverted file with as many lists as Evenfill has, whatever is kept in them."""

    def make(rows: Vectors, capacity: int) -> Index:
        wanted = int(_LISTS_PER_ROOT * math.sqrt(len(rows)))
        chosen = np.linspace(0, len(rows) - 1, min(len(rows), _LEARNED_FROM * wanted))
        sample = rows[chosen.astype(np.int64)]
        coarse = faiss.IndexFlatIP(DIM)
        coarse.add(centres(sample, wanted))
        index = build(coarse, coarse.ntotal)
        index.train(sample[:20_000])
        index.nprobe = math.ceil(_PROBED[0] * coarse.ntotal ** _PROBED[1])
        return Faiss(index, 0 if exact else capacity, coarse)

    return make


def _scalar(kind: int) -> Callable[[Any, int], Any]:
    return lambda coarse, lists: faiss.IndexIVFScalarQuantizer(
        coarse, DIM, lists, kind, faiss.METRIC_INNER_PRODUCT, False
    )


def _rabitq(coarse: Any, lists: int) -> Any:
    return faiss.IndexIVFRaBitQFastScan(coarse, DIM, lists, faiss.METRIC_INNER_PRODUCT)


def _flat_rabitq(rows: Vectors, capacity: int) -> Index:
    index = faiss.IndexRaBitQFastScan(DIM, faiss.METRIC_INNER_PRODUCT)
    index.train(rows[:20_000])
    return Faiss(index, capacity)


KINDS: dict[str, Callable[[Vectors, int], Index]] = {
    "flat": lambda _, __: Faiss(faiss.IndexFlatIP(DIM)),
    "flat, one product": lambda _, __: Ours(DIM, switch_at=10**9),
    "hnsw-64": _hnsw(64, 40),
    "hnsw-256": _hnsw(256, 100),
    "ivf-flat": _ivf(
        lambda c, n: faiss.IndexIVFFlat(c, DIM, n, faiss.METRIC_INNER_PRODUCT), exact=True
    ),
    "ivf-fp16": _ivf(_scalar(faiss.ScalarQuantizer.QT_fp16)),
    "ivf-sq8": _ivf(_scalar(faiss.ScalarQuantizer.QT_8bit)),
    "ivf-pq": _ivf(
        lambda c, n: faiss.IndexIVFPQFastScan(c, DIM, n, 96, 4, faiss.METRIC_INNER_PRODUCT)
    ),
    "ivf-rabitq": _ivf(_rabitq),
    "ivf-rabitq, one k-means": _ivf(_rabitq, centres=_one_step),
    "flat-rabitq": _flat_rabitq,
    "evenfill": lambda _, __: Ours(DIM),
}


def measure(
    name: str, rows: Vectors, fresh: Vectors, queries: Planted, truth: Vectors, batch: int
) -> Measured:
    """Build index `name` over `rows`, then search and insert in turns."""
    started = time.process_time()
    index = KINDS[name](rows, len(rows) + len(fresh))
    learned = time.process_time()
    longest = 0.0
    for first in range(0, len(rows), _BLOCK):
        before = time.process_time()
        index.add(rows[first : first + _BLOCK])
        longest = max(longest, time.process_time() - before)
    built = time.process_time()
    searching = inserting = 0.0
    found: list[Vectors] = []
    done = 0
    while done < len(fresh) and searching < _PATIENCE_S:
        before = time.process_time()
        found.append(index.search(queries.vectors[done : done + batch])[0])
        between = time.process_time()
        index.add(fresh[done : done + batch])
        searching += between - before
        inserting += time.process_time() - between
        done = min(done + batch, len(fresh))
    cosines = np.concatenate(found)
    hit, hard = cosines >= THRESHOLD, queries.cosines[:done] < HARD
    return Measured(
        index=name,
        rows=len(rows),
        search_ms=searching / done * 1e3,
        insert_ms=inserting / done * 1e3,
        build_ms=(built - started) / len(rows) * 1e3,
        learn_s=learned - started,
        longest_insert_s=longest,
        recall=float(hit.mean()),
        recall_hard=float(hit[hard].mean()) if hard.any() else 1.0,
        same=float((cosines >= truth[:done] - 1e-4).mean()),
        queries=done,
        bytes_per_row=index.bytes() / (len(rows) + done),
    )


def rows_of(results: Sequence[Measured]) -> list[Figures]:
    """The results as they are shown: with as many digits as mean something."""
    return [
        {
            key: round(value, 4) if isinstance(value, float) else value
            for key, value in asdict(result).items()
        }
        for result in results
    ]


def main(arguments: Sequence[str]) -> None:
    """Run from the command line."""
    parser = command_line("index", "Cost and recall of indexes, by size")
    parser.add_argument("--rows", type=whole_numbers, default=(10_000, 100_000), metavar="N,...")
    parser.add_argument("--indexes", default=";".join(KINDS), help="names, with semicolons")
    parser.add_argument("--queries", type=positive, default=2048, help="as many rows are inserted")
    parser.add_argument("--batch", type=positive, default=32)
    parser.add_argument("--threads", type=positive, default=1)
    options = parser.parse_args(arguments)
    faiss.omp_set_num_threads(options.threads)
    results: list[Measured] = []
    for size in options.rows:
        made = sentence_like(size + options.queries)
        rows, fresh = made[:size], made[size:]
        queries = planted(rows, options.queries)
        exact = faiss.IndexFlatIP(DIM)
        exact.add(rows)
        truth = exact.search(queries.vectors, 1)[0][:, 0]
        del exact
        for name in options.indexes.split(";"):
            results.append(measure(name, rows, fresh, queries, truth, options.batch))
            print(results[-1], file=sys.stderr)
    figures = {
        "threads": options.threads,
        "faiss_options": faiss.get_compile_options().strip(),
        "results": rows_of(results),
    }
    show(stamped("index", arguments, figures), options.json, rows_of(results))


if __name__ == "__main__":
    main(sys.argv[1:])
