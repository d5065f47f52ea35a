"""Stand-ins for what a simulated replica does not have: engine, gates, index, labeller."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import numpy.typing as npt

from actors.checker import Checked, Checker, Written
from actors.engine import ABORTED, Generation
from synth.gates import Stage
from synth.index import DuplicateIndex, Neighbour, Probe
from synth.labeller import Filing, TopicLabeller
from synth.prompts import Message
from synth.protocol import Reason, Tokens, Vectors
from synth.specs import Specs

_TAIL = 0.9  # share of the target after which sequences may be idle: work runs out
_STEP_S = 0.02  # of an engine, about
_REFUSED = "scripted"
_TEXT_TOKENS: Mapping[str, int] = {Stage.QUESTION: 100, Stage.ANSWER: 300}


@dataclass(frozen=True)
class Setting:
    """A simulated run.

    Attributes:
        sequences: texts that one engine writes at once.
        acceptance: chance that a question is good.
        central: share of the bad questions that pass the gates, and are refused as duplicates.
        answer_acceptance: chance that an answer is good.
        hard: topics, the first ones, for which both chances are `hardness` times as high.
        question_s, answer_s: mean seconds that a text takes; `jitter` either way, at most.
        slow: replicas that take `slowness` times as long.
        call_s, candidate_s: what the coordinator is busy for each call, and each text in it.
        store_s: until a commit is durable.
    """

    replicas: int = 8
    sequences: int = 16
    records: int = 990
    acceptance: float = 0.5
    central: float = 0.5
    answer_acceptance: float = 0.9
    hard: int = 0
    hardness: float = 0.5
    question_s: float = 2.0
    answer_s: float = 6.0
    jitter: float = 0.3
    slow: int = 0
    slowness: float = 10.0
    call_s: float = 0.0
    candidate_s: float = 0.0
    store_s: float = 0.05
    seed: int = 7


@dataclass
class Counts:
    """What all parts of a simulated run count into.

    Attributes:
        committed: the second at which each record became durable, in order.
        calls: calls to the coordinator, by method.
        texts: texts that the engines ended, by stage.
        starved: engine steps, one after each text that ended, with a sequence free and no request
            for it, before the tail.
        accepted_tokens, unneeded_tokens: of records, and of texts whose topic had filled meanwhile.
        busy_s: seconds that sequences were in use, over all engines.
    """

    setting: Setting
    committed: list[float] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    texts: Counter[str] = field(default_factory=Counter)
    starved: int = 0
    accepted_tokens: int = 0
    unneeded_tokens: int = 0
    busy_s: float = 0.0

    @property
    def in_tail(self) -> bool:
        return len(self.committed) >= _TAIL * self.setting.records


class SimulatedEngine:
    """Writes nothing, and takes its time for it; at most `sequences` texts at once."""

    def __init__(self, counts: Counts, slowness: float, rng: random.Random):
        setting = counts.setting
        self._counts = counts
        self._rng = rng
        self._free = setting.sequences
        self._mean_s: Mapping[str, float] = {
            Stage.QUESTION: setting.question_s * slowness,
            Stage.ANSWER: setting.answer_s * slowness,
        }
        self._waiting: deque[tuple[str, float]] = deque()
        self._ends: dict[str, asyncio.Future[str]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    async def generate(
        self,
        request_id: str,
        form: str,
        messages: Sequence[Message],  # noqa: ARG002
        seed: int,  # noqa: ARG002
        warmth: float,  # noqa: ARG002
    ) -> Generation:
        jitter = self._counts.setting.jitter
        seconds = self._mean_s[form] * self._rng.uniform(1 - jitter, 1 + jitter)
        self._ends[request_id] = asyncio.get_running_loop().create_future()
        self._waiting.append((request_id, seconds))
        self._fill()
        finish_reason = await self._ends[request_id]
        del self._ends[request_id]
        self._counts.texts[form] += 1
        tokens = Tokens(0, _TEXT_TOKENS[form]) if finish_reason != ABORTED else Tokens()
        return Generation("", finish_reason, tokens)

    def _fill(self) -> None:
        loop = asyncio.get_running_loop()
        while self._free and self._waiting:
            request_id, seconds = self._waiting.popleft()
            end = self._ends.get(request_id)
            if end is None or end.done():  # aborted while it waited
                continue
            self._free -= 1
            self._timers[request_id] = loop.call_later(seconds, self._end, request_id, "stop")
            self._counts.busy_s += seconds

    def _end(self, request_id: str, finish_reason: str) -> None:
        del self._timers[request_id]
        self._ends[request_id].set_result(finish_reason)
        self._free += 1
        self._fill()
        asyncio.get_running_loop().call_later(_STEP_S, self._look)

    def _look(self) -> None:
        """One step after a text ended: has another one taken its place?"""
        self._counts.starved += self._free > 0 and not self._counts.in_tail

    async def abort(self, request_ids: Iterable[str]) -> None:
        loop = asyncio.get_running_loop()
        for request_id in request_ids:
            timer = self._timers.get(request_id)
            if timer is not None:
                timer.cancel()
                self._counts.busy_s -= timer.when() - loop.time()
                self._end(request_id, ABORTED)
            elif request_id in self._ends and not self._ends[request_id].done():
                self._ends[request_id].set_result(ABORTED)

    def close(self) -> None:
        """Nothing to stop."""


class ScriptedChecker(Checker):
    """Draws the verdicts of gates, and what the index will say: 1 or 0, as a vector of length 1."""

    def __init__(self, setting: Setting, topics: Iterable[str], rng: random.Random):
        self._setting = setting
        self._hard = frozenset(islice(topics, setting.hard))
        self._rng = rng

    def check(self, batch: Sequence[Written]) -> tuple[list[Checked], Vectors]:
        checked, similarities = [], []
        for written in batch:
            work, tokens = written.work, written.generation.tokens
            chance = self._setting.hardness if work.topic in self._hard else 1.0
            reason = ""
            if written.generation.finish_reason == ABORTED:
                reason = str(Reason.INTERRUPTED)
            elif work.stage is Stage.ANSWER:
                good = self._rng.random() < chance * self._setting.answer_acceptance
                reason = "" if good else _REFUSED
            elif self._rng.random() < chance * self._setting.acceptance:
                similarities.append(0.0)
            elif self._rng.random() < self._setting.central:
                similarities.append(1.0)
            else:
                reason = _REFUSED
            checked.append(Checked(work, f"text {work.request_id}", tokens, reason))
        return checked, np.array(similarities, np.float32).reshape(-1, 1)

    def at_risk(self, questions: Sequence[str]) -> list[bool]:
        return [False for _ in questions]


class ScriptedIndex(DuplicateIndex):
    """Believes the vectors that the checker draws; searches nothing."""

    def __init__(self, threshold: float):
        super().__init__(1, threshold)

    def probe(self, vectors: Vectors) -> Probe:
        near: list[Neighbour | None] = [Neighbour("earlier", float(row[0])) for row in vectors]
        return Probe(self, vectors, near)

    def neighbours_before(self, slot_ids: Sequence[str]) -> list[Neighbour | None]:
        return [None] * len(slot_ids)


class BelievingLabeller(TopicLabeller):
    """Files every question where it was asked for."""

    def __init__(self, specs: Specs):
        self.topics = list(specs.topics)

    def scores(self, vectors: Vectors) -> npt.NDArray[np.float32]:
        return np.zeros((len(vectors), 1), np.float32)

    def file(
        self,
        scores: npt.NDArray[np.float32],  # noqa: ARG002
        wanted: str,
        with_room: Container[str],  # noqa: ARG002
    ) -> Filing:
        return Filing(wanted, wanted, 1.0, 1.0)
