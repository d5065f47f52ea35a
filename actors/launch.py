"""Start a run: checks, Ray, coordinator, replicas; then watch it to its end."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

from synth.errors import ConfigError, EngineFailure, ModelError, UserError
from synth.lock import RunLock, in_use_by
from synth.models import resolve_embedder, resolve_model
from synth.plan import Plan, check_resumable
from synth.report import Snapshot, Status
from synth.store import prepare

if TYPE_CHECKING:
    from actors.logs import Logs
    from actors.placement import Place
    from actors.supervisor import Supervisor
    from synth.events import AnyEvent

_POLL_S = 0.5
_DRAIN_S = 60.0  # after a signal, until what is in flight must have been booked
_KNOCK_S = 5.0
_COORDINATOR_RESTARTS = 20
_PIECE_BYTES = 65536
_COORDINATOR_PATIENCE_S = 300.0  # a large store takes a while to be read again
_CLOSE_S = 10.0  # until an engine must have stopped by itself

Show = Callable[[Snapshot], None]
Say = Callable[[str], None]


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
    if options.address is None:
        resolve_model(plan.config.model.name)
        for seat in plan.config.own_judges:
            if seat.model is not None:
                resolve_model(seat.model.name)
        resolve_embedder(plan.config.embedder.name)


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
    from actors.logs import Logs

    say("checking models, folder and config")
    preflight(plan, options)
    # In this order: ray.init puts a handler of its own on SIGTERM.
    with _ray(options.address, say) as dashboard, Interrupts().installed() as interrupts:
        logs = Logs(None if options.address else plan.files.logs, dashboard)
        return _supervise(plan, options, logs, show, say, interrupts, engine_factory)


def _knock(address: str) -> None:
    """Fail within seconds where Ray itself would try for minutes.

    Raises:
        ConfigError: nothing listens at host:port; other forms of address are left to Ray.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()
    except OSError as error:
        raise ConfigError(
            "--address",
            f"no Ray cluster answers at {address!r} ({error})",
            "Give the address of a running cluster, or leave it out to start Ray here",
        ) from error


@contextmanager
def _ray(address: str | None, say: Say) -> Iterator[str | None]:
    """Connect to a cluster, or start Ray on this machine and stop it at the end.

    Gives the address of Ray's dashboard, if there is one.
    """
    os.environ.setdefault("RAY_process_group_cleanup_enabled", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    say(f"joining the Ray cluster at {address}" if address else "starting Ray on this machine")
    if address:
        _knock(address)
    common = {"log_to_driver": False, "logging_level": logging.ERROR, "namespace": "evenfill"}
    try:
        if address:
            context = ray.init(address=address, **common)
        else:
            context = ray.init(
                address="local",
                num_cpus=len(os.sched_getaffinity(0)),
                include_dashboard=False,
                **common,
            )
    except (ConnectionError, ValueError, RuntimeError) as error:
        if not address:
            raise EngineFailure(f"Ray did not start here ({error})") from error
        raise ConfigError(
            "--address",
            f"no Ray cluster answers at {address!r} ({str(error).splitlines()[0]})",
            "Give the address of a running cluster, or leave it out to start Ray here",
        ) from error
    try:
        yield context.dashboard_url or None
    finally:
        ray.shutdown()


def _supervise(
    plan: Plan,
    options: Options,
    logs: Logs,
    show: Show,
    say: Say,
    interrupts: Interrupts,
    engine_factory: Callable[..., Any] | None,
) -> Snapshot:
    import ray
    from ray.exceptions import RayError

    from actors.judge import JudgeActors
    from actors.placement import place_replicas, ray_nodes
    from actors.supervisor import cause_of

    engine = plan.config.engine
    judging = plan.config.judge_engines
    places = place_replicas(engine, ray_nodes(), judging)
    writing = len(places) - judging
    coordinator = _start_coordinator(plan, options)
    opening = coordinator.open.remote()
    where = "GPU" if places[0].gpus else "CPU"
    more = f" and {judging} judge(s)" if judging else ""
    say(f"starting {writing} vLLM replica(s){more} on {where}; their logs are in {logs}")
    judges = JudgeActors(plan.config, places[writing:], logs.folder, engine_factory)
    events: list[AnyEvent] = []
    supervisor = _start_replicas(
        plan, places[:writing], coordinator, judges.by_seat, logs, say, events.append,
        engine_factory,
    )  # fmt: skip
    try:
        mistake = ray.get(opening)  # meanwhile the engines start
        if isinstance(mistake, UserError):
            raise mistake
        judges.wait(engine.start_timeout, lambda: interrupts.asked)
        _watch(supervisor, coordinator, events, show, say, interrupts)
        closed: Snapshot = _ask(coordinator, "close")
        return closed
    except RayError as error:
        raise EngineFailure(
            f"the coordinator ended ({cause_of(error)}); what was committed is in "
            f"{plan.files.root}, and the same command goes on from there"
        ) from error
    finally:
        supervisor.close(_CLOSE_S)
        judges.close(_CLOSE_S)


def _start_coordinator(plan: Plan, options: Options) -> Any:
    import ray

    from actors.coordinator import MAX_CONCURRENCY, CoordinatorActor

    return (
        ray.remote(CoordinatorActor)
        .options(
            num_cpus=0,
            max_concurrency=MAX_CONCURRENCY,
            max_restarts=_COORDINATOR_RESTARTS,
            scheduling_strategy=_on_this_node(),
        )
        .remote(options.accept_changes, *_pieces(plan))
    )


def _start_replicas(
    plan: Plan,
    places: Sequence[Place],
    coordinator: Any,
    judges: Mapping[str, Sequence[Any]],
    logs: Logs,
    say: Say,
    tell: Callable[[AnyEvent], None],
    engine_factory: Callable[..., Any] | None,
) -> Supervisor:
    import ray

    from actors.placement import leaving_nodes, ray_nodes, relocate
    from actors.replica import ReplicaActor
    from actors.supervisor import Supervisor

    extra = (engine_factory,) if engine_factory else ()
    replica_class = ray.remote(ReplicaActor)

    def make(name: str, place: Place) -> Any:
        return replica_class.options(**place.options()).remote(
            name,
            plan.config,
            plan.specs,
            examples,
            coordinator,
            logs.file(name),
            place.slice_of_cores,
            judges,
            *extra,
        )

    engine = plan.config.engine
    examples = plan.existing.examples if plan.existing else {}
    return Supervisor(
        places,
        make,
        lambda place: relocate(place, ray_nodes()),
        leaving_nodes,
        coordinator,
        engine.start_timeout,
        engine.max_restarts,
        say,
        tell,
    )


def _pieces(plan: Plan) -> list[bytes]:
    """A plan as arguments that an actor can be restarted with.

    Ray puts an argument above 100 kB into its object store and forgets it there; smaller ones
    stay with the actor's description.
    """
    packed = pickle.dumps(plan)
    return [packed[at : at + _PIECE_BYTES] for at in range(0, len(packed), _PIECE_BYTES)]


def _on_this_node() -> Any:
    """Beside the driver: the run folder's path means the same there as it did when checked."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def _watch(
    supervisor: Supervisor,
    coordinator: Any,
    events: list[AnyEvent],
    show: Show,
    say: Say,
    interrupts: Interrupts,
) -> None:
    """Poll replicas and coordinator until no replica is left to work.

    Args:
        events: where the supervisor puts what happens; emptied as the coordinator hears of it.
    """
    from actors.placement import ray_nodes
    from synth.events import FleetNews

    def snapshot_after_news() -> Snapshot:
        news = FleetNews(supervisor.states, tuple(events))
        taken: Snapshot = _ask(coordinator, "snapshot", news)
        events.clear()
        return taken

    announced = draining = False
    deadline = 0.0
    while not supervisor.finished:
        snapshot = snapshot_after_news()
        show(snapshot)
        if snapshot.finished:
            supervisor.drop_unstarted()
        supervisor.poll(_POLL_S)
        if supervisor.was_up and not announced:
            announced = True
            say("the first replica is up; generating")
        if interrupts.asked and not snapshot.stopping:
            say("interrupted: booking what is in flight (once more to leave at once)")
            _ask(coordinator, "stop", Status.INTERRUPTED, "stopped by the user")
            continue
        if not ray_nodes() and not snapshot.stopping:
            say("every node is about to leave the cluster: booking what is in flight")
            _ask(coordinator, "stop", Status.INTERRUPTED, "every node was about to leave")
            continue
        if snapshot.stopping and not draining:
            draining, deadline = True, time.monotonic() + _DRAIN_S
            supervisor.drain()
        if draining and time.monotonic() > deadline:
            say("some requests did not end in time and are dropped")
            break
    snapshot_after_news()
    if supervisor.failure:
        say(f"no replica is left: {supervisor.failure}")
        _ask(coordinator, "stop", Status.FAILED, supervisor.failure)


def _ask(coordinator: Any, method: str, *arguments: Any) -> Any:
    """Call the coordinator and wait; one that is being restarted is waited for."""
    import ray
    from ray.exceptions import ActorUnavailableError

    deadline = time.monotonic() + _COORDINATOR_PATIENCE_S
    while True:
        try:
            return ray.get(getattr(coordinator, method).remote(*arguments))
        except ActorUnavailableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_S)
