"""How close does a whole run come to the engine that it hosts?

    evenfill bench saturation --replicas 1,2 --json

A run, with gates, index and store, against offline `LLM.chat` on the run's own requests: the same
prompts, schema, sampling, seeds and engine settings, on as many engines, each on its slice of the
cores. Both in turn, `--rounds` times. `LLM.chat` knows every request from the start; a run has to
make the questions first, and ends in a tail.

The run's seconds begin when its first engine is up and end when the folder is closed.
`steady_ratio` leaves out its start and its tail: the rate between the first fifth of its tokens
and the last. `steady_in_flight` are the requests that an engine had meanwhile, on average: below
`engine.max_num_seqs` it was not full.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from actors.placement import Node, place_replicas
from actors.replica import own_cores
from benchmarks.common import Figures, command_line, positive, show, stamped, whole_numbers
from benchmarks.offline import Job, side_by_side
from benchmarks.recording import Request, recorded_run, write_requests
from synth.config import RunConfig, load_config
from synth.protocol import Reason

_RECORDS = 330
_ROUNDS = 3
_STEADY = (0.2, 0.8)  # shares of the run's tokens


def measure(replicas: int, rounds: int, options: Sequence[str]) -> Figures:
    """Both, in turn; the ratio is the median of the rounds' ratios."""
    results = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            config = load_config(
                None, [*options, f"engine.replicas={replicas}", f"out={folder / 'run'}"]
            )
            results.append(_round(config, folder))
    ratios = [one["ratio"] for one in results]
    return {
        "replicas": replicas,
        "ratio": round(statistics.median(ratios), 3),
        "ratios": ratios,
        **{
            key: round(statistics.median(one[key] for one in results), 3)
            for key in results[0]
            if key != "ratio"
        },
    }


def _round(config: RunConfig, folder: Path) -> Figures:
    """One run, then the same requests offline."""
    logs = recorded_run(config, folder)
    report = json.loads((folder / "run" / "report.json").read_text())
    requests = [request for log in logs for request in log]
    completion = sum(request.completion for request in requests)
    seconds = report["timing"]["generate_s"]
    raw = side_by_side(_jobs(config, logs, folder), folder)
    run_rate = completion / seconds
    raw_rate = sum(result.completion for result in raw) / max(result.seconds for result in raw)
    ends = sorted((request.ended, request.completion) for request in requests)
    begin, end = (_reached(ends, share * completion) for share in _STEADY)
    steady_rate = (_STEADY[1] - _STEADY[0]) * completion / (end - begin)
    return {
        "ratio": round(run_rate / raw_rate, 3),
        "steady_ratio": round(steady_rate / raw_rate, 3),
        "run_tokens_per_s": round(run_rate, 1),
        "raw_tokens_per_s": round(raw_rate, 1),
        "run_s": round(seconds, 1),
        "raw_s": round(max(result.seconds for result in raw), 1),
        "last_5_percent_s": round(ends[-1][0] - _reached(ends, 0.95 * completion), 1),
        "steady_in_flight": round(_in_flight(requests, begin, end) / len(logs), 1),
        "requests": len(requests),
        "accepted": report["accepted"],
        "refused": report["rejected"],
        "unneeded": report["rejected_by_reason"].get(Reason.TOPIC_FULL, 0),
        "run_cache_hits": _hits(requests),
        "raw_cache_hits": round(sum(r.cached for r in raw) / sum(r.prompt for r in raw), 3),
        "first_record_s": report["timing"]["first_record_s"],
        "engine_start_s": report["timing"]["engine_start_s"],
    }


def _hits(requests: Sequence[Request]) -> float:
    """Share of the prompts' tokens that came from the prefix cache, as the engine counts."""
    prompts = sum(request.prompt for request in requests if request.completion)
    return round(sum(request.cached for request in requests) / prompts, 3)


def _in_flight(requests: Sequence[Request], begin: float, end: float) -> float:
    """How many requests the engines had in hand between two moments, on average."""
    inside = (min(end, each.ended) - max(begin, each.started) for each in requests)
    return sum(seconds for seconds in inside if seconds > 0) / (end - begin)


def _reached(ends: Sequence[tuple[float, int]], tokens: float) -> float:
    """When so many tokens were written."""
    so_far = 0
    for ended, completion in ends:
        so_far += completion
        if so_far >= tokens:
            return ended
    return ends[-1][0]


def _jobs(config: RunConfig, logs: Sequence[list[Request]], folder: Path) -> list[Job]:
    """One for each engine of the run, with what that engine was asked and finished."""
    node = Node("here", len(os.sched_getaffinity(0)), _gpus())
    places = place_replicas(config.engine, [node])
    jobs = []
    for number, (place, log) in enumerate(zip(places, logs, strict=True)):
        path = folder / f"asked-{number}.jsonl"
        write_requests(path, [request for request in log if request.completion])
        cores = own_cores(sorted(os.sched_getaffinity(0)), place.slice_of_cores)
        jobs.append(Job(config.model_dump(mode="json"), str(path), cores))
    return jobs


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def main(arguments: Sequence[str]) -> None:
    """Run from the command line."""
    parser = command_line("saturation", "A run against offline LLM.chat on its own requests")
    parser.add_argument("--replicas", type=whole_numbers, default=(1, 2), metavar="N,...")
    parser.add_argument("--records", type=positive, default=_RECORDS)
    parser.add_argument("--rounds", type=positive, default=_ROUNDS)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="keys")
    options = parser.parse_args(arguments)
    keys = [f"targets.total={options.records}", "targets.policy=uniform", *options.keys]
    rows = [measure(count, options.rounds, keys) for count in options.replicas]
    figures = {key: rows[0][key] for key in ("ratio", "run_tokens_per_s", "raw_tokens_per_s")}
    result = stamped("saturation", arguments, {**figures, "runs": rows})
    show(result, options.json, rows, ["ratio: run over LLM.chat, median of the rounds"])


if __name__ == "__main__":
    main(sys.argv[1:])
