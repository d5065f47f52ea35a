"""A replica: an actor with one engine, and the pipeline that keeps it full."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError

from actors.checker import Checker
from actors.engine import Engine, EngineFactory, VllmEngine, engine_environment
from actors.forms import judging_forms, writing_forms
from actors.logs import redirect_output
from actors.panel import OwnSeat, Panel, RemoteSeat, Seat
from actors.pipeline import Pipeline
from synth.config import JudgeSeat, RunConfig
from synth.embedding import Embedder
from synth.errors import UserError
from synth.models import BUILTIN_MODEL, describe
from synth.prompts import Example
from synth.protocol import AnswerBatch, Holding, QuestionBatch, Reply
from synth.specs import Specs

_COORDINATOR_PATIENCE_S = 300.0  # a large store takes a while to be read again
_RETRY_S = 0.5


class RayPort:
    """The coordinator actor, spoken to in one replica's name.

    A coordinator that is being restarted is waited for: its verdicts are tied to slot ids, so
    the same call can safely be made twice.
    """

    def __init__(self, coordinator: Any, name: str):
        self._coordinator = coordinator
        self._name = name

    async def lease(self, epoch: int, want: int) -> Reply:
        return await self._call("lease", epoch, want)

    async def reserve(self, epoch: int, batch: QuestionBatch) -> Reply:
        return await self._call("reserve", epoch, batch)

    async def commit(self, epoch: int, batch: AnswerBatch) -> Reply:
        return await self._call("commit", epoch, batch)

    async def rejoin(self, holdings: Sequence[Holding]) -> Reply:
        return await self._call("rejoin", holdings)

    async def _call(self, method: str, *arguments: Any) -> Reply:
        deadline = time.monotonic() + _COORDINATOR_PATIENCE_S
        while True:
            try:
                call = getattr(self._coordinator, method)
                reply: Reply = await call.remote(self._name, *arguments)
            except ActorUnavailableError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_RETRY_S)
            else:
                return reply


class ReplicaActor:
    """One engine and its pipeline; made an actor at launch. Call `start`, then `run`.

    Args:
        name: unique in the run; `replica-0` and so on.
        config: the run config.
        specs: topics and facets.
        examples: topic -> pairs of an existing dataset to write like.
        coordinator: handle of the coordinator actor.
        log: file for the engine's noise, if the folder can be seen from this node.
        slice_of_cores: (index, count): which of `count` equal slices of this node's cores is
            the replica's own, or None when it runs on GPUs.
        judges: actors of the judges that have a model of their own, by the seat's name.
        engine_factory: makes the engine; vLLM's unless a test says otherwise.
    """

    def __init__(
        self,
        name: str,
        config: RunConfig,
        specs: Specs,
        examples: Mapping[str, Sequence[Example]],
        coordinator: Any,
        log: str | None,
        slice_of_cores: tuple[int, int] | None,
        judges: Mapping[str, Sequence[Any]],
        engine_factory: EngineFactory = VllmEngine,
    ):
        if log:
            redirect_output(Path(log))
        self._name = name
        self._cores = own_cores(sorted(os.sched_getaffinity(0)), slice_of_cores)
        os.environ.update(engine_environment(self._cores, config))
        self._config = config
        self._specs = specs
        self._examples = examples
        self._port = RayPort(coordinator, name)
        self._judges = judges
        self._engine_factory = engine_factory
        self._engine: Engine | None = None
        self._pipeline: Pipeline | None = None

    def __repr__(self) -> str:
        return self._name  # what Ray's dashboard calls the actor

    async def start(self) -> UserError | str:
        """Bring the engine up; returns the id of this node, or what the user has to mend."""
        try:
            embedder = Embedder(self._config.embedder, threads=1)
            seats = self._config.judge.judges if self._config.judge else ()
            judges_itself = any(seat.model is None for seat in seats)
            forms = writing_forms(self._config)
            if judges_itself:
                forms |= judging_forms(self._config)
            self._engine = self._engine_factory(self._config, self._cores is None, forms)
        except UserError as error:
            return error
        self._pipeline = Pipeline(
            self._config,
            self._specs,
            self._engine,
            Checker(self._config, embedder),
            self._port,
            Panel([self._seat(seat, self._engine) for seat in seats], self._config.judge),
            self._examples,
        )
        return str(ray.get_runtime_context().get_node_id())

    def _seat(self, seat: JudgeSeat, engine: Engine) -> Seat:
        if seat.model is not None:
            model = describe(seat.model.name, BUILTIN_MODEL)
            return RemoteSeat(seat.name, model, self._judges[seat.name])
        model = describe(self._config.model.name, BUILTIN_MODEL)
        return OwnSeat(seat.name, model, engine, self._config.seed)

    async def run(self) -> None:
        """Work until there is no more to do, or until drained."""
        if self._pipeline is None:
            raise RuntimeError("the replica was not started")
        await self._pipeline.run()

    async def look_around(self) -> None:
        """Ask the coordinator how the run stands, and stop what nobody needs any more."""
        if self._pipeline is not None:
            await self._pipeline.look_around()

    async def drain(self) -> None:
        """End early: what is being written is aborted and booked as interrupted."""
        if self._pipeline is not None:
            await self._pipeline.drain()

    async def close(self) -> None:
        """Stop the engine."""
        if self._engine is not None:
            await asyncio.to_thread(self._engine.close)


def own_cores(cores: list[int], slice_of_cores: tuple[int, int] | None) -> list[int] | None:
    """The cores of one of several replicas on a node; disjoint, and none is left idle."""
    if slice_of_cores is None:
        return None
    index, count = slice_of_cores
    return cores[index * len(cores) // count : (index + 1) * len(cores) // count]
