"""What became of slots: a replica that asks again gets the answer that it had."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from synth.gates import Stage
from synth.protocol import Reason, Refusal, Ruling, Verdict

_REMEMBERED = 16384  # of slots that are decided; a replica asks again within seconds


@dataclass
class Decided:
    """Verdicts of the starts before this one, as the store holds them.

    Attributes:
        committed: slot id -> topic.
        refused: (slot id, stage, attempt) -> (topic, reason).
    """

    committed: dict[str, str] = field(default_factory=dict)
    refused: dict[tuple[str, str, int], tuple[str, str]] = field(default_factory=dict)

    def verdict(self, slot_id: str) -> Verdict | None:
        """What was decided on a slot's record or question; None when nothing was."""
        if slot_id in self.committed:
            return Verdict(slot_id, Ruling.COMMITTED, self.committed[slot_id])
        known = self.refused.get((slot_id, Stage.QUESTION, 0))
        return Verdict(slot_id, Ruling.REFUSED, *known) if known else None

    def knows(self, refusal: Refusal) -> bool:
        """Whether a refusal that a replica sends again is in the store already."""
        return (refusal.slot_id, refusal.stage, refusal.attempt) in self.refused


class Verdicts:
    """The last words on slots: of this start of the run, and of those before it."""

    def __init__(self, decided: Decided):
        self._decided = decided
        self._known: OrderedDict[str, Verdict] = OrderedDict()

    def keep(self, verdict: Verdict) -> None:
        """Remember a verdict of this start for a while."""
        self._known[verdict.slot_id] = verdict
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def of(self, slot_id: str) -> Verdict:
        """The verdict on a slot that is not open; `EXPIRED` if nobody knows it."""
        known = self._known.get(slot_id) or self.of_earlier_starts(slot_id)
        return known or Verdict(slot_id, Ruling.REFUSED, "", Reason.EXPIRED)

    def of_earlier_starts(self, slot_id: str) -> Verdict | None:
        """What the store says of a slot."""
        return self._decided.verdict(slot_id)

    def knew(self, refusal: Refusal) -> bool:
        """Whether a refusal that a replica sends again is in the store already."""
        return self._decided.knows(refusal)
