"""Segments: durable, in order, and each row once, whenever a writer or a compaction dies."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from synth import segments as module
from synth.durable import remove_leftovers
from synth.errors import StoreError
from synth.segments import (
    REJECTED_SCHEMA,
    SegmentWriter,
    accepted_schema,
    last_epoch,
    read_rows,
    remove_superseded,
    segments,
)

ROW = {"id": "a", "topic": "stress", "reason": "repetition", "text": "x"}


class Crash(Exception):
    """The process dies here."""


def fill(folder: Path, commits: int, epoch: int = 1) -> SegmentWriter:
    writer = SegmentWriter(folder, REJECTED_SCHEMA, epoch)
    for number in range(commits):
        writer.append([ROW | {"id": f"{epoch}-{number}-{row}"} for row in range(3)])
    return writer


def ids(folder: Path) -> list[str]:
    return [row["id"] for batch in read_rows(folder, ["id"]) for row in batch.to_pylist()]


def dying_at(step: int, real: Callable[..., object], counter: list[int]) -> Callable[..., object]:
    def call(*arguments: object, **options: object) -> object:
        counter[0] += 1
        if counter[0] == step:
            raise Crash
        return real(*arguments, **options)

    return call


def test_segments_come_back_in_the_order_in_which_they_were_written(tmp_path: Path) -> None:
    for epoch in (1, 2):
        writer = SegmentWriter(tmp_path, REJECTED_SCHEMA, epoch)
        for number in range(3):
            writer.append([ROW | {"id": f"{epoch}-{number}"}])
    found = [row for batch in read_rows(tmp_path, ["id"]) for row in batch.to_pylist()]
    assert [row["id"] for row in found] == ["1-0", "1-1", "1-2", "2-0", "2-1", "2-2"]


def test_an_empty_batch_writes_no_segment(tmp_path: Path) -> None:
    SegmentWriter(tmp_path, REJECTED_SCHEMA, 1).append([])
    assert segments(tmp_path) == []


def test_the_leftover_of_a_killed_writer_is_no_segment_and_is_removed(tmp_path: Path) -> None:
    SegmentWriter(tmp_path, REJECTED_SCHEMA, 1).append([ROW])
    leftover = tmp_path / ".segment-0001-000001.parquet.tmp"
    leftover.write_bytes(b"half")
    assert len(segments(tmp_path)) == 1
    remove_leftovers(tmp_path)
    assert not leftover.exists()


def test_a_foreign_file_among_the_segments_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.parquet").write_bytes(b"x")
    with pytest.raises(StoreError, match=r"mine.parquet: is not a segment"):
        segments(tmp_path)


def test_a_torn_segment_is_named_and_kept(tmp_path: Path) -> None:
    SegmentWriter(tmp_path, REJECTED_SCHEMA, 1).append([ROW])
    (path,) = [segment.path for segment in segments(tmp_path)]
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(StoreError, match=r"segment-0001-000000.parquet: cannot be read"):
        list(read_rows(tmp_path, ["id"]))
    assert path.exists()


def test_a_segment_holds_the_columns_of_the_interface(tmp_path: Path) -> None:
    schema = accepted_schema(4, ["voice"])
    expected = (
        "id topic facets question answer model seed lease nearest_id nearest_similarity scores "
        "embedding created_at"
    ).split()
    assert schema.names[: len(expected)] == expected
    SegmentWriter(tmp_path, schema, 1).append([{"id": "a", "embedding": [0.0] * 4}])
    (path,) = [segment.path for segment in segments(tmp_path)]
    assert pq.read_table(path).schema.equals(schema)


def test_compaction_keeps_every_row_in_its_order(tmp_path: Path) -> None:
    fill(tmp_path, 5, epoch=1)
    writer = fill(tmp_path, 5, epoch=2)
    before = ids(tmp_path)
    writer.compact(at_least=2)
    assert ids(tmp_path) == before
    (only,) = segments(tmp_path)
    assert only.path.name == "segment-0001-000000--0002-000004.parquet"
    assert pq.read_schema(only.path).equals(REJECTED_SCHEMA)
    assert last_epoch(tmp_path) == 2
    writer.append([ROW | {"id": "later"}])
    assert ids(tmp_path) == [*before, "later"]


def test_compaction_waits_until_there_is_enough(tmp_path: Path) -> None:
    fill(tmp_path, 5).compact(at_least=6)
    assert len(segments(tmp_path)) == 5


def test_merged_segments_are_bounded_in_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MERGED_ROWS", 9)
    writer = fill(tmp_path, 12)
    before = ids(tmp_path)
    writer.compact(at_least=2)
    assert len(segments(tmp_path)) == 4
    assert ids(tmp_path) == before


@pytest.mark.parametrize("step", range(1, 13))
def test_a_compaction_that_dies_at_any_step_leaves_each_row_exactly_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Fault points: every open for writing, fsync, rename and unlink of a merge of five."""
    writer = fill(tmp_path, 5)
    before = ids(tmp_path)
    counter = [0]
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", dying_at(step, os.fsync, counter))
        patched.setattr(os, "replace", dying_at(step, os.replace, counter))
        patched.setattr(Path, "unlink", dying_at(step, Path.unlink, counter))
        try:
            writer.compact(at_least=2)
        except Crash:
            died = True
        else:
            died = False
    assert died == (counter[0] >= step)
    assert ids(tmp_path) == before
    remove_leftovers(tmp_path)
    remove_superseded(tmp_path)
    assert ids(tmp_path) == before
    SegmentWriter(tmp_path, REJECTED_SCHEMA, 2).compact(at_least=2)
    assert ids(tmp_path) == before


@pytest.mark.parametrize("step", [1, 2, 3])
def test_an_append_that_dies_at_any_step_leaves_its_rows_once_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    writer = fill(tmp_path, 2)
    before = ids(tmp_path)
    counter = [0]
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", dying_at(step, os.fsync, counter))
        patched.setattr(os, "replace", dying_at(step, os.replace, counter))
        with pytest.raises(Crash):
            writer.append([ROW | {"id": "new"}])
    assert ids(tmp_path) in (before, [*before, "new"])
    remove_leftovers(tmp_path)
    assert ids(tmp_path) in (before, [*before, "new"])


def test_a_failed_append_can_be_repeated_without_writing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = fill(tmp_path, 1)
    rows = [ROW | {"id": "new"}]
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", dying_at(1, os.replace, [0]))
        with pytest.raises(Crash):
            writer.append(rows)
    writer.append(rows)
    writer.append(rows)
    assert ids(tmp_path).count("new") == 1


def test_a_segment_that_is_there_already_is_never_overwritten(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    with pytest.raises(StoreError, match="is there already"):
        fill(tmp_path, 1)
