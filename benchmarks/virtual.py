"""An event loop on a virtual clock: it never waits, it moves its clock to the next timer.

The replicas' real pipeline runs on it in a fraction of the time, and always in the same order.
What would run on a thread runs at once, and takes no virtual time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

_LATE_S = 1e-9  # a real timer never fires before its time; a sum of floats can
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Skipping(selectors.SelectSelector):
    """Adds up the seconds that a loop would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing will ever happen again on this virtual clock")
        if timeout > 0:
            self.now += timeout + _LATE_S
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose `time` starts at 0 and passes only where everybody waits."""

    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.now

    def run_in_executor(
        self,
        executor: Executor | None,  # noqa: ARG002
        func: Callable[[*Ts], T],
        *args: *Ts,
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a virtual clock; an error in a timer is raised at its end."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        errors: list[BaseException] = []

        def fail(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            errors.append(context.get("exception") or RuntimeError(context["message"]))

        loop.set_exception_handler(fail)
        result = runner.run(main)
    if errors:
        raise errors[0]
    return result
