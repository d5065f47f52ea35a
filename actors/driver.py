"""One start of a run on a Ray that is connected: coordinator, judges, replicas, and the watch."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.coordinator import MAX_CONCURRENCY, CoordinatorActor
from actors.fleet import Fleet
from actors.joining import Autoscaler, Say, nodes_to_start_on
from actors.judge import JudgeActors
from actors.logs import Logs
from actors.placement import Node, Place, leaving_nodes, place_replicas, ray_nodes
from actors.replica import ReplicaActor
from actors.supervisor import Supervisor, cause_of
from synth.errors import EngineFailure, UserError
from synth.events import FleetNews
from synth.plan import Plan, ended_complete
from synth.report import Snapshot, Status

_POLL_S = 0.5
DRAIN_S = 60.0  # after a signal, until what is in flight must have been booked
CLOSE_S = 10.0  # until an engine must have stopped by itself
_COORDINATOR_RESTARTS = 20
_PIECE_BYTES = 65536
_COORDINATOR_PATIENCE_S = 300.0  # a large store takes a while to be read again


@dataclass(frozen=True)
class Driver:
    """Brings a run to its end.

    Attributes:
        plan: the checked run.
        joined: whether Ray is a cluster's, and not this process's own.
        accept_changes: resume although the config differs.
        logs: where the replicas' output goes.
        show: called about twice a second with where the run stands.
        say: called with a line when something noteworthy happens.
        interrupted: whether the user wants the run to stop.
        engine_factory: makes the engine instead of vLLM, for tests and simulations.
    """

    plan: Plan
    joined: bool
    accept_changes: bool
    logs: Logs
    show: Callable[[Snapshot], None]
    say: Say
    interrupted: Callable[[], bool]
    engine_factory: Callable[..., Any] | None

    def run(self) -> Snapshot:
        """Run until the targets are met or the run ends for another reason.

        Raises:
            UserError: something the user has to mend.
            KeyboardInterrupt: stopped before anything was started.
        """
        engine, judging = self.plan.config.engine, self.plan.config.judge_engines
        coordinator = None
        try:
            if ended_complete(self.plan):
                coordinator = self._start_coordinator()
                _raise_mistake(_ask(coordinator, "open"))
                if _ask(coordinator, "snapshot").finished:
                    self.say("this run is complete already; nothing is started")
                    return _closed(coordinator)
            with closing(Autoscaler()) as autoscaler:
                nodes: Sequence[Node] = ray_nodes()
                if self.joined:
                    nodes = nodes_to_start_on(
                        engine, judging, autoscaler, self.say, self.interrupted
                    )
                if self.interrupted():
                    raise KeyboardInterrupt
                places = place_replicas(engine, nodes, judging)
                fleet = Fleet(engine, nodes, judging)
                coordinator = coordinator or self._start_coordinator()
                return self._generate(coordinator, places, fleet, autoscaler)
        except RayError as error:
            raise EngineFailure(
                f"the coordinator ended ({cause_of(error)}); what was committed is in "
                f"{self.plan.files.root}, and the same command goes on from there"
            ) from error

    def _generate(
        self, coordinator: Any, places: Sequence[Place], fleet: Fleet, autoscaler: Autoscaler
    ) -> Snapshot:
        """Start judges and replicas, and watch them until no more is to be done."""
        engine = self.plan.config.engine
        writing = len(places) - self.plan.config.judge_engines
        opening = coordinator.open.remote()
        where = "GPU" if places[0].gpus else "CPU"
        more = f" and {len(places) - writing} judge(s)" if writing < len(places) else ""
        self.say(
            f"starting {writing} vLLM replica(s){more} on {where}; their logs are in {self.logs}"
        )
        judges = JudgeActors(
            self.plan.config, places[writing:], self.logs.folder, self.engine_factory
        )
        supervisor = self._start_replicas(coordinator, places[:writing], fleet, judges)

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
            judges.wait(engine.start_timeout, self.interrupted)
            self._watch(coordinator, supervisor, follow_cluster)
            return _closed(coordinator)
        finally:
            supervisor.close(CLOSE_S)
            judges.close(CLOSE_S)

    def _start_coordinator(self) -> Any:
        # Beside this process: the run folder's path means the same there as when it was checked.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        return (
            ray.remote(CoordinatorActor)
            .options(
                num_cpus=0,
                max_concurrency=MAX_CONCURRENCY,
                max_restarts=_COORDINATOR_RESTARTS,
                scheduling_strategy=here,
            )
            .remote(self.accept_changes, *_pieces(self.plan))
        )

    def _start_replicas(
        self, coordinator: Any, places: Sequence[Place], fleet: Fleet, judges: JudgeActors
    ) -> Supervisor:
        plan, engine = self.plan, self.plan.config.engine
        extra = (self.engine_factory,) if self.engine_factory else ()
        examples = plan.existing.examples if plan.existing else {}
        replica_class = ray.remote(ReplicaActor)

        def make(name: str, place: Place) -> Any:
            return replica_class.options(**place.options()).remote(
                name,
                plan.config,
                plan.specs,
                examples,
                coordinator,
                self.logs.file(name),
                place.slice_of_cores,
                judges.by_seat,
                *extra,
            )

        return Supervisor(
            places,
            make,
            fleet,
            ray_nodes,
            leaving_nodes,
            coordinator,
            engine.start_timeout,
            engine.max_restarts,
            self.say,
        )

    def _watch(
        self, coordinator: Any, supervisor: Supervisor, follow_cluster: Callable[[], str | None]
    ) -> None:
        """Poll replicas and coordinator until no replica is left to work."""

        def snapshot_after_news() -> Snapshot:
            news = FleetNews(supervisor.states, tuple(supervisor.events))
            taken: Snapshot = _ask(coordinator, "snapshot", news)
            supervisor.events.clear()
            return taken

        announced = draining = False
        deadline = 0.0
        while not supervisor.finished:
            snapshot = snapshot_after_news()
            self.show(snapshot)
            if snapshot.finished:
                supervisor.wind_up()
            supervisor.poll(_POLL_S)
            if supervisor.was_up and not announced:
                announced = True
                self.say("the first replica is up; generating")
            if self.interrupted() and not snapshot.stopping:
                self.say("interrupted: booking what is in flight (once more to leave at once)")
                _ask(coordinator, "stop", Status.INTERRUPTED, "stopped by the user")
                continue
            out_of_nodes = follow_cluster()
            if out_of_nodes and not snapshot.stopping:
                self.say(f"{out_of_nodes}: booking what is in flight")
                _ask(coordinator, "stop", Status.INTERRUPTED, out_of_nodes)
                continue
            if snapshot.stopping and not draining:
                draining, deadline = True, time.monotonic() + DRAIN_S
                supervisor.drain()
            if draining and time.monotonic() > deadline:
                self.say("some requests did not end in time and are dropped")
                break
        snapshot_after_news()
        if supervisor.failure:
            self.say(f"no replica is left: {supervisor.failure}")
            _ask(coordinator, "stop", Status.FAILED, supervisor.failure)


def _raise_mistake(mistake: UserError | None) -> None:
    if mistake is not None:
        raise mistake


def _closed(coordinator: Any) -> Snapshot:
    closed: Snapshot = _ask(coordinator, "close")
    return closed


def _pieces(plan: Plan) -> list[bytes]:
    """A plan as arguments that an actor can be restarted with.

    Ray puts an argument above 100 kB into its object store and forgets it there; smaller ones
    stay with the actor's description.
    """
    packed = pickle.dumps(plan)
    return [packed[at : at + _PIECE_BYTES] for at in range(0, len(packed), _PIECE_BYTES)]


def _ask(coordinator: Any, method: str, *arguments: Any) -> Any:
    """Call the coordinator and wait; one that is being restarted is waited for."""
    deadline = time.monotonic() + _COORDINATOR_PATIENCE_S
    while True:
        try:
            return ray.get(getattr(coordinator, method).remote(*arguments))
        except ActorUnavailableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_S)
