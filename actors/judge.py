"""Judges with a model of their own: actors with one engine each."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from actors.engine import Engine, EngineFactory, Generation, VllmEngine, engine_environment
from actors.forms import judging_forms
from actors.logs import redirect_output
from actors.panel import write_judgement
from actors.placement import Place
from actors.replica import own_cores
from actors.supervisor import cause_of
from synth.config import RunConfig
from synth.errors import EngineFailure, UserError
from synth.quoting import withholding

_POLL_S = 0.5
_MAX_CONCURRENCY = 10_000  # judgements that wait in one actor at once


class JudgeActor:
    """Judges pairs; made an actor at launch, and started again by Ray when it dies.

    Args:
        name: `judge-` and the seat's name and number.
        config: the run config, with the judge's model in place of the writers'.
        log, slice_of_cores, engine_factory: as a replica's.
    """

    def __init__(
        self,
        name: str,
        config: RunConfig,
        log: str | None,
        slice_of_cores: tuple[int, int] | None,
        engine_factory: EngineFactory = VllmEngine,
    ):
        if log:
            redirect_output(Path(log))
        self._name = name
        cores = own_cores(sorted(os.sched_getaffinity(0)), slice_of_cores)
        os.environ.update(engine_environment(cores, config))
        self._seed = config.seed
        self._engine: Engine | UserError
        try:
            self._engine = engine_factory(config, cores is None, judging_forms(config))
        except UserError as error:
            self._engine = error

    def __repr__(self) -> str:
        return self._name  # what Ray's dashboard calls the actor

    async def start(self) -> UserError | None:
        """Answers once the engine is up; with what the user has to mend, if it is not."""
        return self._engine if isinstance(self._engine, UserError) else None

    async def judge(self, request_id: str, question: str, answer: str) -> Generation:
        """Write one judgement."""
        if isinstance(self._engine, UserError):
            raise self._engine
        try:
            with withholding(question, answer):
                return await write_judgement(self._engine, request_id, question, answer, self._seed)
        except Exception:
            logging.exception("the judge's engine failed; starting again")
            os._exit(1)

    async def close(self) -> None:
        """Stop the engine."""
        if not isinstance(self._engine, UserError):
            await asyncio.to_thread(self._engine.close)


class JudgeActors:
    """All judge actors of a run.

    Args:
        config: the run config.
        places: one per judge replica, in the order of the seats.
        logs: folder for their engines' noise, if there is one.
        engine_factory: makes the engines instead of vLLM.

    Attributes:
        by_seat: handles by the seat's name.
    """

    def __init__(
        self,
        config: RunConfig,
        places: Sequence[Place],
        logs: Path | None,
        engine_factory: EngineFactory | None,
    ):
        self.by_seat: dict[str, list[Any]] = {}
        extra = (engine_factory,) if engine_factory else ()
        actor = ray.remote(JudgeActor)
        free = iter(places)
        for seat in config.own_judges:
            own = config.model_copy(update={"model": seat.model})
            handles = self.by_seat.setdefault(seat.name, [])
            for number in range(seat.replicas):
                place = next(free)
                options = actor.options(
                    **place.options(),
                    max_restarts=config.engine.max_restarts,
                    max_task_retries=-1,  # a judgement has no state: the same call again is safe
                    max_concurrency=_MAX_CONCURRENCY,
                )
                name = f"judge-{seat.name}-{number}"
                log = str(logs / f"{name}.log") if logs else None
                handles.append(options.remote(name, own, log, place.slice_of_cores, *extra))

    @property
    def _all(self) -> list[Any]:
        return [handle for handles in self.by_seat.values() for handle in handles]

    def wait(self, timeout: float, stop: Callable[[], bool]) -> None:
        """Wait until every judge is up, or until `stop` says to wait no longer.

        Raises:
            UserError: what a judge found that the user has to mend.
            EngineFailure: a judge ended, or is not up after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        starting = [judge.start.remote() for judge in self._all]
        while starting and not stop():
            ready, starting = ray.wait(starting, num_returns=1, timeout=_POLL_S)
            try:
                mistakes = ray.get(ready)
            except RayError as error:
                raise EngineFailure(f"a judge did not come up ({cause_of(error)})") from error
            for mistake in mistakes:
                if mistake is not None:
                    raise mistake
            if starting and time.monotonic() > deadline:
                raise EngineFailure(
                    f"{len(starting)} judge(s) not up after {timeout:g} s (engine.start_timeout)"
                )

    def close(self, grace: float) -> None:
        """Stop all engines; what is not gone after `grace` seconds is killed."""
        closing = [judge.close.remote() for judge in self._all]
        with suppress(RayError):
            ray.wait(closing, num_returns=len(closing), timeout=grace) if closing else None
        for judge in self._all:
            with suppress(RayError):
                ray.kill(judge)
