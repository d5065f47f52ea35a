"""The coverage balancer: decides which slot is written next.

Pure bookkeeping: no clock, no I/O, and the randomness comes from the seed. Every topic
keeps counts that are updated by each verdict, so issuing a slot never scans candidates.

A slot moves: asked -> reserved -> committed, or falls out on the way. What a topic may have
in flight is what it still needs divided by the learned chance that a question ends up
committed. The topic with the lowest expected coverage comes first, so that all topics fill
at the same pace and a run that is cut short is even, too.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from synth.protocol import Slot
from synth.rates import Rate, deviation, excess
from synth.specs import Specs

_AVOIDED = 3  # openings of questions, too close ones, that an escalated prompt names
_DUPLICATE_LEVELS = (0.15, 0.35, 0.6)  # duplicate share from which a prompt escalates a level
_WARMTH_PER_LEVEL = 0.1
_CAUTION = 0.5  # standard deviations; a second wave is cheaper than questions nobody needs
_DARING = 1.0  # the same, the other way, while an engine would be idle: its tokens cost no time
_SPARED = 0.02  # of all targets: what may be in flight for nobody, for engines that would be idle
_LEAST_SPARED = 2.0  # records: a few targets are worth that, too
_LATE = 4  # power of the share of records that are there: how much of that may be spent by then
_SLOWEST = 0.5  # of the questions that the slowest topic still needs: as slow, and worth the same
# Believed of any topic before the first verdict. High, so that a first wave never holds more
# questions than could all be used; each refusal then widens it.
_OPTIMISM = 0.95


@dataclass
class TopicState:
    """Where a topic stands.

    `staged` are those of the `reserved` whose answer waits to be durable. `coverage` counts facet
    values, and `varied` how often a facet was fixed at all.
    """

    target: int
    question_rate: Rate
    answer_rate: Rate
    committed: int = 0
    reserved: int = 0
    staged: int = 0
    asked: int = 0
    attempts: int = 0
    duplicate_rate: Rate = field(default_factory=lambda: Rate(0.0))
    coverage: Counter[tuple[str, str]] = field(default_factory=Counter)
    varied: Counter[str] = field(default_factory=Counter)
    near_duplicates: deque[str] = field(default_factory=lambda: deque(maxlen=_AVOIDED))

    @property
    def room(self) -> int:
        """Records that may still be taken."""
        return self.target - self.committed - self.staged

    @property
    def unanswered(self) -> int:
        """Reserved questions whose answers are still to come."""
        return self.reserved - self.staged

    @property
    def expected(self) -> float:
        """Records that are likely to come of what is in flight, without those that are staged."""
        return (self.unanswered + self.asked * self.question_rate.mean) * self.answer_rate.mean

    @property
    def excess(self) -> float:
        """Records more than there is room for that are likely to come of what is in flight."""
        answered = self.answer_rate.mean
        chance = self.question_rate.mean * answered
        variance = self.unanswered * answered * (1 - answered) + self.asked * chance * (1 - chance)
        return excess(self.expected, variance, self.room) if self.room > 0 else 0.0

    @property
    def expected_coverage(self) -> float:
        return (self.committed + self.staged + self.expected) / self.target


class Balancer:
    """Issues slots so that every topic ends exactly on its target.

    Args:
        specs: topics and facets.
        targets: topic id -> records wanted.
        attempts_per_record: questions a topic may cost per record of its target.
        facets_per_slot: facets that a slot fixes beside the situation.
        seed: of everything random here; another one at each start of a run, or a resumed run
            would ask the same prompts again.
        fixed: facet -> value that every slot has, beside those.
    """

    def __init__(
        self,
        specs: Specs,
        targets: Mapping[str, int],
        attempts_per_record: int,
        facets_per_slot: int,
        seed: str,
        fixed: Mapping[str, str] | None = None,
    ):
        self._specs = specs
        self.attempts_per_record = attempts_per_record
        self._fixed = dict(fixed or {})
        self._facets_per_slot = min(facets_per_slot, len(specs.facets))
        self._random = random.Random(seed)
        self._spared: frozenset[str] = frozenset()
        self._wanted = sum(targets.values())
        self._most_spared = max(_LEAST_SPARED, _SPARED * self._wanted)
        questions, answers = Rate(_OPTIMISM), Rate(_OPTIMISM)  # of all topics together
        self.topics = {
            topic: TopicState(targets[topic], Rate(questions), Rate(answers))
            for topic in specs.topics
        }

    def restore(self, topic: str, committed: int, attempts: int) -> None:
        """Take over what a store holds of `topic`; use `cover` for its facet values."""
        state = self.topics[topic]
        state.committed, state.attempts = committed, attempts

    # -- issuing -------------------------------------------------------------------

    def draw(self, slot_ids: Iterable[str], *, idle: bool = False) -> list[Slot]:
        """The next slots, counted as asked; fewer when no more may be in flight now.

        Args:
            idle: whether the engine would have nothing to do otherwise. Then more of the slowest
                topics are in flight than are likely to be needed, so that the last records are
                not waited for one after another; until the next draw, more of their questions
                may be reserved as well.
        """
        self._spared = self._slowest() if idle and self._may_spare() else frozenset()
        limits = {topic: self.limit(topic) for topic in self.topics}
        order = {topic: place for place, topic in enumerate(self.topics)}
        heap = [
            (state.expected_coverage, order[topic], topic)
            for topic, state in self.topics.items()
            if state.asked < limits[topic]
        ]
        heapq.heapify(heap)
        slots: list[Slot] = []
        for slot_id in slot_ids:
            if not heap or not self._may_follow(heap[0][0]):
                break
            topic = heap[0][2]
            slots.append(self._slot(slot_id, topic))
            state = self.topics[topic]
            if state.asked < limits[topic] and not self._spent(state):
                heapq.heapreplace(heap, (state.expected_coverage, order[topic], topic))
            else:
                heapq.heappop(heap)
        return slots

    def _may_follow(self, least_expected_coverage: float) -> bool:
        """Whether another slot may be issued."""
        if self._spared:
            return self._may_spare()
        return least_expected_coverage < 1.0

    def _may_spare(self) -> bool:
        """Whether more may be written to spare: little at first, most of it at a run's end."""
        done = sum(state.committed for state in self.topics.values()) / self._wanted
        surplus = sum(state.excess for state in self.topics.values())
        return surplus < self._most_spared * done**_LATE

    def _slowest(self) -> frozenset[str]:
        """The topics that the end of the run waits for: they need the most questions still."""
        questions = {
            topic: state.room / (state.question_rate.mean * state.answer_rate.mean)
            for topic, state in self.topics.items()
            if state.room > 0 and not self._spent(state)
        }
        most = max(questions.values(), default=0.0)
        return frozenset(t for t, count in questions.items() if count >= _SLOWEST * most)

    def _slot(self, slot_id: str, topic: str) -> Slot:
        state = self.topics[topic]
        level = self.escalation(topic)
        facets = self._choose_facets(topic, self._facets_per_slot + level)
        situation = self._least_covered(state, "situation", self._specs.topics[topic].situations)
        state.asked += 1
        state.attempts += 1
        slot = Slot(
            id=slot_id,
            topic=topic,
            situation=situation,
            facets=facets,
            seed=self._random.getrandbits(31),
            warmth=level * _WARMTH_PER_LEVEL,
            avoid=tuple(state.near_duplicates) if level else (),
        )
        self._cover(state, situation, facets, 1)
        return slot

    def limit(self, topic: str) -> int:
        """How many questions of `topic` may be in flight at once.

        As many as are expected to bring what is needed and to find a place, less a part of the
        number's standard deviation, rounded down; at least one while nothing else is under way.
        """
        state = self.topics[topic]
        if state.room <= 0 or self._spent(state):
            return 0
        passed, answered = state.question_rate.mean, state.answer_rate.mean
        chance = passed * answered
        needed = max(0.0, state.room - state.unanswered * answered)
        margin = _DARING if topic in self._spared else -_CAUTION
        likely = int((needed + margin * deviation(needed, chance)) / chance)
        free = max(0, self._most_unanswered(topic) - state.unanswered)
        places = int((free - _CAUTION * deviation(free, passed)) / passed)
        return max(min(likely, places), 1 if state.reserved == 0 else 0)

    def _most_unanswered(self, topic: str) -> int:
        """How many reserved questions of a topic may wait for their answers at once.

        More than there is room for, when some answers are likely to fail: one more while it is
        more likely needed than not, and while engines would be idle some more.
        """
        state = self.topics[topic]
        answered = state.answer_rate.mean
        likely = state.room - 0.5  # the median
        if topic not in self._spared:
            return max(state.room, int(likely / answered))
        likely += _DARING * deviation(state.room, answered)
        return max(state.room, math.ceil(likely / answered))

    def escalation(self, topic: str) -> int:
        """0 to 3: how hard a prompt pushes away from what the topic already holds."""
        share = self.topics[topic].duplicate_rate.mean
        return sum(share >= level for level in _DUPLICATE_LEVELS)

    def _choose_facets(self, topic: str, count: int) -> dict[str, str]:
        """Fix the `count` facets that the topic has varied least, each at its rarest value."""
        state = self.topics[topic]
        free = [name for name in self._specs.facets if name not in self._fixed]
        names = sorted(free, key=lambda name: (state.varied[name], self._random.random()))
        chosen = dict(self._fixed)
        for name in names[:count]:
            values = [
                value
                for value in self._specs.values_for(topic, name)
                if not any(self._specs.clash((name, value), other) for other in chosen.items())
            ]
            if values:
                chosen[name] = self._least_covered(state, name, values)
        return {name: chosen[name] for name in self._specs.facets if name in chosen}

    def _least_covered(
        self, state: TopicState, facet: str, values: tuple[str, ...] | list[str]
    ) -> str:
        return min(values, key=lambda value: (state.coverage[facet, value], self._random.random()))

    # -- verdicts ------------------------------------------------------------------

    def reserved(self, slot: Slot, topic: str) -> None:
        """A question was accepted and filed under `topic`, perhaps not the one asked for."""
        self.topics[topic].reserved += 1
        asked = self.topics[slot.topic]
        asked.asked -= 1
        self._learn_question(asked, topic == slot.topic, duplicate=False)
        if topic != slot.topic:
            self._cover(asked, slot.situation, slot.facets, -1)
            self._cover(self.topics[topic], slot.situation, slot.facets, 1)

    def refused(self, slot: Slot, duplicate_of: str | None = None) -> None:
        """A question was refused on its merits.

        Args:
            duplicate_of: opening of the question that it was too close to, if that is why; empty
                where it must not be told.
        """
        state = self.topics[slot.topic]
        state.asked -= 1
        self._cover(state, slot.situation, slot.facets, -1)
        self._learn_question(state, False, duplicate=duplicate_of is not None)
        if duplicate_of:
            state.near_duplicates.append(duplicate_of)

    def dropped(self, slot: Slot) -> None:
        """A slot ended without a judgement: that costs its topic no attempt."""
        state = self.topics[slot.topic]
        state.asked -= 1
        state.attempts -= 1
        self._cover(state, slot.situation, slot.facets, -1)

    def set_aside(self, topic: str, *, reserved: bool) -> None:
        """A slot takes too long: its place is free for another, until `taken_up`.

        Args:
            topic: where it is filed if it is `reserved`, else where it was asked for.
        """
        self._count(topic, reserved, -1)

    def taken_up(self, topic: str, *, reserved: bool) -> None:
        """A slot that was set aside came after all, and is counted again."""
        self._count(topic, reserved, 1)

    def _count(self, topic: str, reserved: bool, step: int) -> None:
        state = self.topics[topic]
        if reserved:
            state.reserved += step
        else:
            state.asked += step

    def staged(self, topic: str) -> None:
        """A reserved record is complete; it waits to be durable."""
        self.topics[topic].staged += 1

    def unstaged(self, topic: str) -> None:
        """It cannot be taken after all, and is only reserved again."""
        self.topics[topic].staged -= 1

    def committed(self, topic: str) -> None:
        """A staged record is durable."""
        state = self.topics[topic]
        state.staged -= 1
        state.reserved -= 1
        state.committed += 1
        state.answer_rate.observe(True)

    def released(self, slot: Slot, topic: str, *, judged: bool = True) -> None:
        """A reservation is given back; `judged`: because no answer was good enough."""
        state = self.topics[topic]
        state.reserved -= 1
        self._cover(state, slot.situation, slot.facets, -1)
        if judged:
            state.answer_rate.observe(False)

    def _learn_question(self, state: TopicState, success: bool, duplicate: bool) -> None:
        state.question_rate.observe(success)
        state.duplicate_rate.observe(duplicate)

    def _cover(
        self, state: TopicState, situation: str, facets: Mapping[str, str], step: int
    ) -> None:
        state.coverage["situation", situation] += step
        for pair in facets.items():
            state.coverage[pair] += step
            state.varied[pair[0]] += step

    def adopt(self, slot: Slot) -> None:
        """Count a slot as asked that an earlier start of the coordinator issued."""
        state = self.topics[slot.topic]
        state.asked += 1
        state.attempts += 1
        self._cover(state, slot.situation, slot.facets, 1)

    def cover(self, topic: str, situation: str, facets: Mapping[str, str]) -> None:
        """Count the facet values of a record that a store already holds."""
        self._cover(self.topics[topic], situation, facets, 1)

    # -- where things stand --------------------------------------------------------

    def _spent(self, state: TopicState) -> bool:
        return state.attempts >= self.attempts_per_record * state.target

    def full(self, topic: str) -> bool:
        return self.topics[topic].committed >= self.topics[topic].target

    def saturated(self, topic: str) -> bool:
        """The attempt budget is spent, nothing is in flight, and the target is not met."""
        state = self.topics[topic]
        return not self.full(topic) and self._spent(state) and state.asked == 0 == state.reserved

    def wants(self, topic: str) -> bool:
        """Whether another question of `topic` could still be used."""
        state = self.topics[topic]
        return state.room > 0 and state.unanswered < self._most_unanswered(topic)

    def finished(self) -> bool:
        """Every topic is full or saturated."""
        return all(self.full(topic) or self.saturated(topic) for topic in self.topics)
