"""What waits to be written: accepted and refused rows, collected into one commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from synth.config import METRICS
from synth.gates import Flag, Stage
from synth.index import DuplicateIndex, Neighbour
from synth.judgement import Judgement, mean_scores
from synth.protocol import Reason, Refusal, Slot, Tokens
from synth.records import Record
from synth.segments import SegmentWriter
from synth.specs import SITUATION

Row = dict[str, Any]


class Phase(Enum):
    """How far a leased slot is."""

    ASKED = "asked"
    RESERVED = "reserved"
    STAGED = "staged"


@dataclass
class OpenSlot:
    """A leased slot without a final verdict.

    Attributes:
        since: when it was leased, on the coordinator's clock.
        topic: where its question was filed.
        aside: overdue, and not counted as under way until it is heard of.
    """

    slot: Slot
    lease: str
    replica: str
    since: float
    phase: Phase = Phase.ASKED
    topic: str = ""
    question: str = ""
    answer: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    question_tokens: Tokens = field(default_factory=Tokens)
    answer_tokens: Tokens = field(default_factory=Tokens)
    flags: tuple[Flag, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    aside: bool = False

    @property
    def filed(self) -> str:
        """The topic that it counts for."""
        return self.topic or self.slot.topic


@dataclass(frozen=True)
class CommitBatch:
    """Rows on their way to the store: counted only once `write` has returned.

    Attributes:
        late: slots whose question proved a duplicate only now; among `rejected`.
    """

    accepted: tuple[Row, ...]
    rejected: tuple[Row, ...]
    late: tuple[OpenSlot, ...] = ()

    def write(self, accepted: SegmentWriter, rejected: SegmentWriter) -> None:
        """Make the rows durable; safe to call from another thread.

        After an OSError it may be called again: a part that was written is not written twice.
        """
        accepted.append(self.accepted)
        rejected.append(self.rejected)


class Outbox:
    """Collects rows until the next commit.

    Args:
        index: where the vectors of reserved questions are.
        model_name: as records carry it.
    """

    def __init__(self, index: DuplicateIndex, model_name: str):
        self._index = index
        self._model_name = model_name
        self._staged: list[OpenSlot] = []
        self._refused: list[Row] = []

    def __len__(self) -> int:
        return len(self._staged) + len(self._refused)

    def stage(self, held: OpenSlot) -> None:
        """Put a finished record into the next commit."""
        held.phase = Phase.STAGED
        self._staged.append(held)

    def refuse(
        self,
        held: OpenSlot,
        stage: Stage,
        reason: str,
        text: str,
        tokens: Tokens,
        detail: str = "",
        nearest: Neighbour | None = None,
        attempt: int = 0,
        judgements: Sequence[Judgement] = (),
    ) -> None:
        """Put a refused text into the next commit."""
        self._refused.append(
            {
                "id": held.slot.id,
                "topic": held.filed,
                "stage": str(stage),
                "reason": str(reason),
                "detail": detail,
                "nearest_id": nearest.id if nearest else None,
                "similarity": nearest.similarity if nearest else None,
                "text": text,
                "question": held.question if stage is Stage.ANSWER else None,
                "requested_topic": held.slot.topic,
                "attempt": attempt,
                "created_at": datetime.now(UTC),
                **_spent(tokens, judgements),
            }
        )

    def refuse_text(self, held: OpenSlot, refusal: Refusal, tokens: Tokens) -> None:
        """Put a text that a replica refused into the next commit; `tokens` is what it cost."""
        self.refuse(
            held,
            refusal.stage,
            refusal.reason,
            refusal.text,
            tokens,
            refusal.span,
            attempt=refusal.attempt,
            judgements=refusal.judgements,
        )

    def take(self) -> CommitBatch:
        """Everything that waits, as rows; each record with its nearest earlier one.

        A large index may miss a neighbour when it is asked first and find it now.
        """
        staged, self._staged = self._staged, []
        neighbours = self._index.neighbours_before([held.slot.id for held in staged])
        now = datetime.now(UTC)
        rows, late = [], []
        for held, neighbour in zip(staged, neighbours, strict=True):
            if self._index.too_close(neighbour):
                tokens = held.question_tokens + held.answer_tokens
                self.refuse(
                    held,
                    Stage.QUESTION,
                    Reason.DUPLICATE,
                    held.question,
                    tokens,
                    nearest=neighbour,
                    judgements=held.judgements,
                )
                late.append(held)
            else:
                rows.append(self._accepted_row(held, neighbour, now))
        refused, self._refused = self._refused, []
        return CommitBatch(tuple(rows), tuple(refused), tuple(late))

    def _accepted_row(self, held: OpenSlot, neighbour: Neighbour | None, now: datetime) -> Row:
        tokens = held.question_tokens + held.answer_tokens
        record = Record(
            id=held.slot.id,
            topic=held.topic,
            facets={SITUATION: held.slot.situation, **held.slot.facets},
            question=held.question,
            answer=held.answer,
            model=self._model_name,
            seed=held.slot.seed,
            lease=held.lease,
        )
        return {
            **record.model_dump(),
            "nearest_id": neighbour.id if neighbour else None,
            "nearest_similarity": neighbour.similarity if neighbour else None,
            "scores": dict.fromkeys(METRICS)
            | dict(held.scores)
            | (mean_scores(held.judgements) if held.judgements else {}),
            "findings": [asdict(flag) for flag in held.flags],
            "embedding": self._index.vector(held.slot.id),
            "created_at": now,
            "requested_topic": held.slot.topic,
            **_spent(tokens, held.judgements),
        }


def _spent(tokens: Tokens, judgements: Sequence[Judgement]) -> Row:
    """What a text cost to write and to judge."""
    return {
        "judgements": [asdict(judgement) for judgement in judgements],
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.completion,
        "judge_prompt_tokens": sum(judgement.prompt_tokens for judgement in judgements),
        "judge_completion_tokens": sum(judgement.completion_tokens for judgement in judgements),
    }
