"""Notice an engine that has work and ends none of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class EngineStalledError(RuntimeError):
    """The engine has work and ends none of it."""


class StallWatch:
    """Watches the requests of one engine.

    Args:
        limit: seconds without any text that ends, while there is work.
        clock: seconds, monotonic.
    """

    def __init__(self, limit: float, clock: Callable[[], float]):
        self._limit = limit
        self._clock = clock
        self._in_hand = 0
        self._last_progress = clock()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Holds for as long as the engine has a request in hand."""
        if not self._in_hand:  # an engine that had nothing to do was not hanging
            self._last_progress = self._clock()
        self._in_hand += 1
        try:
            yield
        finally:
            self._in_hand -= 1
            self._last_progress = self._clock()

    def check(self) -> None:
        """Raise EngineStalledError if nothing ended for too long."""
        idle_s = self._clock() - self._last_progress
        if self._in_hand and idle_s > self._limit:
            raise EngineStalledError(
                f"the engine ended no text for {idle_s:.0f} s "
                f"(engine.stall_timeout: {self._limit:g})"
            )
