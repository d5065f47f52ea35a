"""Segments: the rows of a run as Parquet files that are written once and never changed.

A segment's name says what it holds: `segment-0002-000017` is the 18th commit of the second start
of the run, `segment-0001-000000--0002-000017` holds everything from the first to that one. A
merged segment is durable before what it replaces is deleted, and while both are there the
readers here pass over what it covers: at every moment each row counts once.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from synth.config import METRICS
from synth.errors import StoreError
from synth.files import Folder

_NAME = re.compile(r"segment-(\d{4})-(\d{6})(?:--(\d{4})-(\d{6}))?\.parquet")
_FORMAT: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
_READ_ROWS = 4096
_MERGED_ROWS = 20_000  # rows after which a merged segment is large enough


TOKEN_COLUMNS = (
    "prompt_tokens",
    "completion_tokens",
    "judge_prompt_tokens",
    "judge_completion_tokens",
)
_TOKENS = [(name, pa.int32()) for name in TOKEN_COLUMNS]
_SCORES = pa.struct([(name, pa.float32()) for name in ("topic", "best_topic", *METRICS)])
_SCORE = pa.struct([("metric", pa.string()), ("score", pa.int8()), ("rationale", pa.string())])
_JUDGEMENT = pa.struct(
    [
        ("judge", pa.string()),
        ("model", pa.string()),
        ("version", pa.int32()),
        ("prompt_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
        ("scores", pa.list_(_SCORE)),
    ]
)
_FLAG = pa.struct([(name, pa.string()) for name in ("gate", "rule", "severity", "where", "span")])


def accepted_schema(dim: int, facets: Sequence[str]) -> pa.Schema:
    """Columns of an accepted record; `embedding` is float32 of length `dim`."""
    names = ["situation", *facets]
    return pa.schema(
        [
            ("id", pa.string()),
            ("topic", pa.string()),
            ("facets", pa.struct([(name, pa.string()) for name in names])),
            ("question", pa.string()),
            ("answer", pa.string()),
            ("model", pa.string()),
            ("seed", pa.int64()),
            ("lease", pa.string()),
            ("nearest_id", pa.string()),
            ("nearest_similarity", pa.float32()),
            ("scores", _SCORES),
            ("embedding", pa.list_(pa.float32(), dim)),
            ("created_at", pa.timestamp("ms", tz="UTC")),
            ("findings", pa.list_(_FLAG)),
            ("judgements", pa.list_(_JUDGEMENT)),
            ("requested_topic", pa.string()),
            *_TOKENS,
        ]
    )


REJECTED_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("topic", pa.string()),
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("nearest_id", pa.string()),
        ("similarity", pa.float32()),
        ("text", pa.string()),
        ("question", pa.string()),
        ("requested_topic", pa.string()),
        ("attempt", pa.int32()),
        ("judgements", pa.list_(_JUDGEMENT)),
        *_TOKENS,
        ("created_at", pa.timestamp("ms", tz="UTC")),
    ]
)


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment's file and the commits that it covers, each as (epoch, number)."""

    name: str
    first: tuple[int, int]
    last: tuple[int, int]

    @property
    def merged(self) -> bool:
        return self.first != self.last

    def covers(self, other: Segment) -> bool:
        return self.first <= other.first and other.last <= self.last


def _name(first: tuple[int, int], last: tuple[int, int]) -> str:
    start = f"segment-{first[0]:04d}-{first[1]:06d}"
    return f"{start}.parquet" if first == last else f"{start}--{last[0]:04d}-{last[1]:06d}.parquet"


def parse_name(name: str) -> Segment | None:
    """The segment that a file's name tells of; None when no run writes such a name."""
    match = _NAME.fullmatch(name)
    if not match:
        return None
    first = int(match[1]), int(match[2])
    return Segment(name, first, (int(match[3]), int(match[4])) if match[3] else first)


def all_segments(folder: Folder) -> list[Segment]:
    """Every segment's file, those that a merged one covers too: by first commit, widest first.

    Raises:
        StoreError: the folder holds a file that no run writes.
    """
    found = []
    for name in folder.names():
        segment = parse_name(name)
        if segment is None:
            raise StoreError(
                f"{folder}/{name}", "is not a segment of this run", "Move it out of the folder"
            )
        found.append(segment)
    return sorted(found, key=lambda s: (s.first, (-s.last[0], -s.last[1])))


def segments(folder: Folder) -> list[Segment]:
    """A folder's segments in the order in which their rows were written, each row in one.

    Raises:
        StoreError: the folder holds a file that no run writes.
    """
    kept: list[Segment] = []
    for segment in all_segments(folder):
        if not (kept and kept[-1].covers(segment)):
            kept.append(segment)
    return kept


def last_epoch(folder: Folder) -> int:
    """The highest epoch among a folder's segments; 0 when there is none."""
    return max((segment.last[0] for segment in segments(folder)), default=0)


def remove_superseded(folder: Folder) -> None:
    """Delete what a merged segment covers: the end of a compaction that was cut short."""
    kept = set(segments(folder))
    for segment in all_segments(folder):
        if segment not in kept:
            folder.delete(segment.name)


def compact(folder: Folder, schema: pa.Schema, at_least: int) -> int:
    """Merge a folder's single commits, once there are `at_least` of them in a row; how many.

    Memory stays at a batch of rows; a crash at any point leaves each row in one segment that
    `segments` names.
    """
    run: list[Segment] = []
    rows = merged = 0
    for segment in [*segments(folder), None]:
        if segment is not None and not segment.merged and rows < _MERGED_ROWS:
            run.append(segment)
            rows += _row_count(folder, segment)
            continue
        if len(run) >= max(2, at_least):
            _merge(folder, schema, run)
            merged += len(run)
        run, rows = [], 0
        if segment is not None and not segment.merged:
            run, rows = [segment], _row_count(folder, segment)
    return merged


def _row_count(folder: Folder, segment: Segment) -> int:
    return int(pq.read_metadata(folder.source(segment.name)).num_rows)


def _merge(folder: Folder, schema: pa.Schema, run: Sequence[Segment]) -> None:
    def fill(file: BinaryIO) -> None:
        with pq.ParquetWriter(file, schema, **_FORMAT) as writer:
            for segment in run:
                for batch in _batches(folder, segment, schema.names):
                    writer.write_batch(batch)

    folder.write_with(_name(run[0].first, run[-1].last), fill)
    remove_superseded(folder)


class SegmentWriter:
    """Appends segments to one of a run's two folders; the only writer there.

    Args:
        folder: `accepted/` or `rejected/`.
        schema: columns of every row.
        epoch: number of this start of the run; part of the segments' names.
    """

    def __init__(self, folder: Folder, schema: pa.Schema, epoch: int):
        self._folder = folder
        self._schema = schema
        self._epoch = epoch
        self._next = 0
        self._last: Sequence[Mapping[str, Any]] | None = None

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write `rows` as one segment; they are durable when this returns.

        The very same rows again, as after a failure elsewhere, are not written twice.
        """
        if not rows or rows is self._last:
            return
        table = pa.Table.from_pylist(list(rows), schema=self._schema)
        buffer = io.BytesIO()
        pq.write_table(table, buffer, **_FORMAT)
        commit = (self._epoch, self._next)
        name = _name(commit, commit)
        data = buffer.getvalue()
        if name in self._folder.names() and self._folder.read(name) != data:
            path = f"{self._folder}/{name}"
            raise StoreError(path, "is there already", "Has another run written here?")
        self._folder.write(name, data)
        self._next += 1
        self._last = rows

    def compact(self, at_least: int) -> int:
        """Merge single commits, once there are `at_least` of them in a row; how many."""
        return compact(self._folder, self._schema, at_least)


def read_rows(folder: Folder, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """All rows of a folder's segments, in batches, oldest first.

    Raises:
        StoreError: a segment that cannot be read; names it.
    """
    for segment in segments(folder):
        yield from _batches(folder, segment, columns)


def _batches(folder: Folder, segment: Segment, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    where = f"{folder}/{segment.name}"
    try:
        source = folder.source(segment.name)
    except OSError as error:
        raise StoreError(where, f"cannot be read ({error})", "Mend that, and run again") from error
    try:
        with pq.ParquetFile(source, page_checksum_verification=True) as file:
            yield from file.iter_batches(batch_size=_READ_ROWS, columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            where, f"is damaged ({error})", "Restore this segment, or move it away"
        ) from error
