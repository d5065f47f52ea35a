"""Things die: what was committed stays, nothing comes twice, and the run goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.actors.test_launch import orphans
from tests.check_folder import digests, problems
from tests.conftest import REPO

SLOW = {"delay_s": 0.4, "too_short": 0.2}
QUICK = {"delay_s": 0.02}


def start(
    folder: Path, script: dict[str, object], *options: str, log: Path | None = None
) -> subprocess.Popen[str]:
    command = [
        sys.executable, "-m", "tests.scripted_run", json.dumps(script), f"out={folder}",
        "targets.policy=uniform", "targets.total=132", "engine.max_num_seqs=8",
        "store.commit_seconds=0.3", *options,
    ]  # fmt: skip
    with open(log or folder.with_suffix(".log"), "a") as output:
        return subprocess.Popen(
            command, cwd=REPO, stdout=output, stderr=output, start_new_session=True
        )


def wait_for_records(folder: Path, run: subprocess.Popen[str], more_than: int = 0) -> None:
    deadline = time.monotonic() + 120
    while len(list((folder / "accepted").glob("segment-*"))) <= more_than:
        assert run.poll() is None, folder.with_suffix(".log").read_text()
        assert time.monotonic() < deadline, folder.with_suffix(".log").read_text()
        time.sleep(0.05)


def finish(
    folder: Path, run: subprocess.Popen[str], earlier: dict[str, str], log: Path | None = None
) -> None:
    code = run.wait(timeout=240)
    assert code == 0, (log or folder.with_suffix(".log")).read_text()
    assert problems(folder, earlier) == []
    assert orphans() == []


def process_named(name: str) -> psutil.Process:
    for process in psutil.process_iter(["cmdline"]):
        if " ".join(process.info["cmdline"] or []).startswith(name):
            return process
    raise AssertionError(f"no process {name}")


def test_a_coordinator_that_is_killed_is_rebuilt_from_the_store(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = start(folder, SLOW)
    wait_for_records(folder, run)
    earlier = digests(folder)
    process_named("ray::CoordinatorActor").send_signal(signal.SIGKILL)
    finish(folder, run, earlier)
    assert json.loads((folder / "run.json").read_text())["epoch"] == 2
    log = folder.with_suffix(".log").read_text()
    assert "Traceback" not in log


def test_a_replica_that_is_killed_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = start(folder, SLOW, "engine.replicas=2")
    wait_for_records(folder, run)
    earlier = digests(folder)
    process_named("ray::ReplicaActor").send_signal(signal.SIGKILL)
    finish(folder, run, earlier)


def test_a_driver_that_is_killed_leaves_no_process_and_a_folder_that_resumes(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    run = start(folder, SLOW)
    wait_for_records(folder, run)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert orphans(within_s=40) == []
    earlier = digests(folder)
    finish(folder, start(folder, QUICK), earlier)


def signalled(tmp_path: Path) -> tuple[Path, subprocess.Popen[str]]:
    """A slow run that has written something and was just sent SIGTERM."""
    folder = tmp_path / "run"
    run = start(folder, {"delay_s": 2.0})
    wait_for_records(folder, run)
    run.terminate()
    return folder, run


def test_a_signal_books_what_is_in_flight_and_the_run_can_be_resumed(tmp_path: Path) -> None:
    folder, run = signalled(tmp_path)
    assert run.wait(timeout=60) == 130
    report = json.loads((folder / "report.json").read_text())
    assert report["status"] == "interrupted"
    assert report["rejected_by_reason"]["interrupted"] > 0
    assert orphans() == []
    earlier = digests(folder)
    assert report["accepted"] == len(earlier) < 132
    finish(folder, start(folder, QUICK), earlier)


def test_a_second_signal_leaves_at_once_and_harms_nothing(tmp_path: Path) -> None:
    folder, run = signalled(tmp_path)
    time.sleep(0.5)
    run.send_signal(signal.SIGINT)
    assert run.wait(timeout=20) == 130
    assert orphans(within_s=40) == []
    earlier = digests(folder)
    finish(folder, start(folder, QUICK), earlier)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of half a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "evenfill-test", disk], check=False
    ).returncode:
        pytest.skip("this user may not mount a disk")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_ends_the_run_with_what_is_committed_and_it_goes_on_with_a_larger_one(
    small_disk: Path,
) -> None:
    folder = small_disk / "run"
    log = small_disk.with_suffix(".log")
    options = ["targets.total=330", "store.retry=2s"]
    run = start(folder, QUICK, *options, log=log)
    assert run.wait(timeout=240) == 1, log.read_text()
    assert "the store cannot be written to" in log.read_text()
    assert "No space left on device" in log.read_text()
    earlier = digests(folder)
    assert 0 < len(earlier) < 330
    assert problems(folder, earlier, complete=False) == []
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    finish(folder, start(folder, QUICK, *options, log=log), earlier, log=log)


def test_a_coordinator_that_dies_leaves_its_events_and_its_successor_says_so(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    started = start(folder, SLOW)
    wait_for_records(folder, started)
    written = folder / "events" / "0001-000000.jsonl"
    deadline = time.monotonic() + 60
    while "committed" not in written.read_text():  # the next refresh
        assert time.monotonic() < deadline
        time.sleep(0.1)
    earlier = written.read_text()
    process_named("ray::CoordinatorActor").kill()
    finish(folder, started, {})
    assert written.read_text().startswith(earlier)
    second = (folder / "events" / "0002-000000.jsonl").read_text().splitlines()
    assert json.loads(second[0])["event"] == "coordinator_restarted"
    assert json.loads(second[-1])["event"] == "run_ended"
