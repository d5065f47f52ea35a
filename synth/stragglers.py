"""Slots that take too long, measured by how long the others took: their places go to others."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from itertools import takewhile
from statistics import median

from synth.balancer import Balancer
from synth.outbox import OpenSlot, Phase

_OVERDUE = 2.0  # times the median of those that came
_LEAST_S = 5.0  # nobody minds waiting for so long
_REMEMBERED = 256
_ENOUGH = 32  # known times that a median is taken of
_LOOK_S = 1.0  # between looks through what is open


class Stragglers:
    """Learns how long a slot takes from its lease to its answer; clock readings are seconds.

    What is written for a slot that was set aside is still taken, if it comes while there is room.
    """

    def __init__(self, balancer: Balancer) -> None:
        self._balancer = balancer
        self._took: deque[float] = deque(maxlen=_REMEMBERED)
        self._looked = float("-inf")
        self._aside: Counter[str] = Counter()

    def staged(self, held: OpenSlot, now: float) -> None:
        """A slot's answer is here."""
        self._took.append(now - held.since)

    def holds_up(self, replica: str) -> bool:
        """Whether a replica has slots that were set aside: it has more than it can do."""
        return self._aside[replica] > 0

    def set_aside(self, in_order: Iterable[OpenSlot], now: float) -> bool:
        """Count overdue slots no more; `in_order` of their leases. Whether there were any."""
        if len(self._took) < _ENOUGH or now - self._looked < _LOOK_S:
            return False
        self._looked = now
        leased_before = now - max(_LEAST_S, _OVERDUE * median(self._took))
        old = takewhile(lambda held: held.since < leased_before, in_order)
        overdue = [held for held in old if held.phase is not Phase.STAGED and not held.aside]
        for held in overdue:
            held.aside = True
            self._aside[held.replica] += 1
            self._balancer.set_aside(held.filed, reserved=held.phase is Phase.RESERVED)
        return bool(overdue)

    def take_up(self, held: OpenSlot) -> None:
        """A slot is heard of: count it again, if it was set aside."""
        if held.aside:
            held.aside = False
            self._aside[held.replica] -= 1
            self._balancer.taken_up(held.filed, reserved=held.phase is Phase.RESERVED)
