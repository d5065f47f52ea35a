"""The way of a record on one replica: question, reservation, answer, commit.

No Ray and no vLLM here: an engine and a coordinator are handed in. The event loop only
starts requests and collects them; parsing, gates and embedding run on a thread, over all
texts that finished meanwhile. There is no barrier: the engine is topped up whenever a
request ends, answers before questions, and the next lease is asked for while there are
still slots to start.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from actors.backlog import Backlog
from actors.checker import Checked, Checker, Work, Written
from actors.dealings import Dealings, Unsettled
from actors.engine import Engine
from actors.panel import Panel
from actors.prompter import Prompter
from actors.stall import StallWatch
from actors.yielding import give_way
from synth.config import RunConfig
from synth.gates import Stage
from synth.prompts import Example
from synth.protocol import (
    AnswerBatch,
    CoordinatorPort,
    Holding,
    QuestionBatch,
    Reason,
    Refusal,
    Reply,
    Ruling,
    Tokens,
    Vectors,
)
from synth.specs import Specs

_ENGINE_SURPLUS = 1.1  # requests in flight per sequence the engine decodes: it never waits
_SLOTS_AT_WORK = 2.0  # slots held per sequence, from the lease to the answer
_SLOTS_HELD = 6.0  # the same, with those that are being committed
_LEAST_LEASE = 0.25  # slots asked for per sequence, unless nothing else is left to start
_GATHER_S = 0.25  # texts that finish within this time are handled together
_SHORT_GATHER_S = 0.02  # the same, for an engine that has nothing else to start
_PULSE_S = 15.0  # between two signs of life, at most


class Pipeline:
    """Keeps one engine full until the coordinator has no more to do.

    Args:
        config: the run config.
        specs: topics and facets, for the prompts.
        engine, checker, port: the parts.
        panel: judges of the answers that passed the gates; without seats none is asked.
        examples: topic -> pairs of an existing dataset to write like.
    """

    def __init__(
        self,
        config: RunConfig,
        specs: Specs,
        engine: Engine,
        checker: Checker,
        port: CoordinatorPort,
        panel: Panel,
        examples: Mapping[str, Sequence[Example]],
    ):
        self._config = config
        self._engine = engine
        self._prompter = Prompter(specs, examples, engine)
        self._checker = checker
        self._panel = panel
        self._dealings = Dealings(port, self._note, self._take_up_again)
        sequences = config.engine.max_num_seqs
        self._capacity = math.ceil(sequences * _ENGINE_SURPLUS)
        self._most_at_work = math.ceil(sequences * _SLOTS_AT_WORK)
        self._most_held = math.ceil(sequences * _SLOTS_HELD)
        self._least_asked_for = math.ceil(sequences * _LEAST_LEASE)
        self._thread = ThreadPoolExecutor(1, "check", initializer=give_way)
        self._backlog = Backlog()
        self._writing: dict[str, Work] = {}
        self._written: list[Written] = []
        self._judging: dict[str, Work] = {}
        self._judged: list[Checked] = []
        self._closed: frozenset[str] = frozenset()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []
        self._changed = asyncio.Event()
        self._arrived = asyncio.Event()
        self._leasing = False
        self._told_to_wait = False
        self._no_more_leases = False
        self._draining = False

    async def run(self) -> None:
        """Work until the coordinator is finished, or until drained.

        Raises:
            Exception: whatever the engine or the coordinator raised; open slots stay with the
                coordinator, which takes them back.
        """
        clock = asyncio.get_running_loop().time
        self._stall_watch = StallWatch(self._config.engine.stall_timeout, clock)
        keepers = [asyncio.create_task(self._collect()), asyncio.create_task(self._keep_watch())]
        for keeper in keepers:
            keeper.add_done_callback(self._ended)
        try:
            while not (self._no_more_leases and not self._dealings.held):
                self._top_up()
                self._ask_for_lease()
                await self._changed.wait()
                self._changed.clear()
                if self._failures:
                    raise self._failures[0]
        finally:
            for task in (*keepers, *self._tasks):
                task.cancel()
            self._thread.shutdown(wait=False)

    async def drain(self) -> None:
        """Stop early: abort what is being written, give back what was not started."""
        self._draining = self._no_more_leases = True
        self._changed.set()
        while self._busy:  # one that is still being tokenised cannot be aborted yet
            requests = [*self._writing, *self._panel.own_requests(self._judging)]
            await self._engine.abort(requests)
            await asyncio.sleep(_SHORT_GATHER_S)

    # -- keeping the engine full ---------------------------------------------------

    @property
    def _busy(self) -> int:
        """Requests that the engine has in hand."""
        return len(self._writing) + self._panel.own_seats * len(self._judging)

    def _top_up(self) -> None:
        self._drop_unneeded()
        waiting = self._backlog
        while self._busy < self._capacity:
            if waiting.to_judge:
                self._start_judging(waiting.to_judge.popleft())
            elif waiting.to_answer:
                self._start(waiting.to_answer.popleft())
            elif waiting.to_ask:
                slot = waiting.to_ask.popleft()
                self._start(Work(slot, Stage.QUESTION, slot.topic))
            else:
                break

    def _drop_unneeded(self) -> None:
        """Do not start what is for a topic that is full; while draining, nothing at all."""
        if not (self._draining or self._closed):
            return
        dropped = self._backlog.take_out(self._unneeded)
        if dropped.to_ask:
            self._spawn(self._give_back([slot.id for slot in dropped.to_ask]))
        if dropped.to_answer:
            self._spawn(self._refuse_unwritten(dropped.to_answer))
        if dropped.to_judge:
            self._judged += [replace(i, reason=Reason.INTERRUPTED) for i in dropped.to_judge]
            self._arrived.set()

    def _unneeded(self, topic: str) -> bool:
        return self._draining or topic in self._closed

    def _start_judging(self, item: Checked) -> None:
        self._judging[item.work.request_id] = item.work
        self._spawn(self._judge(item))

    def _start(self, work: Work) -> None:
        self._writing[work.request_id] = work
        self._spawn(self._write(work))

    async def _write(self, work: Work) -> None:
        try:
            with self._stall_watch.request():
                written = await self._prompter.write(work)
        finally:
            del self._writing[work.request_id]
        self._written.append(written)
        self._arrived.set()
        self._changed.set()

    def _ask_for_lease(self) -> None:
        held = len(self._dealings.held)
        at_work = held - self._dealings.committing
        want = min(self._most_at_work - at_work, self._most_held - held)
        least = self._least_asked_for if self._backlog else 1
        may_not = self._leasing or self._no_more_leases or self._told_to_wait
        if may_not or want < least or len(self._backlog.to_ask) > self._capacity // 2:
            return
        self._leasing = True
        self._spawn(self._lease(want))

    async def _lease(self, want: int) -> None:
        try:
            reply = await self._dealings.lease(want)
        finally:
            self._leasing = False
        if reply.lease:
            self._backlog.to_ask.extend(reply.lease.slots)
        elif reply.finished:
            self._no_more_leases = True
        else:
            self._told_to_wait = True
            asyncio.get_running_loop().call_later(reply.retry_after, self._waited)
        self._changed.set()

    def _waited(self) -> None:
        self._told_to_wait = False
        self._changed.set()

    def _note(self, reply: Reply) -> None:
        """Abort what is written for topics that have filled up."""
        newly = reply.closed - self._closed
        if not newly:
            return
        self._closed |= newly  # a topic that is full stays full; replies may overtake each other
        useless = [work.request_id for work in self._writing.values() if work.topic in newly]
        judging = {i: work for i, work in self._judging.items() if work.topic in newly}
        useless += self._panel.own_requests(judging)
        if useless:
            self._spawn(self._engine.abort(useless))

    # -- what the engine ended -----------------------------------------------------

    async def _collect(self) -> None:
        """Check finished texts in micro-batches, off the event loop, one batch at a time."""
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            await self._gather()
            self._arrived.clear()
            batch, self._written = self._written, []
            judged, self._judged = self._judged, []
            checked, vectors = await loop.run_in_executor(self._thread, self._checker.check, batch)
            questions = [item for item in checked if item.work.stage is Stage.QUESTION]
            answers = [item for item in checked if item.work.stage is Stage.ANSWER]
            if questions:
                await self._reserve(questions, vectors)
            if self._panel:
                self._backlog.to_judge.extend(item for item in answers if not item.reason)
                self._changed.set()
                answers = [item for item in answers if item.reason] + judged
            if answers:
                self._commit(answers)

    async def _gather(self) -> None:
        """Wait for more texts, while the engine has others to go on with."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _GATHER_S
        while True:
            await asyncio.sleep(_SHORT_GATHER_S)
            if not self._backlog or loop.time() >= until:
                return

    async def _judge(self, item: Checked) -> None:
        """Have an answer judged that passed the gates."""
        try:
            with self._stall_watch.request():
                judged = await self._panel.judge(item)
        finally:
            del self._judging[item.work.request_id]
        self._judged.append(judged)
        self._arrived.set()
        self._changed.set()

    async def _reserve(self, checked: Sequence[Checked], vectors: Vectors) -> None:
        passed = [item for item in checked if not item.reason]
        batch = QuestionBatch(
            tuple(item.candidate() for item in passed),
            vectors,
            tuple(self._refusal(item) for item in checked if item.reason),
        )
        reply = await self._dealings.reserve(batch)
        for item in checked:
            if item.reason:
                self._let_go(item, None)
        reserved: list[Work] = []
        for item, vector, verdict in zip(passed, vectors, reply.verdicts, strict=True):
            slot = item.work.slot
            if verdict.ruling is Ruling.RESERVED:
                holding = Holding(slot, verdict.topic, item.candidate(), vector)
                self._dealings.held[slot.id] = holding
                reserved.append(Work(slot, Stage.ANSWER, verdict.topic, item.text))
            else:
                self._let_go(item, vector)
        texts = [work.question for work in reserved]
        loop = asyncio.get_running_loop()
        risks = await loop.run_in_executor(self._thread, self._checker.at_risk, texts)
        self._backlog.to_answer += [
            replace(work, at_risk=at_risk)
            for work, at_risk in zip(reserved, risks, strict=True)
            if work.slot.id in self._dealings.held  # it may be gone with a coordinator meanwhile
        ]
        self._changed.set()

    def _let_go(self, item: Checked, vector: Vectors | None) -> None:
        if self._dealings.refused(item, vector):
            self._spawn(self._send_answers(AnswerBatch(()), ()))

    def _commit(self, checked: Sequence[Checked]) -> None:
        checked = [item for item in checked if item.work.slot.id in self._dealings.held]
        passed = [item for item in checked if not item.reason]
        refusals = []
        for item in checked:
            if item.reason:
                again = self._may_answer_again(item)
                refusals.append(self._refusal(item, ends_slot=not again))
                if again:
                    work = item.work
                    self._backlog.to_answer.append(replace(work, attempt=work.attempt + 1))
        ended = [item.work.slot.id for item in passed]
        ended += [refusal.slot_id for refusal in refusals if refusal.ends_slot]
        candidates = tuple(item.candidate() for item in passed)
        self._spawn(self._send_answers(AnswerBatch(candidates, tuple(refusals)), ended))

    def _may_answer_again(self, item: Checked) -> bool:
        attempts = item.work.attempt + 1
        return not self._draining and attempts < self._config.budget.answer_attempts

    def _refusal(self, item: Checked, ends_slot: bool = True) -> Refusal:
        reason = self._why_unwritten if item.reason == Reason.INTERRUPTED else item.reason
        work = item.work
        return Refusal(
            work.slot.id,
            work.stage,
            reason,
            item.text,
            item.tokens,
            item.span,
            ends_slot,
            work.attempt,
            item.judgements,
        )

    async def _send_answers(self, batch: AnswerBatch, ended: Sequence[str]) -> None:
        await self._dealings.commit(batch, ended)
        self._changed.set()

    @property
    def _why_unwritten(self) -> Reason:
        return Reason.INTERRUPTED if self._draining else Reason.TOPIC_FULL

    async def _refuse_unwritten(self, works: Iterable[Work]) -> None:
        unwritten = (Checked(work, "", Tokens(), Reason.INTERRUPTED) for work in works)
        refusals = [self._refusal(item) for item in unwritten]
        await self._send_answers(AnswerBatch((), tuple(refusals)), [w.slot.id for w in works])

    async def _give_back(self, slot_ids: Sequence[str]) -> None:
        empty = np.zeros((0, 0), dtype=np.float32)
        batch = QuestionBatch((), empty, (), tuple(slot_ids))
        await self._dealings.reserve(batch)
        for slot_id in slot_ids:
            self._dealings.held.pop(slot_id, None)
        self._changed.set()

    def _take_up_again(self, refused: Sequence[Unsettled]) -> None:
        """The coordinator was restarted: drop what it no longer knows, send refusals again."""
        self._backlog.keep(self._dealings.held)
        if refused:
            rows = [each.vector for each in refused if each.vector is not None]
            vectors = np.stack(rows) if rows else np.zeros((0, 0), dtype=np.float32)
            self._spawn(self._reserve([each.item for each in refused], vectors))

    # -- tasks ---------------------------------------------------------------------

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()):
            self._failures.append(failure)
        self._changed.set()

    async def _keep_watch(self) -> None:
        """Tell the coordinator that this replica lives, and notice an engine that hangs."""
        pulse = min(self._config.lease.timeout / 4, _PULSE_S)
        while True:
            await asyncio.sleep(pulse)
            self._stall_watch.check()
            await self.look_around()

    async def look_around(self) -> None:
        """Hear which topics are full by now, and that this replica lives."""
        await self._dealings.lease(0)
