"""Offline `LLM.chat` on recorded requests, in a process of its own: the baseline of a run.

Started by other benchmarks as `python -m benchmarks.offline JOB`, where JOB is a JSON file with
a `Job`. Prints `ready` when the engine is up, waits for a line, and prints a JSON result.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from actors.engine import engine_arguments, engine_environment, sampling_arguments
from actors.forms import writing_forms
from benchmarks.recording import Request, read_requests
from synth.config import RunConfig
from synth.models import resolve_model

_WARM_UP = 2  # requests before the clock starts


@dataclass(frozen=True)
class Job:
    """What one offline engine is to do.

    Attributes:
        config: of the run, as its JSON.
        requests: file with recorded requests.
        cores: the CPU cores that it may use; None on a GPU.
        constrained: whether texts have to follow the schema.
        texts: whether the texts and why each ended are wanted, too.
    """

    config: dict[str, Any]
    requests: str
    cores: list[int] | None
    constrained: bool = True
    texts: bool = False


@dataclass(frozen=True)
class Result:
    """What came of a job: tokens of all completions, and the seconds of `LLM.chat` alone."""

    completion: int
    prompt: int
    cached: int
    seconds: float
    texts: list[tuple[str, str]] | None


def side_by_side(jobs: Sequence[Job], folder: Path) -> list[Result]:
    """Run jobs at once, each in its own process; all start when all engines are up."""
    running = []
    for number, job in enumerate(jobs):
        path = folder / f"job-{number}.json"
        path.write_text(json.dumps(asdict(job)))
        with (folder / f"offline-{number}.log").open("w") as log:
            running.append(
                subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.offline", str(path)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                )
            )  # fmt: skip
    for process in running:
        _read_until(process, "ready")
    for process in running:
        print("go", file=process.stdin, flush=True)
    return [Result(**json.loads(_read_until(process, "{"))) for process in running]


def _read_until(process: subprocess.Popen[str], start: str) -> str:
    """The first line of a process that starts so; vLLM prints others."""
    for line in process.stdout or ():
        if line.startswith(start):
            return line
    raise RuntimeError(f"an offline engine ended without {start!r}; see its log")


def _work(job: Job) -> None:
    config = RunConfig.model_validate(job.config)
    os.environ.update(engine_environment(job.cores, config))
    from vllm import LLM, SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    arguments = engine_arguments(config, resolve_model(config.model.name), job.cores is None)
    engine = LLM(**arguments)
    forms = writing_forms(config)
    constraints = {
        name: StructuredOutputsParams(json=dict(form.schema)) if job.constrained else None
        for name, form in forms.items()
    }

    def chat(requests: Sequence[Request]) -> list[Any]:
        parameters = [
            SamplingParams(
                **sampling_arguments(forms[each.form], each.seed, each.warmth),
                structured_outputs=constraints[each.form],
            )
            for each in requests
        ]
        chats: list[Any] = [list(each.messages) for each in requests]
        return list(engine.chat(chats, parameters, use_tqdm=False))

    requests = read_requests(Path(job.requests))
    chat(requests[:_WARM_UP])
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.monotonic()
    outputs = chat(requests)
    seconds = time.monotonic() - start
    result = Result(
        completion=sum(len(output.outputs[0].token_ids) for output in outputs),
        prompt=sum(len(output.prompt_token_ids) for output in outputs),
        cached=sum(output.num_cached_tokens or 0 for output in outputs),
        seconds=seconds,
        texts=[(o.outputs[0].text, o.outputs[0].finish_reason) for o in outputs]
        if job.texts
        else None,
    )
    print(json.dumps(asdict(result)), flush=True)


if __name__ == "__main__":
    _work(Job(**json.loads(Path(sys.argv[1]).read_text())))
