"""Kill parts of a run at random moments until it is complete; then check what it left.

    python -m benchmarks.chaos --runs 10 --kills 5 --seed 1
    python -m benchmarks.chaos --runs 1 --kills 5 --seed 1 --engine vllm

Each run is a real Ray cluster of a head and a worker node on this machine, with a scripted
engine or with vLLM. Victims: a replica, the coordinator, the driver, the worker node's raylet,
and vLLM's engine core. After each run the folder must keep every promise that
`tests/check_folder.py` knows of, every record that was ever durable among them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.check_folder import digests, problems

REPO = Path(__file__).parent.parent
SCRIPT = {"delay_s": 0.5, "too_short": 0.2}
PROCESSES = {  # how the command lines of victims begin
    "replica": "ray::ReplicaActor",
    "coordinator": "ray::CoordinatorActor",
    "engine core": "VLLM::EngineCore",
}


@dataclass(frozen=True)
class Setting:
    """What differs between a run with a scripted engine and one with vLLM.

    Attributes:
        records: target of the run.
        pause_s: least and most seconds between two kills.
    """

    command: tuple[str, ...]
    victims: tuple[str, ...]
    records: int
    pause_s: tuple[float, float]


ANYWHERE = ("replica", "coordinator", "driver", "raylet")
SETTINGS = {
    "scripted": Setting(("tests.scripted_run", json.dumps(SCRIPT)), ANYWHERE, 330, (6, 16)),
    "vllm": Setting(("tests.scripted_run", "null"), (*ANYWHERE, "engine core"), 66, (40, 90)),
}


class Ordeal:
    """One run, the cluster that it runs on, and what was killed of it."""

    def __init__(self, folder: Path, setting: Setting, rng: random.Random):
        from ray.cluster_utils import Cluster

        self.folder = folder
        self.setting = setting
        self.rng = rng
        self._next: list[str] = []
        self.killed: list[str] = []
        self.starts = 0
        self.earlier: dict[str, str] = {}
        self._log = open(folder.with_suffix(".log"), "a")  # noqa: SIM115 - for the ordeal's life
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        self._worker = self._cluster.add_node(num_cpus=1)
        self._driver: subprocess.Popen[bytes] | None = None

    def run(self, kills: int) -> None:
        """Start, kill `kills` times, and start again until the run is complete."""
        while True:
            if self._driver is None or self._driver.poll() is not None:
                if self._driver is not None and self._driver.returncode == 0:
                    return
                self._start()
            if len(self.killed) < kills:
                self._watch(self.rng.uniform(*self.setting.pause_s))
                if self._driver is not None and self._driver.poll() is None:
                    self._kill(self._victim())
            else:
                self._watch(1.0)

    def close(self) -> None:
        self._cluster.shutdown()
        self._log.close()

    def _start(self) -> None:
        self.starts += 1
        options = [
            f"out={self.folder}", "targets.policy=uniform",
            f"targets.total={self.setting.records}",
            "engine.replicas=2", "engine.max_num_seqs=8", "store.commit_seconds=0.3",
            "engine.max_restarts=20", "lease.timeout=20s",
        ]  # fmt: skip
        self._driver = subprocess.Popen(
            [sys.executable, "-m", *self.setting.command, *options],
            cwd=REPO,
            env=os.environ | {"EVENFILL_TEST_ADDRESS": self._cluster.address},
            stdout=self._log,
            stderr=self._log,
        )

    def _watch(self, seconds: float) -> None:
        """Wait, remembering every record that becomes durable meanwhile."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(FileNotFoundError):  # merged into another segment while we read
                self.earlier |= digests(self.folder)
            if self._driver is not None and self._driver.poll() is not None:
                return
            time.sleep(0.5)

    def _victim(self) -> str:
        """Each kind comes up once before any comes up again."""
        if not self._next:
            self._next = self.rng.sample(self.setting.victims, len(self.setting.victims))
        return self._next.pop()

    def _kill(self, victim: str) -> None:
        if victim == "driver" and self._driver is not None:
            self._driver.kill()
            self._driver.wait()
        elif victim == "raylet":
            self._cluster.remove_node(self._worker, allow_graceful=False)
            self._worker = self._cluster.add_node(num_cpus=1)
        else:
            found = [p for p in psutil.process_iter(["cmdline"]) if _is(p, PROCESSES[victim])]
            if not found:
                return
            self.rng.choice(found).send_signal(signal.SIGKILL)
        self.killed.append(victim)


def _is(process: psutil.Process, name: str) -> bool:
    return " ".join(process.info["cmdline"] or []).startswith(name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=list(SETTINGS), default="scripted")
    options = parser.parse_args()
    broken = 0
    for number in range(options.runs):
        seed = options.seed + number
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "run"
            started = time.monotonic()
            ordeal = Ordeal(folder, SETTINGS[options.engine], random.Random(seed))
            try:
                ordeal.run(options.kills)
                found = problems(folder, ordeal.earlier)
            finally:
                ordeal.close()
            if found:
                broken += 1
                print((folder.with_suffix(".log")).read_text()[-4000:], file=sys.stderr)
            line: dict[str, Any] = {
                "seed": seed,
                "killed": ordeal.killed,
                "starts": ordeal.starts,
                "epoch": json.loads((folder / "run.json").read_text())["epoch"],
                "seen_durable": len(ordeal.earlier),
                "seconds": round(time.monotonic() - started),
                "problems": found,
            }
            print(json.dumps(line), flush=True)
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
