"""The run folder: durable segments, one writer, and nothing foreign taken for its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from synth import store
from synth.errors import StoreError
from synth.store import REJECTED_SCHEMA, RunLock, SegmentWriter, read_rows, run_files, segments

ROW = {"id": "a", "topic": "stress", "reason": "repetition", "text": "x"}


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


def test_a_write_that_dies_before_the_rename_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    store.write_durably(path, b"old")

    def dies(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(OSError, match="no space"):
        store.write_durably(path, b"new")
    assert path.read_bytes() == b"old"


def test_the_leftover_of_a_killed_writer_is_no_segment_and_is_removed(tmp_path: Path) -> None:
    SegmentWriter(tmp_path, REJECTED_SCHEMA, 1).append([ROW])
    leftover = tmp_path / ".segment-0001-000001.parquet.tmp"
    leftover.write_bytes(b"half")
    assert len(segments(tmp_path)) == 1
    store.remove_leftovers(tmp_path)
    assert not leftover.exists()


def test_a_foreign_file_among_the_segments_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.parquet").write_bytes(b"x")
    with pytest.raises(StoreError, match=r"mine.parquet: is not a segment"):
        segments(tmp_path)


def test_a_torn_segment_is_named_and_kept(tmp_path: Path) -> None:
    SegmentWriter(tmp_path, REJECTED_SCHEMA, 1).append([ROW])
    (path,) = segments(tmp_path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(StoreError, match=r"segment-0001-000000.parquet: cannot be read"):
        list(read_rows(tmp_path, ["id"]))
    assert path.exists()


def test_a_segment_holds_the_columns_of_the_interface(tmp_path: Path) -> None:
    schema = store.accepted_schema(4, ["voice"])
    expected = (
        "id topic facets question answer model seed lease nearest_id nearest_similarity scores "
        "embedding created_at"
    ).split()
    assert schema.names[: len(expected)] == expected
    SegmentWriter(tmp_path, schema, 1).append([{"id": "a", "embedding": [0.0] * 4}])
    (path,) = segments(tmp_path)
    assert pq.read_table(path).schema.equals(schema)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("x")
    with pytest.raises(StoreError, match=r"is not a run folder; it holds 'thesis.docx'"):
        store.prepare(run_files(str(tmp_path)))


def test_a_folder_that_cannot_be_made_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="is a file"):
        run_files(str(tmp_path / "file"))
    with pytest.raises(StoreError, match="cannot be written"):
        store.prepare(run_files("/proc/nowhere"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_one_message(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="cannot be written"):
        store.prepare(run_files(str(tmp_path / "run")))


def test_a_folder_in_use_names_its_holder_and_is_free_when_that_process_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_LOCK_PATIENCE_S", 0.2)
    code = (
        "import sys, time\nfrom synth.store import RunLock, run_files\n"
        "lock = RunLock(run_files(sys.argv[1]), 'a test')\nprint('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    files = run_files(str(tmp_path))
    assert f"process {holder.pid}" in (store.in_use_by(files) or "")
    with pytest.raises(StoreError, match=f"in use by a test, process {holder.pid}"):
        RunLock(files, "another")
    holder.kill()
    holder.wait()
    assert store.in_use_by(files) is None
    RunLock(files, "another").release()


def test_json_that_no_run_wrote_is_one_message(tmp_path: Path) -> None:
    files = run_files(str(tmp_path))
    assert store.read_manifest(files) is None
    files.manifest.write_text("{")
    with pytest.raises(StoreError, match=r"run.json: cannot be read"):
        store.read_manifest(files)
    files.manifest.write_text("[]")
    with pytest.raises(StoreError, match=r"run.json: is not a JSON object"):
        store.read_manifest(files)
