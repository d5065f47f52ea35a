"""Start a run: what can be checked before Ray, then Ray, then the driver."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from actors.joining import Say, connected
from actors.logs import Logs
from synth.config import RunConfig
from synth.errors import ModelError
from synth.lock import RunLock, in_use_by
from synth.models import check_model, resolve_embedder
from synth.plan import Plan, check_resumable
from synth.report import Snapshot
from synth.store import prepare
from synth.weights import is_url

Show = Callable[[Snapshot], None]


@dataclass(frozen=True)
class Options:
    """How to start, as given on the command line.

    Attributes:
        address: of a Ray cluster; None starts Ray on this machine.
        accept_changes: resume although the config differs.
    """

    address: str | None = None
    accept_changes: bool = False


class Interrupts:
    """Counts SIGINT and SIGTERM; the second one leaves at once."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked:
            os._exit(128 + signal.SIGINT)
        self.asked = True

    @contextmanager
    def installed(self) -> Iterator[Interrupts]:
        """Handle both signals inside the block."""
        before = {n: signal.signal(n, self) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def preflight(plan: Plan, options: Options) -> None:
    """Everything that can be found wrong before Ray starts.

    Raises:
        UserError: what it is, and what would be right.
    """
    import importlib.util

    if options.address is None and importlib.util.find_spec("vllm") is None:
        raise ModelError(
            "engine",
            "vLLM is not installed",
            "Run `make install`, or on a GPU `pip install '.[gpu]'`",
        )
    check_resumable(plan, options.accept_changes)
    prepare(plan.files)
    if in_use_by(plan.files):
        RunLock(plan.files, "an evenfill run that is starting").release()
    _check_models(plan.config, here=options.address is None)


def _check_models(config: RunConfig, here: bool) -> None:
    """Look for the models; `here` says whether the engines run on this machine, too.

    An object store is looked at from here in any case: every node reads it with the same
    credentials. The embedder is fetched at once, since the coordinator on this node needs it.
    """
    names = [config.model.name, *(seat.model.name for seat in config.own_judges if seat.model)]
    for name in names:
        if here or is_url(name):
            check_model(name)
    if here or is_url(config.embedder.name):
        resolve_embedder(config.embedder.name)


def execute(
    plan: Plan,
    options: Options,
    show: Show,
    say: Say,
    engine_factory: Callable[..., Any] | None = None,
) -> Snapshot:
    """Run until the targets are met or the run ends for another reason.

    Args:
        plan: the checked run.
        options: how to start.
        show: called about twice a second with where the run stands.
        say: called with a line when something noteworthy happens.
        engine_factory: makes the engine instead of vLLM, for tests and simulations.

    Raises:
        UserError: something the user has to mend.
    """
    say("checking models, folder and config")
    preflight(plan, options)
    # In this order: ray.init puts a handler of its own on SIGTERM.
    with connected(options.address, say) as dashboard, Interrupts().installed() as interrupts:
        from actors.driver import Driver

        joined = options.address is not None
        logs = Logs(None if joined else plan.files.logs, dashboard)
        return Driver(
            plan,
            joined,
            options.accept_changes,
            logs,
            show,
            say,
            lambda: interrupts.asked,
            engine_factory,
        ).run()
