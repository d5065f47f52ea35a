"""The Ray side of `evenfill bench coordinator`: its actor with clocks on it, and its callers."""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import faiss
import numpy as np
import psutil

from actors.coordinator import CoordinatorActor
from actors.replica import RayPort
from synth.coordinator import Coordinator
from synth.gates import Stage
from synth.index import DuplicateIndex
from synth.labeller import TopicLabeller
from synth.protocol import (
    AnswerBatch,
    Candidate,
    QuestionBatch,
    Refusal,
    Reply,
    Ruling,
    Slot,
    Tokens,
    Vectors,
)
from synth.writer import RunWriter

# What the clocks are on, and what is inside of what.
INDEX, LABELLER, LOGIC, STORE = "index", "labeller", "logic", "store"
_CLOCKED = (
    (INDEX, DuplicateIndex, ("probe", "neighbours_before", "commit")),
    (LABELLER, TopicLabeller, ("scores",)),
    (LOGIC, Coordinator, ("lease", "reserve", "commit", "take_batch", "settle")),
    (STORE, RunWriter, ("write", "compact", "write_state")),
)
# As in the pipeline, for each sequence: texts in hand, slots at work, slots held with those that
# are being committed, and the least that is asked for; and how long texts are gathered.
_CAPACITY, _AT_WORK, _HELD, _LEAST = 1.1, 2.0, 6.0, 0.25
_GATHER_S = 0.25
_QUESTION = "when I come home in the evening I cannot stop thinking of what was said to me, " * 5
_ANSWER = "it makes sense that you feel this way, and there are small things you could try, " * 10


@dataclass(frozen=True)
class Usage:
    """What the coordinator's process has used by `at`, and done.

    Attributes:
        at: seconds, monotonic.
        cpu_s: of the whole process.
        clocked_s: by part; `logic` holds index and labeller, too.
        candidates: questions that replicas sent, those that their gates refused among them.
        calls: of replicas.
        rss: resident bytes.
        accepted: durable records.
    """

    at: float
    cpu_s: float
    clocked_s: dict[str, float]
    candidates: int
    calls: int
    rss: int
    accepted: int


def _put_clock(clocks: dict[str, float], part: str, owner: type, method: str) -> None:
    plain: Callable[..., Any] = getattr(owner, method)

    def clocked(*arguments: Any, **named: Any) -> Any:
        start = time.thread_time()
        try:
            return plain(*arguments, **named)
        finally:
            clocks[part] += time.thread_time() - start

    setattr(owner, method, clocked)


class ClockedCoordinator(CoordinatorActor):
    """The product's actor, with clocks on its parts; its index searches on one thread."""

    def __init__(self, accept_changes: bool, *pieces: bytes):
        super().__init__(accept_changes, *pieces)
        faiss.omp_set_num_threads(1)  # or a thread's clock would miss its helpers
        self._clocks = {part: 0.0 for part, _, _ in _CLOCKED}
        self._candidates = self._calls = 0
        for part, owner, methods in _CLOCKED:
            for method in methods:
                _put_clock(self._clocks, part, owner, method)

    async def lease(self, replica: str, epoch: int, want: int) -> Reply:
        self._calls += 1
        return await super().lease(replica, epoch, want)

    async def reserve(self, replica: str, epoch: int, batch: QuestionBatch) -> Reply:
        self._calls += 1
        self._candidates += len(batch.candidates) + len(batch.refusals)
        return await super().reserve(replica, epoch, batch)

    async def commit(self, replica: str, epoch: int, batch: AnswerBatch) -> Reply:
        self._calls += 1
        return await super().commit(replica, epoch, batch)

    async def usage(self) -> Usage:
        """What was used and done by now."""
        run = await self._opened()
        return Usage(
            time.monotonic(),
            time.process_time(),
            dict(self._clocks),
            self._candidates,
            self._calls,
            psutil.Process().memory_info().rss,
            run.coordinator.snapshot(0.0).accepted,
        )


@dataclass(frozen=True)
class Load:
    """What a simulated replica does; times in seconds, shares in [0, 1]."""

    sequences: int
    question_s: float
    answer_s: float
    jitter: float
    refused: float
    copies: float
    dim: int


@dataclass
class Waits:
    """How long calls took, in seconds, by method."""

    lease: list[float] = field(default_factory=list)
    reserve: list[float] = field(default_factory=list)


class SimulatedReplica:
    """Leases, waits as long as texts would take, and sends what the pipeline would send."""

    def __init__(self, port: RayPort, load: Load, waits: Waits, seed: int):
        self._port = port
        self._load = load
        self._waits = waits
        self._rng = random.Random(seed)
        self._vectors = np.random.default_rng(seed)
        self._last: Vectors | None = None
        self._epoch = 0
        self._to_ask: deque[Slot] = deque()
        self._to_answer: deque[Slot] = deque()
        self._writing: list[tuple[float, str, Stage]] = []
        self._slots: dict[str, Slot] = {}
        self._committing = 0
        self._leasing = False
        self._not_before = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            now = time.monotonic()
            self._top_up(now)
            self._ask_for_lease(now)
            await asyncio.sleep(_GATHER_S)
            await self._hand_in(time.monotonic())
            for task in [task for task in self._tasks if task.done()]:
                self._tasks.discard(task)
                task.result()

    def _top_up(self, now: float) -> None:
        while len(self._writing) < int(_CAPACITY * self._load.sequences):
            if self._to_answer:
                self._start(self._to_answer.popleft(), Stage.ANSWER, now + self._load.answer_s)
            elif self._to_ask:
                self._start(self._to_ask.popleft(), Stage.QUESTION, now + self._load.question_s)
            else:
                return

    def _start(self, slot: Slot, stage: Stage, end: float) -> None:
        mean = self._load.question_s if stage is Stage.QUESTION else self._load.answer_s
        end += mean * self._rng.uniform(-self._load.jitter, self._load.jitter)
        heapq.heappush(self._writing, (end, slot.id, stage))

    def _ask_for_lease(self, now: float) -> None:
        sequences, held = self._load.sequences, len(self._slots)
        at_work = held - self._committing
        want = min(int(_AT_WORK * sequences) - at_work, int(_HELD * sequences) - held)
        least = int(_LEAST * sequences) if self._to_ask or self._to_answer else 1
        low = int(_CAPACITY * sequences) // 2
        may = not self._leasing and now >= self._not_before
        if may and want >= least and len(self._to_ask) <= low:
            self._leasing = True
            self._spawn(self._lease(want))

    async def _lease(self, want: int) -> None:
        start = time.monotonic()
        reply = await self._port.lease(self._epoch, want)
        self._waits.lease.append(time.monotonic() - start)
        self._epoch, self._leasing = reply.epoch, False
        self._not_before = time.monotonic() + reply.retry_after
        if reply.lease:
            self._to_ask.extend(reply.lease.slots)
            self._slots |= {slot.id: slot for slot in reply.lease.slots}

    async def _hand_in(self, now: float) -> None:
        ended = []
        while self._writing and self._writing[0][0] <= now:
            ended.append(heapq.heappop(self._writing))
        questions = [slot_id for _, slot_id, stage in ended if stage is Stage.QUESTION]
        answers = [slot_id for _, slot_id, stage in ended if stage is Stage.ANSWER]
        if questions:
            await self._reserve(questions)
        if answers:
            self._spawn(self._commit(answers))

    async def _reserve(self, slot_ids: list[str]) -> None:
        refused = [i for i in slot_ids if self._rng.random() < self._load.refused]
        passed = [i for i in slot_ids if i not in refused]
        batch = QuestionBatch(
            tuple(Candidate(i, f"{i} {_QUESTION}", Tokens(600, 100)) for i in passed),
            self._embeddings(len(passed)),
            tuple(Refusal(i, Stage.QUESTION, "scripted", _QUESTION, Tokens()) for i in refused),
        )
        start = time.monotonic()
        reply = await self._port.reserve(self._epoch, batch)
        self._waits.reserve.append(time.monotonic() - start)
        for slot_id in refused:
            del self._slots[slot_id]
        for verdict in reply.verdicts:
            if verdict.ruling is Ruling.RESERVED:
                self._to_answer.append(self._slots[verdict.slot_id])
            else:
                del self._slots[verdict.slot_id]

    def _embeddings(self, count: int) -> Vectors:
        """Random unit vectors; some are copies of an earlier one."""
        shape = (count, self._load.dim)
        rows = self._vectors.standard_normal(shape, dtype=np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        for at in range(count):
            if self._last is not None and self._rng.random() < self._load.copies:
                rows[at] = self._last
            self._last = rows[at].copy()
        return rows

    async def _commit(self, slot_ids: list[str]) -> None:
        answers = (Candidate(i, f"{i} {_ANSWER}", Tokens(900, 300)) for i in slot_ids)
        self._committing += len(slot_ids)
        await self._port.commit(self._epoch, AnswerBatch(tuple(answers)))
        self._committing -= len(slot_ids)
        for slot_id in slot_ids:
            del self._slots[slot_id]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(asyncio.create_task(work))


class Driver:
    """Many simulated replicas in one process; made an actor.

    Args:
        coordinator: handle of the coordinator actor.
        first, count: numbers of the replicas.
    """

    def __init__(self, coordinator: Any, load: Load, first: int, count: int):
        self._coordinator = coordinator
        self._load = load
        self._numbers = range(first, first + count)

    async def ready(self) -> None:
        """Answers once the process is up."""

    async def run(self, warm_up_s: float, seconds: float) -> Waits:
        """Work for both spans; in the first quarter of the warm-up the replicas start in turn."""
        waits = Waits()
        running = []
        gap = 0.25 * warm_up_s / len(self._numbers)
        start = time.monotonic()
        for position, number in enumerate(self._numbers):
            port = RayPort(self._coordinator, f"replica-{number}")
            replica = SimulatedReplica(port, self._load, waits, number)
            running.append(asyncio.create_task(replica.run()))
            await asyncio.sleep(max(0.0, start + gap * position - time.monotonic()))
        await asyncio.sleep(max(0.0, start + warm_up_s - time.monotonic()))
        waits.lease, waits.reserve = [], []
        await asyncio.wait(running, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in running:
            if task.done():
                task.result()
            task.cancel()
        return waits
