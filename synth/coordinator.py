"""The coordinator's logic: what it hands out, what it accepts, and when it is durable.

No Ray, clock or threads: the actor around it calls these methods from one event loop. The one
slow thing, `CommitBatch.write`, touches none of this state and may run on another thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from synth.balancer import Balancer
from synth.config import RunConfig
from synth.gates import Stage
from synth.index import DuplicateIndex, ExactRepeats, Neighbour
from synth.labeller import Filing, TopicLabeller
from synth.outbox import CommitBatch, OpenSlot, Outbox, Phase
from synth.protocol import (
    UNJUDGED,
    AnswerBatch,
    Candidate,
    Holding,
    Lease,
    QuestionBatch,
    Reason,
    Refusal,
    Reply,
    Ruling,
    Slot,
    Verdict,
)
from synth.report import Snapshot, Status, Tally, Timing, build_report
from synth.standing import full_topics, snapshot, standing
from synth.stragglers import Stragglers
from synth.verdicts import Decided, Verdicts

_RETRY_S = 0.25  # a replica that got no lease asks again after this time, or later
_ASKED_AGAIN = 400  # a second, at most, by all replicas that wait for a lease together


class Coordinator:
    """Owns coverage, the duplicate index and what is to be stored.

    Args:
        run_id: prefix of every id.
        epoch: number of this start of the run; keeps lease ids apart across starts.
        config: the run config.
        model_name: as records carry it.
        balancer, index, labeller, tally: the parts, restored from the store if there is one.
        repeats: exact texts of questions and answers that are taken.
        decided: what the store says of the slots of earlier starts.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        run_id: str,
        epoch: int,
        config: RunConfig,
        model_name: str,
        balancer: Balancer,
        index: DuplicateIndex,
        labeller: TopicLabeller,
        tally: Tally,
        repeats: ExactRepeats,
        decided: Decided,
        clock: Callable[[], float],
    ):
        self._epoch = epoch
        self._prefix = f"{run_id}-{epoch:03d}"
        self._config = config
        self._balancer = balancer
        self._index = index
        self._labeller = labeller
        self._tally = tally
        self._repeats = repeats
        self._verdicts = Verdicts(decided)
        self._clock = clock
        self._open: dict[str, OpenSlot] = {}
        self._last_heard: dict[str, float] = {}
        self._outbox = Outbox(index, model_name)
        self._waiting_replicas: set[str] = set()
        self._stragglers = Stragglers(balancer)
        self._full = full_topics(balancer)
        self._leases = 0
        self._stop: tuple[Status, str] | None = None
        self._restored = (tally.accepted, tally.tokens.completion)

    # -- what replicas call --------------------------------------------------------

    def lease(self, replica: str, want: int) -> Reply:
        """Up to `want` slots, fewer or none when no more may be in flight."""
        self._last_heard[replica] = now = self._clock()
        finished = self._stop is not None or self._balancer.finished()
        if finished or want <= 0:
            return self._reply(finished=finished, retry_after=_RETRY_S)
        lease_id = f"{self._prefix}-{self._leases:06d}"
        ids = [f"{lease_id}-{i:03d}" for i in range(min(want, self._config.lease.slots))]
        slots: list[Slot] = []
        if not self._stragglers.holds_up(replica):
            slots = self._balancer.draw(ids)
            if not slots and self._stragglers.set_aside(self._open.values(), now):
                slots = self._balancer.draw(ids)
            if not slots:
                slots = self._balancer.draw(ids, idle=True)
        if not slots:
            self._waiting_replicas.add(replica)
            share = len(self._waiting_replicas) / _ASKED_AGAIN
            return self._reply(retry_after=max(_RETRY_S, share))
        self._waiting_replicas.discard(replica)
        self._open.update((slot.id, OpenSlot(slot, lease_id, replica, now)) for slot in slots)
        self._leases += 1
        return self._reply(lease=Lease(lease_id, tuple(slots)))

    def _take_up(self, slot_id: str) -> OpenSlot | None:
        """An open slot that is heard of."""
        held = self._open.get(slot_id)
        if held is not None:
            self._stragglers.take_up(held)
        return held

    def reserve(self, replica: str, batch: QuestionBatch) -> Reply:
        """Judge questions: filed and reserved, or refused with a reason."""
        self._last_heard[replica] = self._clock()
        for slot_id in batch.returned:
            self._give_back(slot_id)
        for refusal in batch.refusals:
            self._refuse_text(refusal)
        probe = self._index.probe(batch.vectors)
        scores = self._labeller.scores(batch.vectors) if batch.candidates else np.zeros((0, 0))
        with_room = {topic for topic in self._balancer.topics if self._balancer.wants(topic)}
        verdicts = []
        for row, candidate in enumerate(batch.candidates):
            open_slot = self._take_up(candidate.slot_id)
            if open_slot is None or open_slot.phase is not Phase.ASKED:
                verdicts.append(self.verdict_of(candidate.slot_id))
                continue
            filing = self._labeller.file(scores[row], open_slot.slot.topic, with_room)
            verdict = self._judge_question(open_slot, candidate, filing, probe.nearest(row))
            if verdict.ruling is Ruling.RESERVED:
                probe.reserve(row, candidate.slot_id, candidate.text)
                if not self._balancer.wants(verdict.topic):
                    with_room.discard(verdict.topic)
            verdicts.append(verdict)
        return self._reply(verdicts=tuple(verdicts))

    def _judge_question(
        self, held: OpenSlot, candidate: Candidate, filing: Filing, nearest: Neighbour | None
    ) -> Verdict:
        """Reserve a question or refuse it; the caller enters it into the probe."""
        owner = self._repeats.owner(candidate.text)
        if owner is not None:
            return self._refuse_question(
                held, candidate, Reason.EXACT_REPEAT, nearest=Neighbour(owner, 1.0)
            )
        if self._index.too_close(nearest):
            return self._refuse_question(held, candidate, Reason.DUPLICATE, nearest=nearest)
        if filing.topic is None:
            detail = f"{filing.score:.3f}; {filing.best} {filing.best_score:.3f}"
            return self._refuse_question(held, candidate, Reason.OFF_TOPIC, detail)
        if not self._balancer.wants(filing.topic):
            return self._refuse_question(held, candidate, Reason.TOPIC_FULL)
        held.phase, held.topic, held.question = Phase.RESERVED, filing.topic, candidate.text
        held.question_tokens, held.flags = candidate.tokens, candidate.flags
        held.scores = {"topic": filing.filed_score, "best_topic": filing.best_score}
        self._repeats.claim(candidate.text, candidate.slot_id)
        self._balancer.reserved(held.slot, filing.topic)
        return Verdict(candidate.slot_id, Ruling.RESERVED, filing.topic)

    def _refuse_question(
        self,
        held: OpenSlot,
        candidate: Candidate,
        reason: Reason,
        detail: str = "",
        nearest: Neighbour | None = None,
    ) -> Verdict:
        self._outbox.refuse(
            held, Stage.QUESTION, reason, candidate.text, candidate.tokens, detail, nearest
        )
        if reason in UNJUDGED:
            self._balancer.dropped(held.slot)
        else:
            self._balancer.refused(held.slot, duplicate_of=nearest.opening if nearest else None)
        return self._close(held, Ruling.REFUSED, reason)

    def commit(self, replica: str, batch: AnswerBatch) -> Reply:
        """Take answers for the next commit; their verdicts follow from `settle`."""
        self._last_heard[replica] = self._clock()
        for refusal in batch.refusals:
            self._refuse_text(refusal)
        for candidate in batch.candidates:
            held = self._take_up(candidate.slot_id)
            if held is None or held.phase is not Phase.RESERVED:
                continue
            if self._balancer.topics[held.topic].room <= 0:  # others had its place
                self._refuse_answer(held, candidate, Reason.TOPIC_FULL)
                continue
            if not self._repeats.claim(candidate.text, candidate.slot_id):
                nearest = Neighbour(self._repeats.owner(candidate.text) or "", 1.0)
                self._refuse_answer(held, candidate, Reason.EXACT_REPEAT, nearest)
                continue
            held.answer, held.answer_tokens = candidate.text, candidate.tokens
            held.flags += candidate.flags
            held.judgements = candidate.judgements
            self._stragglers.staged(held, self._clock())
            self._outbox.stage(held)
            self._balancer.staged(held.topic)
        return self._reply()

    def _refuse_answer(
        self,
        held: OpenSlot,
        candidate: Candidate,
        reason: Reason,
        nearest: Neighbour | None = None,
    ) -> None:
        self._outbox.refuse(
            held,
            Stage.ANSWER,
            reason,
            candidate.text,
            candidate.tokens + held.question_tokens,
            nearest=nearest,
            judgements=candidate.judgements,
        )
        self._release(held, judged=reason not in UNJUDGED)
        self._close(held, Ruling.REFUSED, reason)

    def verdict_of(self, slot_id: str) -> Verdict:
        """What became of a slot; `RESERVED` while that is open."""
        held = self._open.get(slot_id)
        if held is not None:
            return Verdict(slot_id, Ruling.RESERVED, held.topic)
        return self._verdicts.of(slot_id)

    def rejoin(self, replica: str, holdings: Sequence[Holding]) -> Reply:
        """Take over what a replica had in hand from the start before this one.

        Answers each holding: reserved or still open (`RESERVED`), or what the store says of it.
        """
        self._last_heard[replica] = self._clock()
        verdicts = []
        for holding in holdings:
            slot = holding.slot
            decided = self._verdicts.of_earlier_starts(slot.id)
            if decided is not None or slot.id in self._open:
                verdicts.append(decided or self.verdict_of(slot.id))
                continue
            held = OpenSlot(slot, slot.id.rpartition("-")[0], replica, self._clock())
            self._open[slot.id] = held
            self._balancer.adopt(slot)
            if holding.question is None or holding.vector is None:
                verdicts.append(Verdict(slot.id, Ruling.RESERVED, slot.topic))
                continue
            probe = self._index.probe(holding.vector[None])
            filing = self._labeller.as_filed(holding.vector, holding.topic)
            verdict = self._judge_question(held, holding.question, filing, probe.nearest(0))
            if verdict.ruling is Ruling.RESERVED:
                probe.reserve(0, slot.id, holding.question.text)
            verdicts.append(verdict)
        return self._reply(verdicts=tuple(verdicts))

    def _reply(self, **parts: Any) -> Reply:
        return Reply(closed=self._full, epoch=self._epoch, **parts)

    # -- commit --------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Rows that wait for the next commit."""
        return len(self._outbox)

    def take_batch(self) -> CommitBatch:
        """What is to be written now. Call `settle` with it once it is durable."""
        batch = self._outbox.take()
        for held in batch.late:
            self._repeats.release(held.answer, held.slot.id)
            self._balancer.unstaged(held.topic)
            self._release(held, judged=True)
            self._close(held, Ruling.REFUSED, Reason.DUPLICATE)
        return batch

    def settle(self, batch: CommitBatch) -> None:
        """Count a batch that is durable."""
        ids = [row["id"] for row in batch.accepted]
        self._index.commit(ids)
        for row in batch.accepted:
            held = self._open[row["id"]]
            self._balancer.committed(held.topic)
            self._tally.accept(row)
            self._close(held, Ruling.COMMITTED)
        self._full = full_topics(self._balancer)
        for row in batch.rejected:
            self._tally.reject(row)

    # -- refusals ------------------------------------------------------------------

    def _refuse_text(self, refusal: Refusal) -> None:
        """Book a text that a replica refused, or gave up."""
        slot_id = refusal.slot_id
        held = self._take_up(slot_id) if refusal.ends_slot else self._open.get(slot_id)
        if held is None or held.phase is Phase.STAGED:
            return
        tokens = refusal.tokens
        if refusal.ends_slot and held.phase is Phase.RESERVED:
            tokens += held.question_tokens  # no record will carry them
        if not self._verdicts.knew(refusal):
            self._outbox.refuse_text(held, refusal, tokens)
        if not refusal.ends_slot:
            return
        judged = refusal.reason not in UNJUDGED
        if held.phase is Phase.RESERVED:
            self._release(held, judged=judged)
        elif judged:
            self._balancer.refused(held.slot)
        else:
            self._balancer.dropped(held.slot)
        self._close(held, Ruling.REFUSED, refusal.reason)

    def _release(self, held: OpenSlot, *, judged: bool) -> None:
        self._index.release(held.slot.id)
        self._repeats.release(held.question, held.slot.id)
        self._balancer.released(held.slot, held.topic, judged=judged)

    def _give_back(self, slot_id: str) -> None:
        """A slot that nobody wrote for, or whose replica is gone."""
        held = self._take_up(slot_id)
        if held is None or held.phase is Phase.STAGED:
            return
        if held.phase is Phase.RESERVED:
            self._outbox.refuse(
                held, Stage.QUESTION, Reason.EXPIRED, held.question, held.question_tokens
            )
            self._release(held, judged=False)
        else:
            self._balancer.dropped(held.slot)
        self._close(held, Ruling.REFUSED, Reason.EXPIRED)

    def _close(self, held: OpenSlot, ruling: Ruling, reason: str = "") -> Verdict:
        verdict = Verdict(held.slot.id, ruling, held.filed, str(reason))
        del self._open[held.slot.id]
        self._verdicts.keep(verdict)
        return verdict

    # -- supervision ---------------------------------------------------------------

    def replica_lost(self, replica: str) -> None:
        """Take back all that a replica holds, but for what is on its way to the store."""
        self._last_heard.pop(replica, None)
        self._waiting_replicas.discard(replica)
        for slot_id in [i for i, held in self._open.items() if held.replica == replica]:
            self._give_back(slot_id)

    def expire(self) -> None:
        """Take back the leases of replicas that were silent for too long."""
        limit = self._clock() - self._config.lease.timeout
        for replica in [name for name, heard in self._last_heard.items() if heard < limit]:
            self.replica_lost(replica)

    def stop(self, status: Status, reason: str) -> None:
        """Lease nothing more; the first reason given stands."""
        if self._stop is None:
            self._stop = status, reason

    # -- where things stand --------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Nothing is leased and nothing waits to be written."""
        return not self._open and not self.waiting

    def outcome(self) -> tuple[Status, str]:
        """How the run stands, and why."""
        return standing(self._balancer, self._stop)

    def report(self, timing: Timing) -> dict[str, Any]:
        """The content of `report.json`."""
        targets = {topic: state.target for topic, state in self._balancer.topics.items()}
        status, reason = self.outcome()
        return build_report(
            status, reason, self._tally, targets, timing, self._config.dedup.threshold
        )

    def snapshot(self, generate_s: float) -> Snapshot:
        """What the live display shows."""
        return snapshot(self._balancer, self._tally, self._stop, self._restored, generate_s)
