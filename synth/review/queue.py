"""The records of a run in the order in which people should look at them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import pyarrow as pa

from synth.config import METRICS
from synth.errors import StoreError
from synth.segments import read_rows
from synth.store import RunFiles

_COLUMNS = (
    "id",
    "topic",
    "requested_topic",
    "facets",
    "question",
    "answer",
    "model",
    "scores",
    "findings",
    "judgements",
)


@dataclass(frozen=True, slots=True)
class Item:
    """What the list shows of a record."""

    id: str
    topic: str
    rules: tuple[str, ...]
    mean: float | None
    opening: str
    answer_words: int


@dataclass(frozen=True)
class Records:
    """A run's accepted records, as they were when this was read.

    Attributes:
        items: flagged ones first, then those that the judge rates lowest, else by chance.
    """

    items: Sequence[Item]
    _table: pa.Table
    _rows: dict[str, int] = field(repr=False)

    def __contains__(self, record_id: str) -> bool:
        return record_id in self._rows

    def row(self, record_id: str) -> dict[str, Any]:
        """Everything that is stored of a record, but for its vector."""
        at = self._rows[record_id]
        row: dict[str, Any] = self._table.slice(at, 1).to_pylist()[0]
        return row

    def rows(self) -> Iterator[dict[str, Any]]:
        """All records, in the order of `items`."""
        return (self.row(item.id) for item in self.items)


def read_records(files: RunFiles, seed: int, sample: int | None = None) -> Records:
    """The accepted records of a run, or the first `sample` of them that should be looked at.

    Raises:
        StoreError: there is none, or a segment is damaged.
    """
    batches = list(read_rows(files.accepted, _COLUMNS))
    if not batches:
        raise StoreError(str(files.root), "holds no accepted record", "Give the folder of a run")
    table = pa.Table.from_batches(batches)
    found: list[Item] = []
    for batch in batches:
        found += _items(batch.to_pylist())
    rows = {item.id: at for at, item in enumerate(found)}
    rng = random.Random(seed)
    chance = {item.id: rng.random() for item in sorted(found, key=lambda item: item.id)}
    found.sort(key=lambda item: (not item.rules, item.mean or _BEST, chance[item.id]))
    return Records(found[:sample], table, rows)


_BEST = 11.0  # above every mean: what nobody rated comes after what was rated


def _items(rows: Iterable[dict[str, Any]]) -> Iterator[Item]:
    for row in rows:
        scores = [row["scores"][metric] for metric in METRICS]
        yield Item(
            row["id"],
            row["topic"],
            tuple(dict.fromkeys(finding["rule"] for finding in row["findings"] or ())),
            None if None in scores else fmean(scores),
            " ".join(row["question"].split()[:14]),
            len(row["answer"].split()),
        )
