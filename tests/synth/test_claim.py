"""One writer per folder: locks, claims, and the fence against a start presumed dead."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.exceptions import EndpointConnectionError

from synth import lock, store
from synth.claim import LostClaimError
from synth.errors import StoreError
from synth.lock import RunLock, in_use_by
from synth.outbox import CommitBatch
from synth.segments import accepted_schema, all_segments, read_rows
from synth.store import RunFiles, run_files
from synth.writer import RunWriter

SCHEMA = accepted_schema(2, ["voice"])


@pytest.fixture
def files(bucket: str) -> RunFiles:
    """A run folder in a bucket, where no lock helps."""
    files = run_files(bucket)
    store.prepare(files)
    return files


def start(files: RunFiles) -> RunWriter:
    """A start that believes the one before it dead."""
    return RunWriter(files, RunLock(files, "a test", sleep=lambda _: None), SCHEMA)


def batch(name: str) -> CommitBatch:
    return CommitBatch(
        ({"id": name, "topic": "stress", "embedding": [0.0, 1.0]},),
        ({"id": f"{name}-refused", "topic": "stress", "reason": "repetition"},),
    )


def ids(files: RunFiles) -> list[str]:
    rows = [row for part in read_rows(files.accepted, ["id"]) for row in part.to_pylist()]
    return [row["id"] for row in rows]


def test_a_lock_names_its_holder_and_is_free_when_that_process_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_PATIENCE_S", 0.2)
    code = (
        "import sys, time\nfrom synth.lock import RunLock\nfrom synth.store import run_files\n"
        "lock = RunLock(run_files(sys.argv[1]), 'a test')\nprint('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    files = run_files(str(tmp_path))
    assert f"process {holder.pid}" in (in_use_by(files) or "")
    with pytest.raises(StoreError, match=f"in use by a test, process {holder.pid}"):
        RunLock(files, "another")
    holder.kill()
    holder.wait()
    assert in_use_by(files) is None
    RunLock(files, "another").release()


def alive(files: RunFiles, beat: int, status: str = "running") -> None:
    """What a live run does every few seconds."""
    keys = ("run_id", "epoch", "created_at", "timing", "fingerprint")
    state = dict.fromkeys(keys) | {
        "status": status,
        "holder": "a live run",
        "updated_at": f"2020-01-01T00:00:{beat:02d}+00:00",
    }
    store.write_json(files.root, store.MANIFEST, state)


def test_in_a_bucket_a_run_whose_manifest_keeps_changing_keeps_others_out(files: RunFiles) -> None:
    beats = iter(range(1, 60))
    alive(files, 0)
    with pytest.raises(StoreError, match="is in use by a live run"):
        RunLock(files, "another", sleep=lambda _: alive(files, next(beats)))


def test_in_a_bucket_a_run_that_is_silent_is_presumed_dead(files: RunFiles) -> None:
    alive(files, 0)
    waited: list[float] = []
    RunLock(files, "another", sleep=waited.append)
    assert sum(waited) > 15


def test_in_a_bucket_a_run_that_ended_is_not_waited_for(files: RunFiles) -> None:
    alive(files, 0, status="complete")
    waited: list[float] = []
    RunLock(files, "another", sleep=waited.append)
    assert waited == []


def test_every_start_has_an_epoch_of_its_own(files: RunFiles) -> None:
    assert [start(files).epoch for _ in range(3)] == [1, 2, 3]


def test_of_two_that_claim_the_same_epoch_one_is_refused(
    files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(files)
    with monkeypatch.context() as patched:  # the second has not seen the first one's claim yet
        patched.setattr("synth.claim._latest", lambda *_: 0)
        with pytest.raises(StoreError, match="was taken by another run this very moment"):
            start(files)


def test_a_start_that_was_presumed_dead_writes_nothing_more(files: RunFiles) -> None:
    old = start(files)
    old.write(batch("a"))
    new = start(files)
    new.write(batch("b"))
    for attempt in (
        lambda: old.write(batch("c")),
        lambda: old.compact(1),
        lambda: old.write_state({"status": "running"}, {}),
    ):
        with pytest.raises(LostClaimError, match="was taken over by an evenfill run, process"):
            attempt()
    assert ids(files) == ["a", "b"]
    assert store.read_manifest(files) is None


def test_a_store_that_does_not_answer_is_tried_again_without_writing_twice(
    files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = start(files)
    waiting = batch("a")
    (system, _) = files.root.opened  # type: ignore[attr-defined]

    def is_away(*_: object, **__: object) -> None:
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")

    with monkeypatch.context() as patched:
        patched.setattr(system, "pipe_file", is_away)
        with pytest.raises(OSError, match="EndpointConnectionError"):
            writer.write(waiting)
    writer.write(waiting)
    assert ids(files) == ["a"]


class Frozen(RunWriter):
    """A start that is stopped between looking for a later claim and writing."""

    def freeze_during(self, meanwhile: Callable[[], None]) -> None:
        confirm = self._claim.confirm
        looked: list[bool] = []

        def slow() -> None:
            confirm()
            if not looked:
                looked.append(True)
                meanwhile()

        self._claim.confirm = slow  # type: ignore[method-assign]


def test_what_a_frozen_start_writes_too_late_is_acknowledged_to_nobody_and_put_aside(
    files: RunFiles,
) -> None:
    old = Frozen(files, RunLock(files, "a test", sleep=lambda _: None), SCHEMA)
    old.write(batch("a"))
    later: list[RunWriter] = []
    old.freeze_during(lambda: later.append(start(files)))
    with pytest.raises(LostClaimError):
        old.write(batch("late"))
    (new,) = later
    new.write(batch("b"))
    new.sweep()
    assert ids(files) == ["a", "b"]
    assert len((files.strays / "accepted").names()) == 1
    assert len((files.strays / "rejected").names()) == 1


def test_a_late_segment_of_a_start_that_died_at_once_is_put_aside_by_its_successors(
    files: RunFiles,
) -> None:
    old = start(files)
    old.write(batch("a"))
    new = start(files)
    old._accepted.append(batch("late").accepted)  # and dies before it looks again
    assert ids(files) == ["a", "late"]
    new.write(batch("b"))
    new.sweep()
    assert ids(files) == ["a", "b"]
    assert new.strays == ["segment-0001-000001.parquet"]
    third = start(files)
    assert third.strays == []
    assert ids(files) == ["a", "b"]


def test_a_merge_that_a_frozen_start_finishes_late_loses_nothing(files: RunFiles) -> None:
    old = Frozen(files, RunLock(files, "a test", sleep=lambda _: None), SCHEMA)
    for name in "abc":
        old.write(batch(name))
    later: list[RunWriter] = []
    old.freeze_during(lambda: later.append(start(files)))
    old.compact(2)
    (new,) = later
    new.write(batch("d"))
    new.sweep()
    assert ids(files) == ["a", "b", "c", "d"]
    assert len(all_segments(files.accepted)) == 2
    assert new.strays == []
    assert start(files).strays == []
    assert ids(files) == ["a", "b", "c", "d"]


def test_a_bucket_tells_who_is_at_work_there(files: RunFiles) -> None:
    assert in_use_by(files) is None
    alive(files, 0)
    assert in_use_by(files) is None  # silent for years
    state = json.loads(files.root.read(store.MANIFEST))
    state["updated_at"] = lock.datetime.now(lock.UTC).isoformat(timespec="seconds")
    store.write_json(files.root, store.MANIFEST, state)
    assert in_use_by(files) == "a live run"
