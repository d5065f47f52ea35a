"""Supervision of replicas: start, restart with back-off, retire, and end without orphans."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import ray
from ray.exceptions import RayError

from actors.fleet import Fleet
from actors.placement import Node, Place
from synth.errors import UserError
from synth.events import (
    AnyEvent,
    ReplicaDied,
    ReplicaDraining,
    ReplicaRetired,
    ReplicaUp,
    ReplicaWaiting,
)

_FIRST_BACKOFF_S = 2.0
_LONGEST_BACKOFF_S = 60.0
_STEADY_S = 300.0  # a replica that worked for so long starts with a clean record


class State(Enum):
    """What a replica is doing."""

    STARTING = "starting"
    WORKING = "working"
    WAITING = "waiting to restart"
    BENCHED = "waiting for a node"
    DONE = "done"
    RETIRED = "retired"


@dataclass
class Watched:
    """A replica under supervision."""

    name: str
    place: Place
    state: State = State.WAITING
    handle: Any = None
    pending: Any = None
    since: float = 0.0
    node: str | None = None
    leaving: bool = False
    told_of_end: bool = False
    deaths: int = 0
    born: int = 0
    causes: list[str] = field(default_factory=list)

    @property
    def incarnation(self) -> str:
        """Its name towards the coordinator: what a dead one held is not its successor's."""
        return f"{self.name}.{self.born}" if self.born else self.name


MakeReplica = Callable[[str, Place], Any]
_NOT_UP = (State.STARTING, State.WAITING, State.BENCHED)


class Supervisor:
    """Keeps replicas working, as many as the fleet has, until there is no more to do.

    Args:
        places: one per replica.
        make: creates a replica actor by name and place.
        fleet: where replicas start again, and where more of them do.
        ray_nodes: the nodes that are there, and stay.
        leaving_nodes: ids of the nodes that are about to leave the cluster.
        coordinator: handle of the coordinator actor.
        start_timeout: seconds a replica may take to come up.
        max_restarts: deaths in a row after which a replica is retired.
        say: told in a line what happens to a replica.
        clock: seconds, monotonic.

    Attributes:
        events: what happened; whoever passes it on empties it.
    """

    def __init__(
        self,
        places: Sequence[Place],
        make: MakeReplica,
        fleet: Fleet,
        ray_nodes: Callable[[], Sequence[Node]],
        leaving_nodes: Callable[[], frozenset[str]],
        coordinator: Any,
        start_timeout: float,
        max_restarts: int,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ):
        self._make = make
        self._fleet = fleet
        self._ray_nodes = ray_nodes
        self._leaving_nodes = leaving_nodes
        self._coordinator = coordinator
        self._start_timeout = start_timeout
        self._max_restarts = max_restarts
        self._say = say
        self._clock = clock
        self._draining = False
        self._was_up = False
        self._stranded_since: float | None = None
        self.nodes = ray_nodes()
        self.events: list[AnyEvent] = []
        self.replicas = [Watched(f"replica-{i}", place) for i, place in enumerate(places)]
        for replica in self.replicas:
            self._start(replica)

    def poll(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for news of any replica, and act on it.

        Raises:
            UserError: a replica found a mistake of the user's, such as a missing model.
        """
        waiting = {r.pending: r for r in self.replicas if r.pending is not None}
        if waiting:
            ready, _ = ray.wait(list(waiting), timeout=timeout)
            for reference in ready:
                self._hear(waiting[reference])
        else:
            time.sleep(timeout)
        self.nodes = self._ray_nodes()
        self._vacate(self._leaving_nodes())
        now = self._clock()
        for replica in self.replicas:
            if replica.state is State.STARTING and now - replica.since > self._start_timeout:
                self._died(replica, f"was not up after {self._start_timeout:g} s")
            elif replica.state is State.BENCHED or (
                replica.state is State.WAITING and now >= replica.since
            ):
                self._start(replica)
        if not self._draining:
            self._add_replicas()
        states = {replica.state for replica in self.replicas}
        if State.BENCHED in states and states <= {State.BENCHED, State.RETIRED}:
            self._stranded_since = self._stranded_since or now
        else:
            self._stranded_since = None

    @property
    def finished(self) -> bool:
        """No replica is working, or ever will."""
        return all(r.state in (State.DONE, State.RETIRED) for r in self.replicas)

    @property
    def states(self) -> dict[str, int]:
        """How many replicas are in each state."""
        held = Counter(replica.state for replica in self.replicas)
        return {state.name.lower(): held[state] for state in State}

    @property
    def was_up(self) -> bool:
        """Whether any replica ever came up."""
        return self._was_up

    @property
    def stranded_s(self) -> float:
        """For how long there has been no node to work on."""
        return 0.0 if self._stranded_since is None else self._clock() - self._stranded_since

    @property
    def failure(self) -> str | None:
        """Why nothing can work any more; None while something can, or did to the end."""
        if any(r.state is not State.RETIRED for r in self.replicas):
            return None
        last = self.replicas[-1]
        return f"every replica died {last.deaths} times; the last cause: {last.causes[-1]}"

    def drain(self) -> None:
        """Ask every working replica to end early; those not yet up are dropped."""
        self.drop_unstarted()
        for replica in self.replicas:
            if replica.state is State.WORKING:
                replica.handle.drain.remote()

    def wind_up(self) -> None:
        """The run has what it needs: let no replica finish what nobody waits for."""
        self.drop_unstarted()
        for replica in self.replicas:
            if replica.state is State.WORKING and not replica.told_of_end:
                replica.told_of_end = True
                replica.handle.look_around.remote()

    def drop_unstarted(self) -> None:
        """There is no more work to come: whoever is not up need not come up, now or later."""
        self._draining = True
        for replica in self.replicas:
            if replica.state in _NOT_UP:
                self._kill(replica)
                replica.state = State.DONE

    def _vacate(self, leaving: frozenset[str]) -> None:
        """Drain the replicas of nodes that are about to leave; they start again elsewhere."""
        for replica in self.replicas:
            if replica.leaving or replica.node not in leaving:
                continue
            if replica.state is State.STARTING:
                self._move(replica)
            elif replica.state is State.WORKING:
                self._say(f"{replica.name} drains: its node is about to leave the cluster")
                self.events.append(
                    ReplicaDraining(replica=replica.incarnation, node=replica.node or "")
                )
                replica.leaving = True
                replica.handle.drain.remote()

    def _move(self, replica: Watched) -> None:
        self._kill(replica)
        self._coordinator.replica_lost.remote(replica.incarnation)
        replica.born += 1
        replica.state = State.DONE if self._draining else State.WAITING
        replica.since = self._clock()

    def close(self, grace: float) -> None:
        """Stop all engines; what is not gone after `grace` seconds is killed."""
        closing = [
            r.handle.close.remote() for r in self.replicas if r.state is State.DONE and r.handle
        ]
        with suppress(RayError):
            ray.wait(closing, num_returns=len(closing), timeout=grace) if closing else None
        for replica in self.replicas:
            self._kill(replica)

    def _start(self, replica: Watched) -> None:
        if replica.born:
            place = self._fleet.again(replica.place, self._held_beside(replica), self.nodes)
            if place is None:
                if replica.state is not State.BENCHED:
                    self._say(f"{replica.name} waits for a node")
                    self.events.append(ReplicaWaiting(replica=replica.incarnation))
                replica.state = State.BENCHED
                return
            if replica.state is State.BENCHED:
                self._say(f"{replica.name} starts again: the cluster has room for it")
            replica.place = place
        replica.handle = self._make(replica.incarnation, replica.place)
        replica.pending = replica.handle.start.remote()
        replica.node, replica.leaving = replica.place.node, False
        replica.state, replica.since = State.STARTING, self._clock()

    def _held_beside(self, replica: Watched) -> list[Place]:
        at_work = (State.STARTING, State.WORKING, State.WAITING)
        return [r.place for r in self.replicas if r is not replica and r.state in at_work]

    def _add_replicas(self) -> None:
        """Start replicas where nodes came, unless some wait for a node or end already."""
        states = {replica.state for replica in self.replicas}
        if states & {State.BENCHED, State.DONE}:
            return
        for place in self._fleet.more([r.place for r in self.replicas], self.nodes):
            added = Watched(f"replica-{len(self.replicas)}", place)
            self.replicas.append(added)
            self._say(f"{added.name} starts: the cluster has room for it")
            self._start(added)

    def _hear(self, replica: Watched) -> None:
        try:
            answer = ray.get(replica.pending)
        except RayError as error:
            self._died(replica, cause_of(error))
            return
        if isinstance(answer, UserError):
            if not self._was_up:
                raise answer
            self._died(replica, str(answer))
        elif replica.state is State.STARTING:
            self._was_up = True
            replica.node = answer
            seconds = self._clock() - replica.since
            self.events.append(ReplicaUp(replica=replica.incarnation, node=answer, seconds=seconds))
            replica.pending = replica.handle.run.remote()
            replica.state, replica.since = State.WORKING, self._clock()
        elif replica.leaving and not self._draining:
            self._move(replica)
        else:
            replica.pending, replica.state = None, State.DONE

    def _died(self, replica: Watched, cause: str) -> None:
        if replica.node is not None and replica.node not in {n.id for n in self._ray_nodes()}:
            self._say(f"{replica.name} is lost with its node")
            self._tell_death(replica, "its node is gone")
            self._move(replica)
            return
        now = self._clock()
        if replica.state is State.WORKING and now - replica.since > _STEADY_S:
            replica.deaths = 0
        self._kill(replica)
        self._coordinator.replica_lost.remote(replica.incarnation)
        replica.deaths += 1
        self._tell_death(replica, cause)
        replica.born += 1
        replica.causes.append(cause)
        if self._draining:
            replica.state = State.DONE
        elif replica.deaths > self._max_restarts:
            replica.state = State.RETIRED
            self.events.append(ReplicaRetired(replica=replica.name, deaths=replica.deaths))
            self._say(f"{replica.name} is given up after {replica.deaths} deaths: {cause}")
        else:
            backoff = min(_LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2 ** (replica.deaths - 1))
            self._say(f"{replica.name} died and starts again in {backoff:g} s: {cause}")
            replica.state, replica.since = State.WAITING, now + backoff

    def _tell_death(self, replica: Watched, cause: str) -> None:
        name, deaths = replica.incarnation, replica.deaths
        self.events.append(ReplicaDied(replica=name, cause=cause, deaths=deaths))

    def _kill(self, replica: Watched) -> None:
        replica.pending = None
        if replica.handle is not None:
            with suppress(RayError):
                ray.kill(replica.handle)
            replica.handle = None


def cause_of(error: RayError) -> str:
    """The line of a remote error that says what happened."""
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[-1] if lines else 'no message'}"
