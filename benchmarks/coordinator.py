"""When is one coordinator full?

    evenfill bench coordinator --replicas 10,100,1000,4000 --json

The product's coordinator actor, on Ray and with its store on disk, called by simulated replicas:
asyncio tasks in a few Ray actors, without engines, with scripted texts and random unit vectors.
Service times are an engine's, so few replicas load the coordinator lightly and many saturate it;
`busy` tells which. A candidate is a question that a replica sends, refused by its gates or not.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Figures, command_line, show, stamped, whole_numbers
from synth.config import load_config
from synth.plan import make_plan

_REPLICAS = (10, 100, 1000, 4000)
_DIM = 384  # of the built-in embedder
_TARGET = 20_000_000  # no topic fills
# About what one H100 makes of a model of 8 billion parameters: 5,000 tokens/s, of which a
# record of 300 tokens takes 500 with what is refused.
_RECORDS_PER_GPU_S = 10.0


@dataclass(frozen=True)
class Trial:
    """How long to look, and what the simulated replicas do; see `benchmarks.load.Load`."""

    drivers: int = 2
    warm_up_s: float = 20.0  # a record takes 10 s, and more when the coordinator is full
    seconds: float = 10.0
    sequences: int = 64
    question_s: float = 2.0
    answer_s: float = 6.0
    jitter: float = 0.3
    refused: float = 0.25
    copies: float = 0.25

    @property
    def good(self) -> float:
        """Share of the candidates that become records."""
        return (1 - self.refused) * (1 - self.copies)


def measure(trial: Trial, replicas: Sequence[int], records_per_gpu_s: float) -> list[Figures]:
    """One row for each number of replicas, each with a coordinator and a store of its own."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    ray.init(
        address="local",
        num_cpus=trial.drivers,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        return [_measure_one(trial, number, records_per_gpu_s) for number in replicas]
    finally:
        ray.shutdown()


def _measure_one(trial: Trial, replicas: int, records_per_gpu_s: float) -> Figures:
    import ray

    from actors.coordinator import MAX_CONCURRENCY
    from benchmarks.load import ClockedCoordinator, Driver, Load

    settings = {key: value for key, value in asdict(trial).items() if key in Load.__annotations__}
    load = Load(**settings, dim=_DIM)
    with tempfile.TemporaryDirectory() as scratch:
        # Random vectors are about no topic: let each pass for the one that it was asked for.
        options = [f"out={scratch}/run", f"targets.total={_TARGET}", "topic_gate.min_score=-1"]
        config = load_config(None, [*options, "topic_gate.margin=1"])
        coordinator = (
            ray.remote(ClockedCoordinator)
            .options(num_cpus=0, max_concurrency=MAX_CONCURRENCY)
            .remote(False, pickle.dumps(make_plan(config, Path())))
        )
        ray.get(coordinator.open.remote())
        bounds = np.linspace(0, replicas, min(trial.drivers, replicas) + 1).astype(int).tolist()
        drivers = [
            ray.remote(Driver).options(num_cpus=0).remote(coordinator, load, low, high - low)
            for low, high in pairwise(bounds)
        ]
        ray.get([driver.ready.remote() for driver in drivers])
        pending = [driver.run.remote(trial.warm_up_s, trial.seconds) for driver in drivers]
        time.sleep(trial.warm_up_s)
        before = ray.get(coordinator.usage.remote())
        time.sleep(trial.seconds)
        after = ray.get(coordinator.usage.remote())
        waits = ray.get(pending)
        for actor in (*drivers, coordinator):
            ray.kill(actor)
    return _row(replicas, before, after, waits, trial.good / records_per_gpu_s)


def _row(
    replicas: int, before: Any, after: Any, waits: Sequence[Any], gpus_per_candidate: float
) -> Figures:
    """What happened between two looks; `gpus_per_candidate` are those that make one a second."""
    seconds, cpu_s = after.at - before.at, after.cpu_s - before.cpu_s
    candidates = max(1, after.candidates - before.candidates)
    calls = max(1, after.calls - before.calls)
    records = after.accepted - before.accepted
    spent = {part: after.clocked_s[part] - before.clocked_s[part] for part in after.clocked_s}
    own_s = cpu_s - spent["index"]
    per_candidate = {
        "own": own_s,
        "index": spent["index"],
        "labeller": spent["labeller"],
        "rest_of_logic": spent["logic"] - spent["index"] - spent["labeller"],
        "store": spent["store"],
        "ray_and_loop": cpu_s - spent["logic"] - spent["store"],
    }
    lease_s = np.array([s for wait in waits for s in wait.lease] or [np.nan])
    reserve_s = np.array([s for wait in waits for s in wait.reserve] or [np.nan])
    return {
        "replicas": replicas,
        "candidates_per_s": round(candidates / seconds, 1),
        "records_per_s": round(records / seconds, 1),
        "busy": round(cpu_s / seconds, 3),
        "candidates_per_call": round(candidates / calls, 3),
        "cpu_ms_per_call": round(1000 * own_s / calls, 3),
        **{f"{k}_cpu_ms": round(1000 * v / candidates, 4) for k, v in per_candidate.items()},
        "lease_p50_ms": round(1000 * float(np.percentile(lease_s, 50)), 1),
        "lease_p99_ms": round(1000 * float(np.percentile(lease_s, 99)), 1),
        "reserve_p50_ms": round(1000 * float(np.percentile(reserve_s, 50)), 1),
        "reserve_p99_ms": round(1000 * float(np.percentile(reserve_s, 99)), 1),
        "memory_mib": after.rss >> 20,
        "full_at_candidates_per_s": round(candidates / own_s, 1),
        "full_at_gpus": round(gpus_per_candidate * candidates / own_s, 1),
        "full_at_gpus_with_index": round(gpus_per_candidate * candidates / cpu_s, 1),
    }


def main(arguments: Sequence[str]) -> None:
    """Run from the command line."""
    base = Trial()
    parser = command_line("coordinator", "When is one coordinator full?")
    parser.add_argument("--replicas", type=whole_numbers, default=_REPLICAS, metavar="N,...")
    parser.add_argument(
        "--records-per-gpu-s",
        type=float,
        default=_RECORDS_PER_GPU_S,
        help="what one GPU makes (default: %(default)s, a model of 8 billion parameters)",
    )
    for key, value in asdict(base).items():
        parser.add_argument(f"--{key.replace('_', '-')}", type=type(value), default=value)
    options = parser.parse_args(arguments)
    trial = Trial(**{key: getattr(options, key) for key in asdict(base)})
    rows = measure(trial, options.replicas, options.records_per_gpu_s)
    figures = {
        "setting": asdict(trial),
        "records_per_gpu_s": options.records_per_gpu_s,
        "candidates_per_s_at_most": max(row["candidates_per_s"] for row in rows),
        "runs": rows,
    }
    lines = [
        "CPU in ms for each candidate; own: all but the index. busy: cores in use",
        f"full: at one core; a GPU makes {options.records_per_gpu_s:g} records/s",
    ]
    show(stamped("coordinator", arguments, figures), options.json, rows, lines)


if __name__ == "__main__":
    main(sys.argv[1:])
