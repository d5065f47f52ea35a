"""Learned rates: how often a kind of attempt succeeds, recent ones weighing more."""

from __future__ import annotations

import math

DECAY = 0.97  # weight of an observation after each newer one; the last 33 or so count
PRIOR_WEIGHT = 8.0  # observations that a prior is worth at first; it fades like any other


class Rate:
    """Share of successes among recent observations.

    Args:
        prior: what to believe before anything was seen, in [0, 1]; or a rate of many kinds
            together, which then learns from this one and is believed as it stands.
    """

    __slots__ = ("_hits", "_prior", "_seen", "_weight")

    def __init__(self, prior: float | Rate) -> None:
        self._prior = prior
        self._weight = PRIOR_WEIGHT
        self._hits = self._seen = 0.0

    def observe(self, success: bool) -> None:
        self._weight *= DECAY
        self._hits = self._hits * DECAY + success
        self._seen = self._seen * DECAY + 1.0
        if isinstance(self._prior, Rate):
            self._prior.observe(success)

    @property
    def mean(self) -> float:
        """The estimate; half a success among one observation more keeps it off 0 and 1."""
        prior = self._prior.mean if isinstance(self._prior, Rate) else self._prior
        return (self._hits + self._weight * prior + 0.5) / (self._seen + self._weight + 1.0)


def deviation(wanted: float, chance: float) -> float:
    """Standard deviation of what comes of so many tries that `wanted` is expected (binomial)."""
    return math.sqrt(wanted * (1 - chance))


def excess(mean: float, variance: float, room: float) -> float:
    """How much of a number above `room` is to be expected, if it is about normally distributed.

    More than `mean - room`: where more comes it is too much, and where less comes it is no gain.
    """
    over = mean - room
    if variance <= 0:
        return max(0.0, over)
    spread = math.sqrt(variance)
    z = over / spread
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return spread * density + over * (1 + math.erf(z / math.sqrt(2))) / 2
