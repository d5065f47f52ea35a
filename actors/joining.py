"""Connect to Ray: join a cluster and ask it for nodes, or start Ray on this machine."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from synth.config import EngineConfig
from synth.errors import ConfigError, EngineFailure

if TYPE_CHECKING:
    from actors.placement import Node

_KNOCK_S = 5.0
_POLL_S = 1.0

Say = Callable[[str], None]


def knock(host: str, port: int) -> None:
    """Fail within seconds where a client would try for minutes.

    Raises:
        OSError: nothing listens there.
    """
    socket.create_connection((host, port), timeout=_KNOCK_S).close()


def _no_cluster(address: str, why: str) -> ConfigError:
    return ConfigError(
        "--address",
        f"no Ray cluster answers at {address!r} ({why})",
        "Give the address of a running cluster, and the token that it may ask for "
        "(RAY_AUTH_MODE=token, RAY_AUTH_TOKEN), or leave it out to start Ray here",
    )


@contextmanager
def connected(address: str | None, say: Say) -> Iterator[str | None]:
    """Ray for as long as the block lasts: a cluster's, or one of this machine.

    Gives the address of Ray's dashboard, if there is one.

    Raises:
        ConfigError: no cluster answers at `address`.
        EngineFailure: Ray does not start here.
    """
    os.environ.setdefault("RAY_process_group_cleanup_enabled", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None:  # Ray would give the engines less of the machine than Ray itself
        os.environ.setdefault("RAY_worker_niceness", "0")
    import ray
    from ray.exceptions import AuthenticationError

    from actors.loopback import loopback_only

    say(f"joining the Ray cluster at {address}" if address else "starting Ray on this machine")
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if address and colon and port.isdigit():  # other forms of address are left to Ray
        try:
            knock(host.strip("[]"), int(port))
        except OSError as error:
            raise _no_cluster(address, str(error)) from error
    common = {"log_to_driver": False, "logging_level": logging.ERROR, "namespace": "evenfill"}
    try:
        if address:
            context = ray.init(address=address, **common)
        else:
            with loopback_only():
                context = ray.init(
                    address="local",
                    num_cpus=len(os.sched_getaffinity(0)),
                    include_dashboard=False,
                    **common,
                )
    except (AuthenticationError, ConnectionError, ValueError, RuntimeError) as error:
        if not address:
            raise EngineFailure(f"Ray did not start here ({error})") from error
        raise _no_cluster(address, str(error).splitlines()[0]) from error
    try:
        yield context.dashboard_url or None
    finally:
        ray.shutdown()


class Autoscaler:
    """Asks the cluster's autoscaler for nodes, for as long as a run lasts.

    Ray keeps such a wish until the next one, so it is taken back at the end. A cluster without an
    autoscaler does not mind.
    """

    def __init__(self) -> None:
        self._asked: list[dict[str, float]] = []

    def ask(self, bundles: list[dict[str, float]]) -> None:
        """Wish for nodes that all these bundles of resources fit on."""
        from ray.autoscaler.sdk import request_resources

        if bundles != self._asked:
            request_resources(bundles=bundles)
            self._asked = bundles

    def close(self) -> None:
        """Wish for nothing any more."""
        with suppress(Exception):  # a cluster that is gone keeps no wish
            self.ask([])


def nodes_to_start_on(
    engine: EngineConfig,
    judges: int,
    autoscaler: Autoscaler,
    say: Say,
    stopped: Callable[[], bool],
) -> Sequence[Node]:
    """The cluster's nodes; where none could hold a replica yet, those that come when asked for.

    Waits up to `engine.start_timeout`, or until `stopped`.
    """
    from actors.fleet import Fleet
    from actors.placement import place_replicas, ray_nodes

    nodes = ray_nodes()
    fleet = Fleet(engine, nodes, judges)
    if fleet.usable(nodes):
        return nodes
    bundles = fleet.wish(nodes)
    say(
        f"no node of the cluster can hold a replica yet: asked its autoscaler for {len(bundles)} "
        f"times {bundles[0]}, and waiting for up to {engine.start_timeout:g} s"
    )
    autoscaler.ask(bundles)
    deadline = time.monotonic() + engine.start_timeout
    while not stopped() and time.monotonic() < deadline:
        nodes = ray_nodes()
        with suppress(ConfigError):
            place_replicas(engine, nodes, judges)
            break
        time.sleep(_POLL_S)
    return nodes
