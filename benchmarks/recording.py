"""An engine that keeps a log of what it was asked: what a baseline is then given, too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from actors.engine import Generation, VllmEngine
from actors.forms import Form
from synth.config import RunConfig
from synth.prompts import Message


@dataclass(frozen=True)
class Request:
    """One request of a run, and what came of it.

    Attributes:
        cached: prompt tokens that were in the prefix cache.
        started, ended: seconds on this machine's monotonic clock.
    """

    form: str
    messages: Sequence[Message]
    seed: int
    warmth: float
    prompt: int
    completion: int
    cached: int
    started: float
    ended: float


class RecordingEngine(VllmEngine):
    """vLLM as in the product; when it is closed, its requests are written to `folder`."""

    def __init__(
        self, folder: Path, config: RunConfig, on_gpu: bool, forms: Mapping[str, Form]
    ) -> None:
        super().__init__(config, on_gpu, forms)
        self._folder = folder
        self._requests: list[Request] = []

    async def generate(
        self, request_id: str, form: str, messages: Sequence[Message], seed: int, warmth: float
    ) -> Generation:
        started = time.monotonic()
        made = await super().generate(request_id, form, messages, seed, warmth)
        tokens = made.tokens
        self._requests.append(
            Request(
                str(form), messages, seed, warmth, tokens.prompt, tokens.completion,
                made.cached_prompt, started, time.monotonic(),
            )
        )  # fmt: skip
        return made

    def close(self) -> None:
        write_requests(self._folder / f"requests-{os.getpid()}.jsonl", self._requests)
        super().close()


def write_requests(path: Path, requests: Sequence[Request]) -> None:
    """One JSON object per line."""
    path.write_text("".join(json.dumps(asdict(request)) + "\n" for request in requests))


def read_requests(path: Path) -> list[Request]:
    """What `write_requests` wrote."""
    return [Request(**json.loads(line)) for line in path.read_text().splitlines()]


def recorded_run(config: RunConfig, folder: Path) -> list[list[Request]]:
    """Make a run in a process of its own; the requests of each of its engines."""
    (folder / "config.json").write_text(config.model_dump_json())
    command = [sys.executable, "-m", "benchmarks.recording", str(folder)]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return [read_requests(path) for path in sorted(folder.glob("requests-*.jsonl"))]


def _run(folder: Path) -> None:
    from actors.launch import Options, execute
    from synth.plan import make_plan

    config = RunConfig.model_validate_json((folder / "config.json").read_text())
    factory: Any = partial(RecordingEngine, folder)
    execute(make_plan(config, Path()), Options(), lambda _: None, print, factory)


if __name__ == "__main__":
    _run(Path(sys.argv[1]))
