"""Where replicas run as nodes come and go: the rules, without Ray."""

from __future__ import annotations

from collections.abc import Sequence

from actors.placement import Node, Place, gpu_places, uses_gpus, wanted_replicas
from synth.config import EngineConfig


class Fleet:
    """Whether the replicas' devices, and how many of them, follow the cluster.

    With `replicas: auto` there is one replica for each place on the GPUs, or for each node where
    there are none, and never fewer than one. A fixed number stays: on CPUs a replica whose node
    is gone moves in with another.

    Args:
        engine: the engine section of the run config.
        nodes: those that the run starts on; they decide between GPUs and CPUs.
        judges: engines that judge and hold places of their own.
    """

    def __init__(self, engine: EngineConfig, nodes: Sequence[Node], judges: int):
        self._engine = engine
        self._on_gpus = uses_gpus(engine, nodes)
        self._judges = judges

    def usable(self, nodes: Sequence[Node]) -> list[Node]:
        """The nodes that a replica could be on."""
        return [node for node in nodes if (node.gpus if self._on_gpus else node.cpus)]

    def again(self, place: Place, others: Sequence[Place], nodes: Sequence[Node]) -> Place | None:
        """Where a replica starts again that was at `place`; None where there is no room now.

        Args:
            place: where it was; its node may be gone.
            others: places of the other replicas.
            nodes: those that are there, and stay.
        """
        usable = self.usable(nodes)
        if self._on_gpus:
            return place if len(others) < self._gpu_room(nodes) else None
        if any(node.id == place.node for node in usable):
            return place
        free = self._free(usable, others)
        if not usable or (not free and self._engine.replicas == "auto"):
            return None
        return _whole(max(free or usable, key=_size))

    def more(self, held: Sequence[Place], nodes: Sequence[Node]) -> list[Place]:
        """Places of the replicas to add, beside those at the places that are held."""
        if self._engine.replicas != "auto":
            return []
        if self._on_gpus:
            added = self._gpu_room(nodes) - len(held)
            return [Place(gpus=self._engine.gpus_per_replica) for _ in range(added)]
        free = sorted(self._free(self.usable(nodes), held), key=_size, reverse=True)
        added = wanted_replicas(self._engine, len(held) + len(free)) - len(held)
        return [_whole(node) for node in free[: max(added, 0)]]

    def wish(self, nodes: Sequence[Node]) -> list[dict[str, float]]:
        """Resources to ask of an autoscaler, one bundle per replica; none when all is there.

        A CPU's bundle is as large as the largest node, so that each replica gets its own.
        """
        engine = self._engine
        usable = self.usable(nodes)
        if usable and engine.max_replicas is None:
            return []
        number = engine.max_replicas or (1 if engine.replicas == "auto" else engine.replicas)
        bundle: dict[str, float] = {"CPU": max((node.cpus for node in usable), default=1)}
        if self._on_gpus:
            bundle = {"CPU": 1, "GPU": engine.gpus_per_replica}
        return [bundle] * (number + self._judges)

    def _gpu_room(self, nodes: Sequence[Node]) -> int:
        possible = gpu_places(self._engine, nodes)
        return wanted_replicas(self._engine, possible - self._judges) if possible else 0

    @staticmethod
    def _free(usable: Sequence[Node], taken: Sequence[Place]) -> list[Node]:
        held = {place.node for place in taken}
        return [node for node in usable if node.id not in held]


def _whole(node: Node) -> Place:
    return Place(0, node.id, (0, 1))


def _size(node: Node) -> tuple[int, str]:
    return node.cpus, node.id
