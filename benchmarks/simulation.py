"""A whole run on a virtual clock: the real pipelines and the real coordinator, no engine.

What is simulated is what a machine would do: how long a text takes, which texts are refused, how
long the coordinator is busy with a call and the store with a commit.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from actors.panel import Panel
from actors.pipeline import Pipeline
from benchmarks.stand_ins import (
    BelievingLabeller,
    Counts,
    ScriptedChecker,
    ScriptedIndex,
    Setting,
    SimulatedEngine,
)
from benchmarks.virtual import run_virtually
from synth.balancer import Balancer
from synth.config import RunConfig, load_config
from synth.coordinator import Coordinator
from synth.gates import Stage
from synth.index import ExactRepeats
from synth.plan import specs_of
from synth.protocol import AnswerBatch, Holding, QuestionBatch, Reason, Reply
from synth.report import Status, Tally, TopicTally
from synth.specs import Specs
from synth.targets import share_out
from synth.verdicts import Decided

_TICK_S = 0.1  # between looks at what waits to be committed, as in the coordinator's actor
_EXPIRE_S = 5.0
_POLL_S = 0.5  # between the driver's looks at the run
_LONGEST_S = 1e5  # a run that takes longer is stuck


@dataclass(frozen=True)
class Outcome:
    """What a simulated run came to.

    Attributes:
        refused: texts by stage and reason.
        ended: seconds until the last replica had stopped.
    """

    status: Status
    counts: Counts
    refused: Counter[tuple[str, str]]
    ended: float

    @property
    def accepted(self) -> int:
        return len(self.counts.committed)

    @property
    def seconds(self) -> float:
        """Until the last record was durable."""
        return self.reached(1.0)

    def reached(self, share: float) -> float:
        """Seconds until this share of the accepted records was durable."""
        return self.counts.committed[max(0, math.ceil(share * self.accepted) - 1)]

    @property
    def unneeded(self) -> int:
        """Texts that were written for nothing: their topic had filled meanwhile."""
        return sum(self.refused[stage, Reason.TOPIC_FULL] for stage in Stage)

    @property
    def unneeded_share(self) -> float:
        """Tokens of what was written for nothing, over those of the accepted records."""
        return self.counts.unneeded_tokens / self.counts.accepted_tokens

    @property
    def busy(self) -> float:
        """Share of the time that sequences were in use, from start to end."""
        setting = self.counts.setting
        return self.counts.busy_s / (self.seconds * setting.replicas * setting.sequences)


class Central:
    """The coordinator's logic as its actor runs it: one call at a time, and group commits."""

    def __init__(self, counts: Counts, config: RunConfig, coordinator: Coordinator):
        self._counts = counts
        self._config = config
        self.coordinator = coordinator
        self._busy_until = 0.0
        self._durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def turn(self, method: str, texts: int) -> None:
        """Wait for this call's turn, and until it is done."""
        self._counts.calls[method] += 1
        setting = self._counts.setting
        now = asyncio.get_running_loop().time()
        cost = setting.call_s + texts * setting.candidate_s
        self._busy_until = max(now, self._busy_until) + cost
        if self._busy_until > now:
            await asyncio.sleep(self._busy_until - now)

    async def durable(self) -> None:
        if self.coordinator.waiting:
            await asyncio.shield(self._durable)

    async def keep_committing(self) -> None:
        loop = asyncio.get_running_loop()
        store = self._config.store
        last_commit, last_expiry = -math.inf, loop.time()
        while True:
            waiting = self.coordinator.waiting
            due = loop.time() - last_commit >= store.commit_seconds
            if waiting and (due or waiting >= store.commit_records):
                await self._commit()
                last_commit = loop.time()
            if loop.time() - last_expiry >= _EXPIRE_S:
                self.coordinator.expire()
                last_expiry = loop.time()
            await asyncio.sleep(_TICK_S)

    async def _commit(self) -> None:
        batch = self.coordinator.take_batch()
        durable, self._durable = self._durable, asyncio.get_running_loop().create_future()
        await asyncio.sleep(self._counts.setting.store_s)
        self.coordinator.settle(batch)
        now = asyncio.get_running_loop().time()
        self._counts.committed += [now] * len(batch.accepted)
        self._counts.accepted_tokens += sum(row["completion_tokens"] for row in batch.accepted)
        self._counts.unneeded_tokens += sum(
            row["completion_tokens"] for row in batch.rejected if row["reason"] == Reason.TOPIC_FULL
        )
        durable.set_result(None)


class SimulatedPort:
    """The coordinator as one replica sees it."""

    def __init__(self, central: Central, name: str):
        self._central = central
        self._name = name

    async def lease(self, epoch: int, want: int) -> Reply:  # noqa: ARG002
        await self._central.turn("lease", 0)
        return self._central.coordinator.lease(self._name, want)

    async def reserve(self, epoch: int, batch: QuestionBatch) -> Reply:  # noqa: ARG002
        await self._central.turn("reserve", len(batch.candidates) + len(batch.refusals))
        return self._central.coordinator.reserve(self._name, batch)

    async def commit(self, epoch: int, batch: AnswerBatch) -> Reply:  # noqa: ARG002
        await self._central.turn("commit", len(batch.candidates) + len(batch.refusals))
        self._central.coordinator.commit(self._name, batch)
        await self._central.durable()
        return self._central.coordinator.lease(self._name, 0)

    async def rejoin(self, holdings: Sequence[Holding]) -> Reply:
        return self._central.coordinator.rejoin(self._name, holdings)


def simulate(setting: Setting) -> Outcome:
    """Make a run of `setting` on a virtual clock; the same setting gives the same outcome."""
    options = [f"engine.max_num_seqs={setting.sequences}", f"targets.total={setting.records}"]
    config = load_config(None, [*options, "targets.policy=uniform"])
    return run_virtually(_run(setting, config, specs_of(config, Path())))


async def _run(setting: Setting, config: RunConfig, specs: Specs) -> Outcome:
    loop = asyncio.get_running_loop()
    counts = Counts(setting)
    tally = Tally({topic: TopicTally() for topic in specs.topics})
    targets = share_out(config.targets, {topic: s.weight for topic, s in specs.topics.items()})
    coordinator = Coordinator(
        run_id="simulated",
        epoch=1,
        config=config,
        model_name="none",
        balancer=Balancer(
            specs,
            targets,
            config.budget.attempts_per_record,
            config.record.facets,
            str(setting.seed),
        ),
        index=ScriptedIndex(config.dedup.threshold),
        labeller=BelievingLabeller(specs),
        tally=tally,
        repeats=ExactRepeats(),
        decided=Decided(),
        clock=loop.time,
    )
    central = Central(counts, config, coordinator)
    committing = asyncio.create_task(central.keep_committing())
    pipelines = []
    for number in range(setting.replicas):
        rng = random.Random(f"{setting.seed}-{number}")
        slowness = setting.slowness if number < setting.slow else 1.0
        engine = SimulatedEngine(counts, slowness, rng)
        port = SimulatedPort(central, f"replica-{number}")
        checker = ScriptedChecker(setting, specs.topics, rng)
        pipelines.append(Pipeline(config, specs, engine, checker, port, Panel([], None), {}))
    winding_up = asyncio.create_task(_wind_up(coordinator, pipelines))
    async with asyncio.timeout(_LONGEST_S):
        await asyncio.gather(*(pipeline.run() for pipeline in pipelines))
    ended = loop.time()
    winding_up.cancel()
    while coordinator.waiting:
        await asyncio.sleep(_TICK_S)
    committing.cancel()
    return Outcome(coordinator.outcome()[0], counts, tally.refusals, ended)


async def _wind_up(coordinator: Coordinator, pipelines: Sequence[Pipeline]) -> None:
    """What the driver does: tell the replicas when the run has what it needs."""
    while not coordinator.snapshot(0.0).finished:
        await asyncio.sleep(_POLL_S)
    for pipeline in pipelines:
        await pipeline.look_around()
