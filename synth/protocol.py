"""What replicas and the coordinator say to each other: leases, candidates and verdicts.

Everything travels in micro-batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from synth.gates import Flag, Stage
from synth.judgement import Judgement

Vectors = npt.NDArray[np.float32]


NO_EPOCH = 0  # what a replica knows of the coordinator's starts before its first call


class Reason(StrEnum):
    """Why the coordinator or the way of a record refused a candidate; gates add their own."""

    DUPLICATE = "duplicate"
    EXACT_REPEAT = "exact_repeat"
    OFF_TOPIC = "off_topic"
    TOPIC_FULL = "topic_full"
    INTERRUPTED = "interrupted"
    EXPIRED = "expired"


UNJUDGED = frozenset({Reason.TOPIC_FULL, Reason.INTERRUPTED, Reason.EXPIRED})
"""Reasons that say nothing about the text: it costs its topic no attempt."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One record to be written.

    Attributes:
        id: derived from run, lease and position; the record's id if it is accepted.
        topic: topic id.
        situation: the topic spec's words.
        facets: facet name -> value id, a subset of all facets.
        seed: sampling seed.
        warmth: added to the configured temperature.
        avoid: openings of questions that were too close to existing ones.
    """

    id: str
    topic: str
    situation: str
    facets: Mapping[str, str]
    seed: int
    warmth: float = 0.0
    avoid: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lease:
    """Slots handed to one replica."""

    id: str
    slots: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens that an engine read and wrote for one text."""

    prompt: int = 0
    completion: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.prompt + other.prompt, self.completion + other.completion)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A text that passed the replica's own gates.

    Attributes:
        flags: what the gates noted.
        judgements: of an answer, when judges are asked.
    """

    slot_id: str
    text: str
    tokens: Tokens
    flags: tuple[Flag, ...] = ()
    judgements: tuple[Judgement, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A text that failed on the replica, or was not finished.

    Attributes:
        ends_slot: the slot is given up; else another answer will be tried for it.
        span: the part of the text that shows the reason.
        attempt: which answer of the slot this was, from 0.
        judgements: of an answer that the judges refused.
    """

    slot_id: str
    stage: Stage
    reason: str
    text: str
    tokens: Tokens
    span: str = ""
    ends_slot: bool = True
    attempt: int = 0
    judgements: tuple[Judgement, ...] = ()


@dataclass(frozen=True, slots=True)
class QuestionBatch:
    """Questions to reserve, row i of `vectors` (n x d, L2-normalised) being candidate i's.

    `returned` are ids of slots that were never started.
    """

    candidates: tuple[Candidate, ...]
    vectors: Vectors
    refusals: tuple[Refusal, ...] = ()
    returned: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerBatch:
    """Answers to commit."""

    candidates: tuple[Candidate, ...]
    refusals: tuple[Refusal, ...] = ()


class Ruling(StrEnum):
    """What became of a candidate."""

    RESERVED = "reserved"
    COMMITTED = "committed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The coordinator's word on one slot; `topic` is where it is filed."""

    slot_id: str
    ruling: Ruling
    topic: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Holding:
    """A slot that a replica has in hand, as it tells a coordinator that was restarted.

    Attributes:
        topic: where its question was filed; empty when it has no reservation yet.
        question: the reserved question.
        vector: that question's embedding.
    """

    slot: Slot
    topic: str = ""
    question: Candidate | None = None
    vector: Vectors | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What every call to the coordinator answers.

    Attributes:
        verdicts: one per question of a `reserve`, in order; empty otherwise.
        closed: topics that hold their target; what is being written for them can be aborted.
        lease: slots to work on, when some were asked for and are to be had.
        finished: no lease will ever come again.
        retry_after: seconds to wait before asking for a lease again.
        epoch: which start of the coordinator answers.
        rejoin: this start does not know the caller yet; nothing was done. Send the holdings.
    """

    verdicts: tuple[Verdict, ...] = ()
    closed: frozenset[str] = field(default_factory=frozenset)
    lease: Lease | None = None
    finished: bool = False
    retry_after: float = 0.0
    epoch: int = NO_EPOCH
    rejoin: bool = False


class CoordinatorPort(Protocol):
    """The coordinator as a replica sees it; `epoch` is the start that the replica knows."""

    async def lease(self, epoch: int, want: int) -> Reply: ...

    async def reserve(self, epoch: int, batch: QuestionBatch) -> Reply: ...

    async def commit(self, epoch: int, batch: AnswerBatch) -> Reply:
        """Returns when the batch is durable."""
        ...

    async def rejoin(self, holdings: Sequence[Holding]) -> Reply: ...
