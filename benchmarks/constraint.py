"""What does it cost to hold texts to their schema, and what does it bring?

    evenfill bench constraint --json

One short run makes the requests. Then offline `LLM.chat` writes them again under each of the
backends for structured output, and without any constraint, in turn, `--rounds` times. A text is
valid if the parser of a run takes it: JSON of the schema, whole, with its words in the bounds.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from benchmarks.common import Figures, command_line, positive, show, stamped
from benchmarks.offline import Job, Result, side_by_side
from benchmarks.recording import Request, recorded_run, write_requests
from synth.config import EngineConfig, RunConfig, load_config
from synth.gates import Stage
from synth.records import TextParser

_BACKENDS = get_args(EngineConfig.model_fields["structured_output"].annotation)
_NONE = "none"
_RECORDS = 66
_ROUNDS = 3


def measure(rounds: int, options: Sequence[str]) -> list[Figures]:
    """One row for each backend; rates are medians, shares are of all rounds together."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = load_config(None, [*options, "engine.replicas=1", f"out={folder / 'run'}"])
        (log,) = recorded_run(config, folder)
        requests = [request for request in log if request.completion]
        write_requests(folder / "asked.jsonl", requests)
        results: dict[str, list[Result]] = {name: [] for name in (*_BACKENDS, _NONE)}
        for _ in range(rounds):
            for name, ended in results.items():
                ended += side_by_side([_job(config, name, folder)], folder)
    return [_row(name, ended, requests, config) for name, ended in results.items()]


def _job(config: RunConfig, name: str, folder: Path) -> Job:
    constrained = name != _NONE
    if constrained:
        engine = config.engine.model_copy(update={"structured_output": name})
        config = config.model_copy(update={"engine": engine})
    cores = sorted(os.sched_getaffinity(0)) if not _on_gpu() else None
    path = str(folder / "asked.jsonl")
    return Job(config.model_dump(mode="json"), path, cores, constrained, texts=True)


def _on_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _row(
    name: str, results: Sequence[Result], requests: Sequence[Request], config: RunConfig
) -> Figures:
    parsers = {str(stage): TextParser(config.record, stage) for stage in Stage}
    valid = [
        not parsers[request.form].parse(*text).reason
        for result in results
        for request, text in zip(requests, result.texts or (), strict=True)
    ]
    rate = statistics.median(result.completion / result.seconds for result in results)
    good = statistics.median(len(requests) / result.seconds for result in results)
    share = sum(valid) / len(valid)
    return {
        "backend": name,
        "tokens_per_s": round(rate, 1),
        "texts_per_s": round(good, 3),
        "valid": round(share, 3),
        "valid_texts_per_s": round(good * share, 3),
        "tokens_per_text": round(results[0].completion / len(requests), 1),
    }


def main(arguments: Sequence[str]) -> None:
    """Run from the command line."""
    parser = command_line("constraint", "Speed and valid texts of each structured-output backend")
    parser.add_argument("--records", type=positive, default=_RECORDS, help="of the run that asks")
    parser.add_argument("--rounds", type=positive, default=_ROUNDS)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="keys")
    options = parser.parse_args(arguments)
    keys = [f"targets.total={options.records}", "targets.policy=uniform", *options.keys]
    rows = measure(options.rounds, keys)
    show(stamped("constraint", arguments, {"backends": rows}), options.json, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
