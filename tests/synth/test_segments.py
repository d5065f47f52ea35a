"""Segments: durable, in order, and each row once, whenever a writer or a compaction dies."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from synth import segments as module
from synth.errors import StoreError
from synth.files import Folder, LocalFolder, ObjectFolder, open_folder
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


class Crash(BaseException):
    """The process dies here."""


@pytest.fixture(params=["disk", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """An empty folder on a disk, and one in a bucket of a real S3 server."""
    if request.param == "disk":
        return LocalFolder(tmp_path)
    return open_folder(request.getfixturevalue("bucket"))


def fill(folder: Folder, commits: int, epoch: int = 1) -> SegmentWriter:
    writer = SegmentWriter(folder, REJECTED_SCHEMA, epoch)
    for number in range(commits):
        writer.append([ROW | {"id": f"{epoch}-{number}-{row}"} for row in range(3)])
    return writer


def ids(folder: Folder) -> list[str]:
    return [row["id"] for batch in read_rows(folder, ["id"]) for row in batch.to_pylist()]


def restart(folder: Folder) -> None:
    """What the next start does before it reads."""
    folder.make()
    remove_superseded(folder)


class Fuse:
    """Lets the process die at its `step`th fault point: before and after each thing that it does
    to the store.
    """

    def __init__(self, step: int, folder: Folder, patched: pytest.MonkeyPatch):
        self.step = step
        self.passed = 0
        if isinstance(folder, ObjectFolder):
            (system, _) = folder.opened
            places = [(system, name) for name in ("pipe_file", "put_file", "rm_file")]
        else:
            places = [(os, "fsync"), (os, "replace"), (Path, "unlink")]
        for owner, name in places:
            patched.setattr(owner, name, self._around(getattr(owner, name)))

    def _around(self, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            self._point()
            result = real(*arguments, **options)
            self._point()
            return result

        return call

    def _point(self) -> None:
        self.passed += 1
        if self.passed == self.step:
            raise Crash


def deaths(folder: Folder, act: Callable[[Folder], object], commits: int) -> Iterator[Folder]:
    """A folder of `commits` segments for each fault point of `act`, after dying there."""
    for step in itertools.count(1):
        here = folder / f"step-{step}"
        here.make()
        fill(here, commits)
        with pytest.MonkeyPatch.context() as patched:
            fuse = Fuse(step, here, patched)
            try:
                act(here)
            except Crash:
                pass
            else:
                assert fuse.passed == step - 1
                assert step > 2, "nothing was done to the store"
                return
        yield here


def test_segments_come_back_in_the_order_in_which_they_were_written(folder: Folder) -> None:
    for epoch in (1, 2):
        writer = SegmentWriter(folder, REJECTED_SCHEMA, epoch)
        for number in range(3):
            writer.append([ROW | {"id": f"{epoch}-{number}"}])
    found = [row for batch in read_rows(folder, ["id"]) for row in batch.to_pylist()]
    assert [row["id"] for row in found] == ["1-0", "1-1", "1-2", "2-0", "2-1", "2-2"]


def test_an_empty_batch_writes_no_segment(folder: Folder) -> None:
    SegmentWriter(folder, REJECTED_SCHEMA, 1).append([])
    assert segments(folder) == []


def test_the_leftover_of_a_killed_writer_is_no_segment_and_is_removed(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    SegmentWriter(folder, REJECTED_SCHEMA, 1).append([ROW])
    leftover = tmp_path / ".segment-0001-000001.parquet.tmp"
    leftover.write_bytes(b"half")
    assert len(segments(folder)) == 1
    folder.make()
    assert not leftover.exists()


def test_a_foreign_file_among_the_segments_is_named(folder: Folder) -> None:
    folder.write("mine.parquet", b"x")
    with pytest.raises(StoreError, match=r"mine.parquet: is not a segment"):
        segments(folder)


def test_a_torn_or_altered_segment_is_named_and_kept(folder: Folder) -> None:
    SegmentWriter(folder, REJECTED_SCHEMA, 1).append([ROW])
    (name,) = folder.names()
    whole = folder.read(name)
    flipped = whole.replace(b"repetition", b"repetitiom")
    assert flipped != whole
    for damaged in (b"", whole[:50], whole[:-1], flipped):
        folder.write(name, damaged)
        with pytest.raises(StoreError, match=rf"{name}: is damaged .* Restore this segment"):
            list(read_rows(folder, REJECTED_SCHEMA.names))
        assert folder.read(name) == damaged


def test_a_segment_holds_the_columns_of_the_interface(folder: Folder) -> None:
    schema = accepted_schema(4, ["voice"])
    expected = (
        "id topic facets question answer model seed lease nearest_id nearest_similarity scores "
        "embedding created_at"
    ).split()
    assert schema.names[: len(expected)] == expected
    SegmentWriter(folder, schema, 1).append([{"id": "a", "embedding": [0.0] * 4}])
    (name,) = folder.names()
    assert pq.read_table(folder.source(name)).schema.equals(schema)


def test_compaction_keeps_every_row_in_its_order(folder: Folder) -> None:
    fill(folder, 5, epoch=1)
    writer = fill(folder, 5, epoch=2)
    before = ids(folder)
    writer.compact(at_least=2)
    assert ids(folder) == before
    (only,) = segments(folder)
    assert only.name == "segment-0001-000000--0002-000004.parquet"
    assert pq.read_schema(folder.source(only.name)).equals(REJECTED_SCHEMA)
    assert last_epoch(folder) == 2
    writer.append([ROW | {"id": "later"}])
    assert ids(folder) == [*before, "later"]


def test_compaction_waits_until_there_is_enough(folder: Folder) -> None:
    fill(folder, 5).compact(at_least=6)
    assert len(segments(folder)) == 5


def test_merged_segments_are_bounded_in_rows(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MERGED_ROWS", 9)
    writer = fill(folder, 12)
    before = ids(folder)
    writer.compact(at_least=2)
    assert len(segments(folder)) == 4
    assert ids(folder) == before


def test_a_compaction_that_dies_at_any_step_leaves_each_row_exactly_once(folder: Folder) -> None:
    before = [f"1-{commit}-{row}" for commit in range(5) for row in range(3)]

    def compact(here: Folder) -> None:
        SegmentWriter(here, REJECTED_SCHEMA, 2).compact(at_least=2)

    for died in deaths(folder, compact, commits=5):
        assert ids(died) == before
        restart(died)
        assert ids(died) == before
        compact(died)
        assert ids(died) == before
        assert len(died.names()) == 1


def test_an_append_that_dies_at_any_step_leaves_its_rows_once_or_not_at_all(
    folder: Folder,
) -> None:
    before = [f"1-{commit}-{row}" for commit in range(2) for row in range(3)]
    outcomes = []

    def append(here: Folder) -> None:
        SegmentWriter(here, REJECTED_SCHEMA, 2).append([ROW | {"id": "new"}])

    for died in deaths(folder, append, commits=2):
        outcomes.append(ids(died))
        restart(died)
        assert ids(died) == outcomes[-1]
    assert outcomes[0] == before
    assert outcomes[-1] == [*before, "new"]
    assert all(found in (before, [*before, "new"]) for found in outcomes)


def test_an_append_that_failed_at_any_step_can_be_repeated_without_writing_twice(
    folder: Folder,
) -> None:
    rows = [ROW | {"id": "new"}]
    writers: list[SegmentWriter] = []

    def append(here: Folder) -> None:
        writers.append(SegmentWriter(here, REJECTED_SCHEMA, 2))
        writers[-1].append(rows)

    for failed in deaths(folder, append, commits=1):
        writers[-1].append(rows)
        writers[-1].append(rows)
        assert ids(failed).count("new") == 1


def test_a_segment_that_is_there_already_is_never_overwritten(folder: Folder) -> None:
    fill(folder, 1)
    other = SegmentWriter(folder, REJECTED_SCHEMA, 1)
    with pytest.raises(StoreError, match="is there already"):
        other.append([ROW | {"id": "another"}])
    assert "another" not in ids(folder)
