"""Learned rates: how often a kind of attempt succeeds, recent ones weighing more."""

from __future__ import annotations

DECAY = 0.97  # weight of an observation after each newer one; the last 33 or so count
PRIOR_WEIGHT = 8.0  # observations that a prior is worth at first; it fades like any other


class Rate:
    """Share of successes among recent observations.

    Args:
        prior: what to believe before anything was seen, in [0, 1].
    """

    __slots__ = ("_hits", "_seen")

    def __init__(self, prior: float) -> None:
        self._hits = prior * PRIOR_WEIGHT
        self._seen = PRIOR_WEIGHT

    def observe(self, success: bool) -> None:
        self._hits = self._hits * DECAY + success
        self._seen = self._seen * DECAY + 1.0

    @property
    def mean(self) -> float:
        """The estimate; half a success among one observation more keeps it off 0 and 1."""
        return (self._hits + 0.5) / (self._seen + 1.0)
