"""What waits for a replica's engine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import TypeVar

from actors.checker import Checked, Work
from synth.protocol import Slot

T = TypeVar("T")


@dataclass
class Backlog:
    """Answers to judge, answers to write, questions to write: to be taken in this order."""

    to_judge: deque[Checked] = field(default_factory=deque)
    to_answer: deque[Work] = field(default_factory=deque)
    to_ask: deque[Slot] = field(default_factory=deque)

    def __bool__(self) -> bool:
        return bool(self.to_judge or self.to_answer or self.to_ask)

    def take_out(self, unneeded: Callable[[str], bool]) -> Backlog:
        """Remove what is for topics that are `unneeded`, and return it."""
        if not self:
            return Backlog()
        return Backlog(
            _take_out(self.to_judge, lambda item: unneeded(item.work.topic)),
            _take_out(self.to_answer, lambda work: unneeded(work.topic)),
            _take_out(self.to_ask, lambda slot: unneeded(slot.topic)),
        )

    def keep(self, slot_ids: Container[str]) -> None:
        """Forget texts to be written for other slots than these."""
        _take_out(self.to_answer, lambda work: work.slot.id not in slot_ids)
        _take_out(self.to_ask, lambda slot: slot.id not in slot_ids)


def _take_out(queue: deque[T], chosen: Callable[[T], bool]) -> deque[T]:
    """Remove the chosen ones from a queue, and return them."""
    taken = deque(item for item in queue if chosen(item))
    if taken:
        kept = [item for item in queue if not chosen(item)]
        queue.clear()
        queue.extend(kept)
    return taken
