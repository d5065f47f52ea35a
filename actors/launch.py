"""Start a run: checks, Ray, coordinator, replicas; then watch it to its end."""

from __future__ import annotations

import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

from actors.fleet import Fleet
from actors.joining import Autoscaler, Say, connected, nodes_to_start_on
from synth.config import RunConfig
from synth.errors import EngineFailure, ModelError, UserError
from synth.lock import RunLock, in_use_by
from synth.models import check_model, resolve_embedder
from synth.plan import Plan, check_resumable, ended_complete
from synth.report import Snapshot, Status
from synth.store import prepare
from synth.weights import is_url

if TYPE_CHECKING:
    from actors.logs import Logs
    from actors.placement import Node, Place
    from actors.supervisor import Supervisor

_POLL_S = 0.5
_DRAIN_S = 60.0  # after a signal, until what is in flight must have been booked
_COORDINATOR_RESTARTS = 20
_PIECE_BYTES = 65536
_COORDINATOR_PATIENCE_S = 300.0  # a large store takes a while to be read again
_CLOSE_S = 10.0  # until an engine must have stopped by itself

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
    from actors.logs import Logs

    say("checking models, folder and config")
    preflight(plan, options)
    # In this order: ray.init puts a handler of its own on SIGTERM.
    with connected(options.address, say) as dashboard, Interrupts().installed() as interrupts:
        logs = Logs(None if options.address else plan.files.logs, dashboard)
        return _supervise(plan, options, logs, show, say, interrupts, engine_factory)


def _supervise(
    plan: Plan,
    options: Options,
    logs: Logs,
    show: Show,
    say: Say,
    interrupts: Interrupts,
    engine_factory: Callable[..., Any] | None,
) -> Snapshot:
    from ray.exceptions import RayError

    from actors.placement import place_replicas, ray_nodes
    from actors.supervisor import cause_of

    engine, judging = plan.config.engine, plan.config.judge_engines
    coordinator = None
    try:
        if ended_complete(plan):
            coordinator = _start_coordinator(plan, options)
            _raise_mistake(_ask(coordinator, "open"))
            if _ask(coordinator, "snapshot").finished:
                say("this run is complete already; nothing is started")
                return _closed(coordinator)
        with closing(Autoscaler()) as autoscaler:
            nodes: Sequence[Node] = ray_nodes()
            if options.address:
                nodes = nodes_to_start_on(
                    engine, judging, autoscaler, say, lambda: interrupts.asked
                )
            if interrupts.asked:
                raise KeyboardInterrupt
            places = place_replicas(engine, nodes, judging)
            fleet = Fleet(engine, nodes, judging)
            coordinator = coordinator or _start_coordinator(plan, options)
            return _generate(
                plan, places, fleet, coordinator, autoscaler, logs, show, say, interrupts,
                engine_factory,
            )  # fmt: skip
    except RayError as error:
        raise EngineFailure(
            f"the coordinator ended ({cause_of(error)}); what was committed is in "
            f"{plan.files.root}, and the same command goes on from there"
        ) from error


def _generate(
    plan: Plan,
    places: Sequence[Place],
    fleet: Fleet,
    coordinator: Any,
    autoscaler: Autoscaler,
    logs: Logs,
    show: Show,
    say: Say,
    interrupts: Interrupts,
    engine_factory: Callable[..., Any] | None,
) -> Snapshot:
    """Start judges and replicas, and watch them until no more is to be done."""
    import ray

    from actors.judge import JudgeActors

    engine, writing = plan.config.engine, len(places) - plan.config.judge_engines
    opening = coordinator.open.remote()
    where = "GPU" if places[0].gpus else "CPU"
    more = f" and {len(places) - writing} judge(s)" if writing < len(places) else ""
    say(f"starting {writing} vLLM replica(s){more} on {where}; their logs are in {logs}")
    judges = JudgeActors(plan.config, places[writing:], logs.folder, engine_factory)
    supervisor = _start_replicas(
        plan, places[:writing], fleet, coordinator, judges.by_seat, logs, say, engine_factory
    )

    def follow_cluster() -> str | None:
        """Keep the autoscaler's wish current; why the run has to end for want of nodes."""
        autoscaler.ask(fleet.wish(supervisor.nodes))
        if not supervisor.nodes:
            return "every node was about to leave"
        if supervisor.stranded_s > engine.start_timeout:
            return f"there was no node to work on for {engine.start_timeout:g} s"
        return None

    try:
        _raise_mistake(ray.get(opening))  # meanwhile the engines start
        judges.wait(engine.start_timeout, lambda: interrupts.asked)
        _watch(supervisor, coordinator, follow_cluster, show, say, interrupts)
        return _closed(coordinator)
    finally:
        supervisor.close(_CLOSE_S)
        judges.close(_CLOSE_S)


def _raise_mistake(mistake: UserError | None) -> None:
    if mistake is not None:
        raise mistake


def _closed(coordinator: Any) -> Snapshot:
    closed: Snapshot = _ask(coordinator, "close")
    return closed


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
    fleet: Fleet,
    coordinator: Any,
    judges: Mapping[str, Sequence[Any]],
    logs: Logs,
    say: Say,
    engine_factory: Callable[..., Any] | None,
) -> Supervisor:
    import ray

    from actors.placement import leaving_nodes, ray_nodes
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
        fleet,
        ray_nodes,
        leaving_nodes,
        coordinator,
        engine.start_timeout,
        engine.max_restarts,
        say,
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
    follow_cluster: Callable[[], str | None],
    show: Show,
    say: Say,
    interrupts: Interrupts,
) -> None:
    """Poll replicas and coordinator until no replica is left to work."""
    from synth.events import FleetNews

    def snapshot_after_news() -> Snapshot:
        news = FleetNews(supervisor.states, tuple(supervisor.events))
        taken: Snapshot = _ask(coordinator, "snapshot", news)
        supervisor.events.clear()
        return taken

    announced = draining = False
    deadline = 0.0
    while not supervisor.finished:
        snapshot = snapshot_after_news()
        show(snapshot)
        if snapshot.finished:
            supervisor.wind_up()
        supervisor.poll(_POLL_S)
        if supervisor.was_up and not announced:
            announced = True
            say("the first replica is up; generating")
        if interrupts.asked and not snapshot.stopping:
            say("interrupted: booking what is in flight (once more to leave at once)")
            _ask(coordinator, "stop", Status.INTERRUPTED, "stopped by the user")
            continue
        out_of_nodes = follow_cluster()
        if out_of_nodes and not snapshot.stopping:
            say(f"{out_of_nodes}: booking what is in flight")
            _ask(coordinator, "stop", Status.INTERRUPTED, out_of_nodes)
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
