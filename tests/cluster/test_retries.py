"""What becomes of a run's exit code: resumed where that helps, and nowhere else."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPO

SLURM = REPO / "cluster" / "slurm.sh"
DONE, FAILED, WRONG_INPUT, UNMET, INTERRUPTED = 0, 1, 2, 3, 130


@pytest.fixture
def stubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder at the head of PATH whose commands note how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    for name in ("ray", "srun", "scontrol"):
        stub(folder, name, "exit 0")
    return folder


def stub(folder: Path, name: str, does: str) -> None:
    path = folder / name
    path.write_text(f'#!/bin/bash\necho "$@" >> {folder.parent}/{name}.called\n{does}\n')
    path.chmod(0o755)


def calls(stubs: Path, name: str) -> list[str]:
    path = stubs.parent / f"{name}.called"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("code", [DONE, FAILED, WRONG_INPUT, UNMET, INTERRUPTED])
def test_the_ray_job_ends_as_stopped_where_another_cluster_would_change_nothing(
    stubs: Path, code: int
) -> None:
    stub(stubs, "evenfill", f"exit {code}")
    job = yaml.safe_load((REPO / "cluster" / "rayjob.yaml").read_text())
    ended = subprocess.run(["sh", "-c", job["spec"]["entrypoint"]], check=False)
    assert ended.returncode == code
    assert calls(stubs, "ray") == (["job stop evenfill"] if code in (WRONG_INPUT, UNMET) else [])


def start_batch(restarts: int) -> subprocess.Popen[bytes]:
    environment = {
        "SLURM_JOB_ID": "17",
        "SLURM_CPUS_PER_TASK": "2",
        "SLURM_RESTART_COUNT": str(restarts),
        "SLURMD_NODENAME": "node0",
    }
    command = ["bash", str(SLURM), "--out", "s3://my-bucket/runs/first"]
    return subprocess.Popen(command, env=os.environ | environment)


@pytest.mark.parametrize(
    ("code", "restarts", "again"),
    [
        (DONE, 0, False),
        (WRONG_INPUT, 0, False),
        (UNMET, 0, False),
        (INTERRUPTED, 0, False),
        (FAILED, 0, True),
        (FAILED, 4, True),
        (FAILED, 5, False),
        (137, 0, True),
    ],
)
def test_slurm_starts_a_run_again_after_a_failure_and_not_for_ever(
    stubs: Path, code: int, restarts: int, again: bool
) -> None:
    stub(stubs, "evenfill", f"exit {code}")
    assert start_batch(restarts).wait(timeout=60) == code
    assert calls(stubs, "evenfill") == ["run --address node0:6379 --out s3://my-bucket/runs/first"]
    assert calls(stubs, "scontrol") == (["requeue 17"] if again else [])


@pytest.mark.parametrize(
    ("number", "again"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)], ids=["time", "scancel"]
)
def test_slurm_books_what_is_in_flight_and_goes_on_after_the_time_limit_only(
    stubs: Path, number: signal.Signals, again: bool
) -> None:
    up = stubs.parent / "up"
    drains = f"trap 'sleep 0.5; exit {INTERRUPTED}' TERM; touch {up}; sleep 60 & wait"
    stub(stubs, "evenfill", drains)
    batch = start_batch(restarts=9)
    deadline = time.monotonic() + 60
    while not up.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    batch.send_signal(number)
    assert batch.wait(timeout=60) == INTERRUPTED
    assert calls(stubs, "scontrol") == (["requeue 17"] if again else [])


def test_slurm_reads_the_script_s_options() -> None:
    assert subprocess.run(["bash", "-n", SLURM], check=False).returncode == 0
    lines = SLURM.read_text().splitlines()
    options = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")]
    given = dict(option.removeprefix("--").partition("=")[::2] for option in options)
    assert all(re.fullmatch(r"--[a-z-]+(=\S+)?", option) for option in options)
    # The first command ends what sbatch reads.
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    assert all("#SBATCH" not in line for line in lines[first_command:])
    assert given["ntasks-per-node"] == "1"
    assert {"requeue", "exclusive", "time", "nodes"} <= given.keys()
    assert given["signal"].startswith("B:USR1@")
    assert "USR1" in SLURM.read_text().partition("trap")[2]
