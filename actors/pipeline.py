"""The way of a record on one replica: question, reservation, answer, commit.

No Ray and no vLLM here: an engine and a coordinator are handed in. The event loop only
starts requests and collects them; parsing, gates and embedding run on a thread, over all
texts that finished meanwhile. There is no barrier: the engine is topped up whenever a
request ends, answers before questions, and the next lease is asked for while there are
still slots to start.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from actors.checker import Checked, Checker, Work, Written
from actors.dealings import Dealings, Unsettled
from actors.engine import Engine
from actors.panel import Panel
from synth.config import RunConfig
from synth.gates import Stage
from synth.prompts import Example, answer_messages, question_messages
from synth.protocol import (
    AnswerBatch,
    Candidate,
    CoordinatorPort,
    Holding,
    QuestionBatch,
    Reason,
    Refusal,
    Reply,
    Ruling,
    Slot,
    Tokens,
    Vectors,
)
from synth.quoting import withholding
from synth.specs import Specs

_ENGINE_SURPLUS = 1.1  # requests in flight per sequence the engine decodes: it never waits
_OPEN_SLOTS = 3.0  # slots held per sequence, from the lease to the durable commit
_GATHER_S = 0.02  # texts that finish within this time are handled together
_PULSE_S = 15.0  # between two signs of life, at most
_SEED_STEP = 7919  # between the seeds of a slot's answers


class EngineStalledError(RuntimeError):
    """The engine has work and ends none of it."""


def _candidate(item: Checked) -> Candidate:
    return Candidate(item.work.slot.id, item.text, item.tokens, item.flags, item.judgements)


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
        self._specs = specs
        self._examples = examples
        self._engine = engine
        self._checker = checker
        self._panel = panel
        self._dealings = Dealings(port, self._note, self._take_up_again)
        self._capacity = max(1, int(config.engine.max_num_seqs * _ENGINE_SURPLUS))
        self._most_open = int(config.engine.max_num_seqs * _OPEN_SLOTS)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="check")
        self._to_ask: deque[Slot] = deque()
        self._to_answer: deque[Work] = deque()
        self._writing: dict[str, Work] = {}
        self._written: list[Written] = []
        self._judging: dict[str, Work] = {}
        self._judged: list[Checked] = []
        self._to_judge: deque[Checked] = deque()
        self._closed: frozenset[str] = frozenset()
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._arrived = asyncio.Event()
        self._leasing = False
        self._last_progress = 0.0
        self._told_to_wait = False
        self._no_more_leases = False
        self._draining = False

    async def run(self) -> None:
        """Work until the coordinator is finished, or until drained.

        Raises:
            Exception: whatever the engine or the coordinator raised; open slots stay with the
                coordinator, which takes them back.
        """
        keepers = [asyncio.create_task(self._collect()), asyncio.create_task(self._keep_watch())]
        for keeper in keepers:
            keeper.add_done_callback(lambda _: self._changed.set())
        try:
            while not (self._no_more_leases and not self._dealings.held):
                self._top_up()
                self._ask_for_lease()
                await self._wait_for_change()
                self._raise_failures(keepers)
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
            await asyncio.sleep(_GATHER_S)

    # -- keeping the engine full ---------------------------------------------------

    @property
    def _busy(self) -> int:
        """Requests that the engine has in hand."""
        return len(self._writing) + self._panel.own_seats * len(self._judging)

    def _top_up(self) -> None:
        while self._busy < self._capacity and not self._draining:
            if self._to_judge:
                self._start_judging(self._to_judge.popleft())
            elif self._to_answer:
                self._start(self._to_answer.popleft())
            elif self._to_ask:
                slot = self._to_ask.popleft()
                if slot.topic not in self._closed:
                    self._start(Work(slot, Stage.QUESTION, slot.topic))
                else:
                    self._give_back([slot])
            else:
                break
        if self._draining:
            self._give_back(self._to_ask)
            self._to_ask.clear()
            for work in self._to_answer:
                self._spawn(self._refuse_unwritten(work))
            self._to_answer.clear()
            self._judged += [replace(item, reason=Reason.INTERRUPTED) for item in self._to_judge]
            self._to_judge.clear()
            self._arrived.set()

    def _start_judging(self, item: Checked) -> None:
        self._note_progress(self._judging)
        self._judging[item.work.request_id] = item.work
        self._spawn(self._judge(item))

    def _start(self, work: Work) -> None:
        self._note_progress(self._writing)
        self._writing[work.request_id] = work
        self._spawn(self._write(work))

    async def _write(self, work: Work) -> None:
        if work.stage is Stage.QUESTION:
            shown = self._examples.get(work.slot.topic, ())
            messages = question_messages(self._specs, work.slot, shown)
        else:
            messages = answer_messages(self._specs.topics[work.topic], work.question, work.at_risk)
        seed = (work.slot.seed + _SEED_STEP * work.attempt) % 2**31
        try:
            with withholding(*(message["content"] for message in messages)):
                generation = await self._engine.generate(
                    work.request_id, work.stage, messages, seed, work.slot.warmth
                )
        finally:
            del self._writing[work.request_id]
            self._last_progress = asyncio.get_running_loop().time()
        self._written.append(Written(work, messages, generation))
        self._arrived.set()
        self._changed.set()

    def _ask_for_lease(self) -> None:
        low = self._capacity // 2
        want = self._most_open - len(self._dealings.held)
        may_not = self._leasing or self._no_more_leases or self._told_to_wait
        if may_not or len(self._to_ask) > low or want <= 0:
            return
        self._leasing = True
        self._spawn(self._lease(want))

    async def _lease(self, want: int) -> None:
        try:
            reply = await self._dealings.lease(want)
        finally:
            self._leasing = False
        if reply.lease:
            self._to_ask.extend(reply.lease.slots)
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
        """Abort the questions of topics that have filled up."""
        newly = reply.closed - self._closed
        self._closed |= newly  # a topic that is full stays full; replies may overtake each other
        useless = [
            work.request_id
            for work in self._writing.values()
            if work.stage is Stage.QUESTION and work.topic in newly
        ]
        if useless:
            self._spawn(self._engine.abort(useless))

    # -- what the engine ended -----------------------------------------------------

    async def _collect(self) -> None:
        """Check finished texts in micro-batches, off the event loop, one batch at a time."""
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            await asyncio.sleep(_GATHER_S)
            self._arrived.clear()
            batch, self._written = self._written, []
            judged, self._judged = self._judged, []
            checked, vectors = await loop.run_in_executor(self._thread, self._checker.check, batch)
            questions = [item for item in checked if item.work.stage is Stage.QUESTION]
            answers = [item for item in checked if item.work.stage is Stage.ANSWER]
            if questions:
                await self._reserve(questions, vectors)
            if self._panel:
                self._to_judge.extend(item for item in answers if not item.reason)
                self._changed.set()
                answers = [item for item in answers if item.reason] + judged
            if answers:
                self._commit(answers)

    async def _judge(self, item: Checked) -> None:
        """Have an answer judged that passed the gates."""
        try:
            judged = await self._panel.judge(item)
        finally:
            del self._judging[item.work.request_id]
            self._last_progress = asyncio.get_running_loop().time()
        self._judged.append(judged)
        self._arrived.set()
        self._changed.set()

    async def _reserve(self, checked: Sequence[Checked], vectors: Vectors) -> None:
        passed = [item for item in checked if not item.reason]
        batch = QuestionBatch(
            tuple(_candidate(item) for item in passed),
            vectors,
            tuple(self._refusal(item) for item in checked if item.reason),
        )
        reply = await self._dealings.reserve(batch)
        for item in checked:
            if item.reason:
                self._let_go(item, None)
        for item, vector, verdict in zip(passed, vectors, reply.verdicts, strict=True):
            slot = item.work.slot
            if verdict.ruling is Ruling.RESERVED:
                self._dealings.held[slot.id] = Holding(
                    slot, verdict.topic, _candidate(item), vector
                )
                self._to_answer.append(
                    Work(slot, Stage.ANSWER, verdict.topic, item.text, item.at_risk)
                )
            else:
                self._let_go(item, vector)
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
                    self._to_answer.append(replace(work, attempt=work.attempt + 1))
        ended = [item.work.slot.id for item in passed]
        ended += [refusal.slot_id for refusal in refusals if refusal.ends_slot]
        candidates = tuple(_candidate(item) for item in passed)
        self._spawn(self._send_answers(AnswerBatch(candidates, tuple(refusals)), ended))

    def _may_answer_again(self, item: Checked) -> bool:
        attempts = item.work.attempt + 1
        return not self._draining and attempts < self._config.budget.answer_attempts

    def _refusal(self, item: Checked, ends_slot: bool = True) -> Refusal:
        reason = item.reason
        if reason == Reason.INTERRUPTED and not self._draining:
            reason = Reason.TOPIC_FULL
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

    async def _refuse_unwritten(self, work: Work) -> None:
        refusal = Refusal(work.slot.id, work.stage, Reason.INTERRUPTED, "", Tokens())
        await self._send_answers(AnswerBatch((), (refusal,)), [work.slot.id])

    def _give_back(self, slots: Sequence[Slot] | deque[Slot]) -> None:
        if slots:
            self._spawn(self._return([slot.id for slot in slots]))

    async def _return(self, slot_ids: Sequence[str]) -> None:
        empty = np.zeros((0, 0), dtype=np.float32)
        batch = QuestionBatch((), empty, (), tuple(slot_ids))
        await self._dealings.reserve(batch)
        for slot_id in slot_ids:
            self._dealings.held.pop(slot_id, None)
        self._changed.set()

    def _take_up_again(self, refused: Sequence[Unsettled]) -> None:
        """The coordinator was restarted: drop what it no longer knows, send refusals again."""
        held = self._dealings.held
        self._to_ask = deque(slot for slot in self._to_ask if slot.id in held)
        self._to_answer = deque(work for work in self._to_answer if work.slot.id in held)
        if refused:
            rows = [each.vector for each in refused if each.vector is not None]
            vectors = np.stack(rows) if rows else np.zeros((0, 0), dtype=np.float32)
            self._spawn(self._reserve([each.item for each in refused], vectors))

    # -- tasks ---------------------------------------------------------------------

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._changed.set())

    async def _wait_for_change(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    def _note_progress(self, under_way: Mapping[str, Work]) -> None:
        """An engine that had nothing to do was not hanging."""
        if not under_way:
            self._last_progress = asyncio.get_running_loop().time()

    def _raise_failures(self, keepers: Sequence[asyncio.Task[None]]) -> None:
        done = {task for task in self._tasks if task.done()}
        self._tasks -= done
        for task in (*done, *(keeper for keeper in keepers if keeper.done())):
            task.result()

    async def _keep_watch(self) -> None:
        """Tell the coordinator that this replica lives, and notice an engine that hangs."""
        pulse = min(self._config.lease.timeout / 4, _PULSE_S)
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(pulse)
            idle_s = loop.time() - self._last_progress
            limit = self._config.engine.stall_timeout
            if (self._writing or self._judging) and idle_s > limit:
                raise EngineStalledError(
                    f"the engine ended no text for {idle_s:.0f} s (engine.stall_timeout: {limit:g})"
                )
            await self._dealings.lease(0)
