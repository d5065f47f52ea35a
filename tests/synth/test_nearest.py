"""The nearest row: exact while few, in lists later, and the same however the rows came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import faiss
import numpy as np
import pytest

from benchmarks.sentence_like import planted, sentence_like
from synth import nearest
from synth.centroids import two_step_centroids
from synth.index import DuplicateIndex
from synth.nearest import NearestRows
from synth.protocol import Vectors

DIM = 64
SWITCH = 1_000
THRESHOLD = 0.85


@pytest.fixture(scope="module")
def rows() -> Vectors:
    return sentence_like(9_000, dim=DIM)


def grown(rows: Vectors, blocks: Sequence[int] = (512,)) -> NearestRows:
    """An index that took in `rows` in blocks of these sizes, one after the other and again."""
    held = NearestRows(rows.shape[1], SWITCH)
    first = turn = 0
    while first < len(rows):
        size = blocks[turn % len(blocks)]
        held.add(rows[first : first + size])
        first, turn = first + size, turn + 1
    return held


def test_few_rows_are_answered_exactly(rows: Vectors) -> None:
    held, flat = grown(rows[:SWITCH]), faiss.IndexFlatIP(DIM)
    flat.add(rows[:SWITCH])
    queries = planted(rows[:SWITCH], 200).vectors
    cosines, found = held.search(queries)
    expected, ids = flat.search(queries, 1)
    assert held.lists == 0
    np.testing.assert_array_equal(found, ids[:, 0])
    np.testing.assert_allclose(cosines, expected[:, 0], atol=1e-6)


@pytest.mark.parametrize("count", [1_300, 4_900, 5_100, 9_000])
def test_planted_neighbours_are_found_after_the_switch(rows: Vectors, count: int) -> None:
    held, queries = grown(rows[:count]), planted(rows[:count], 1_000)
    cosines, _ = held.search(queries.vectors)
    assert 0 < held.lists < count / 4
    assert np.mean(cosines >= THRESHOLD) >= 0.99


def test_a_neighbour_in_the_lists_has_its_true_cosine(rows: Vectors) -> None:
    queries = planted(rows, 300).vectors
    cosines, found = grown(rows).search(queries)
    np.testing.assert_allclose(cosines, np.sum(queries * rows[found], axis=1), atol=1e-6)


@pytest.mark.parametrize("count", [1_000, 1_001, 1_200, 1_250, 4_000, 4_400, 5_000, 9_000])
def test_one_batch_and_many_give_the_same_index(rows: Vectors, count: int) -> None:
    """A restored index answers as the one that grew, in the middle of a new layout too."""
    queries = sentence_like(300, seed=5, dim=DIM)
    whole = grown(rows[:count], [count])
    parts = grown(rows[:count], [1, 64, 300, 17])
    assert whole.lists == parts.lists
    for one, other in zip(whole.search(queries), parts.search(queries), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_layout_follows_the_rows(rows: Vectors) -> None:
    """A new layout answers once a quarter more rows have come; until then the old one does."""
    counts = [grown(rows[:n], [n]).lists for n in (1_000, 1_249, 1_250, 4_999, 5_000)]
    assert counts[0] == counts[1] == 0
    assert counts[2] == counts[3] > 0
    assert counts[4] == pytest.approx(2 * counts[2], rel=0.2)


def test_no_insertion_moves_many_old_rows(rows: Vectors, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[int] = []
    fill = nearest._Lists.fill

    def counted(self: Any, upto: int) -> None:
        moved.append(upto - int(self._index.ntotal))
        fill(self, upto)

    monkeypatch.setattr(nearest._Lists, "fill", counted)
    grown(rows, [32])
    assert max(moved) <= 5 * 32


def test_nothing_is_found_where_nothing_is() -> None:
    cosines, found = NearestRows(DIM, SWITCH).search(np.eye(1, DIM, dtype=np.float32))
    assert (found[0], cosines[0]) == (-1, -1)


def test_centres_share_the_rows_out() -> None:
    rows = sentence_like(2_000, dim=DIM)
    centres = two_step_centroids(rows, 50)
    assert len(centres) == pytest.approx(50, abs=5)
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1, atol=1e-4)
    sizes = np.bincount((rows @ centres.T).argmax(axis=1), minlength=len(centres))
    assert sizes.max() < 0.2 * len(rows)


# -- the duplicate index over it -----------------------------------------------------


def names(first: int, count: int) -> list[str]:
    return [f"r{i}" for i in range(first, first + count)]


def test_reservations_are_kept_across_the_switch(rows: Vectors) -> None:
    index = DuplicateIndex(DIM, THRESHOLD, NearestRows(DIM, SWITCH))
    index.add(names(0, 900), rows[:900], ["words"] * 900)
    early, late = rows[900:901], rows[2_000:2_001]
    index.probe(early).reserve(0, "early", "the early one")
    index.probe(late).reserve(0, "late", "the late one")
    index.add(names(901, 600), rows[901:1_501], ["words"] * 600)
    index.commit(["early"])
    index.release("late")
    nearest_early, nearest_late = index.probe(early).nearest(0), index.probe(late).nearest(0)
    assert nearest_early is not None
    assert (nearest_early.id, nearest_early.opening) == ("early", "the early one")
    assert nearest_early.similarity == pytest.approx(1, abs=1e-5)
    assert nearest_late is None or nearest_late.id != "late"
    assert (len(index), index.reserved) == (1_501, 0)


def test_what_is_refused_is_the_same_with_lists_as_without(rows: Vectors) -> None:
    """A run of questions, a third of them near earlier ones, through two indexes."""
    listed = DuplicateIndex(DIM, THRESHOLD, NearestRows(DIM, SWITCH))
    exact = DuplicateIndex(DIM, THRESHOLD, NearestRows(DIM, 10**9))
    queries = planted(rows[:1_500], 1_500, seed=3).vectors
    stream = np.concatenate(
        [rows[:1_500], np.stack([rows[3_000:4_500], queries], 1).reshape(-1, DIM)]
    )
    verdicts: list[list[bool]] = [[], []]
    for first in range(0, len(stream), 50):
        batch = stream[first : first + 50]
        refused = [exact.too_close(near) for near in map(exact.probe(batch).nearest, range(50))]
        verdicts[1] += refused
        probe = listed.probe(batch)
        verdicts[0] += [listed.too_close(probe.nearest(row)) for row in range(50)]
        kept = [i for i, no in enumerate(refused) if not no]
        for index in (listed, exact):
            index.add(names(first, len(kept)), batch[kept], ["words"] * len(kept))
    duplicates = np.array(verdicts)
    assert duplicates[1].sum() > 1_000
    assert np.mean(duplicates[0] == duplicates[1]) >= 0.99
    assert not np.any(duplicates[0] & ~duplicates[1])


# -- a GPU ---------------------------------------------------------------------------


class FakeGpu:
    """What FAISS offers with a GPU, and what was asked of it."""

    def __init__(self) -> None:
        self.scratch = 0
        self.moved: list[tuple[int, bool]] = []

    def setTempMemory(self, size: int) -> None:
        self.scratch = size

    def move(self, resources: Any, device: int, index: Any, options: Any) -> Any:
        assert resources is self
        self.moved.append((device, options.useFloat16))
        return index


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    fake = FakeGpu()
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "StandardGpuResources", lambda: fake, raising=False)
    monkeypatch.setattr(faiss, "GpuClonerOptions", lambda: type("Options", (), {})(), raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", fake.move, raising=False)
    return fake


def test_a_gpu_compares_all_rows(rows: Vectors, gpu: FakeGpu) -> None:
    held, queries = grown(rows[:3_000]), planted(rows[:3_000], 200)
    cosines, _ = held.search(queries.vectors)
    assert gpu.moved == [(0, True)]
    assert 0 < gpu.scratch <= 256 << 20
    assert held.lists == 0
    assert np.all(cosines >= queries.cosines - 1e-5)


def test_without_a_device_nothing_is_moved(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    NearestRows(DIM)
    assert gpu.moved == []
