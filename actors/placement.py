"""Where replicas go: GPUs by count, CPU nodes by equal slices of their cores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from synth.config import EngineConfig
from synth.errors import ConfigError

_ROUNDING = 1e-9  # ten shares of 0.1 fill a GPU


@dataclass(frozen=True, slots=True)
class Node:
    """What a Ray node has."""

    id: str
    cpus: int
    gpus: int


@dataclass(frozen=True, slots=True)
class Place:
    """Resources of one replica: GPUs anywhere, or a slice of one node's cores.

    Attributes:
        gpus: 0 on a CPU; below 1 where several replicas share a GPU.
        node: id of the node, on a CPU.
        slice_of_cores: (index, count) of equal slices of that node's cores, on a CPU.
    """

    gpus: float
    node: str | None = None
    slice_of_cores: tuple[int, int] | None = None

    def options(self) -> dict[str, Any]:
        """Options of the replica's Ray actor."""
        if self.gpus:
            # An actor is on one node with all its GPUs: what STRICT_PACK would say of one bundle.
            return {"num_gpus": self.gpus, "num_cpus": 1}
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # The cores are kept apart by the engine's thread binding; Ray only has to place the
        # actor, and a whole number of its CPUs need not be a whole slice.
        return {
            "num_cpus": 0,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(self.node, soft=False),
        }


def leaving_nodes() -> frozenset[str]:
    """Ids of the nodes that Ray was told to drain, as before a spot machine is taken away."""
    import ray

    return frozenset(_gcs_client(ray.get_runtime_context().gcs_address).get_draining_nodes())


@lru_cache(maxsize=1)
def _gcs_client(address: str) -> Any:
    """Ray's own client of its control store; Ray Serve asks it too, nothing public tells."""
    import ray

    inner: Any = ray._raylet
    return inner.GcsClient(address=address)


def ray_nodes() -> list[Node]:
    """The live nodes of the Ray cluster that this process is connected to, and that stay."""
    import ray

    leaving = leaving_nodes()
    return [
        Node(
            node["NodeID"],
            int(node["Resources"].get("CPU", 0)),
            int(node["Resources"].get("GPU", 0)),
        )
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] not in leaving
    ]


def uses_gpus(engine: EngineConfig, nodes: Sequence[Node]) -> bool:
    """Whether the replicas of a run on these nodes are on GPUs."""
    return (
        engine.device == "gpu" or engine.gpus_per_replica != 1 or any(node.gpus for node in nodes)
    )


def gpu_places(engine: EngineConfig, nodes: Sequence[Node]) -> int:
    """How many replicas the GPUs of these nodes hold; none spans two nodes."""
    if engine.gpu_share < 1:
        return sum(node.gpus for node in nodes) * int(1 / engine.gpu_share + _ROUNDING)
    return sum(node.gpus // engine.tensor_parallel for node in nodes)


def place_replicas(engine: EngineConfig, nodes: Sequence[Node], judges: int = 0) -> list[Place]:
    """One place per replica, and after them one for each of `judges`.

    `auto` means as many replicas as the GPUs allow, or one per node where there is no GPU.

    Raises:
        ConfigError: more is asked for than there is.
    """
    if uses_gpus(engine, nodes):
        return _on_gpus(engine, nodes, judges)
    return _on_cpus(engine, nodes, judges)


def _on_gpus(engine: EngineConfig, nodes: Sequence[Node], judges: int) -> list[Place]:
    possible = gpu_places(engine, nodes)
    if not possible:
        largest = max((node.gpus for node in nodes), default=0)
        if engine.tensor_parallel == 1:
            raise ConfigError(
                "engine.device" if engine.device == "gpu" else "engine.gpu_share",
                "asks for a GPU, but no node has one",
                "Leave it out, or bring GPUs",
            )
        raise ConfigError(
            "engine.tensor_parallel",
            f"is {engine.tensor_parallel}, but no node has more than {largest} GPUs",
            f"Give at most {largest}" if largest else "Leave it at 1 where there is no GPU",
        )
    wanted = wanted_replicas(engine, possible - judges)
    if wanted + judges > possible:
        raise ConfigError(
            "engine.replicas",
            f"is {engine.replicas}{_and_judges(judges)}, but the GPUs hold {possible} replicas of "
            f"{engine.gpus_per_replica:g} GPUs",
            f"Give at most {possible} in all, or auto",
        )
    return [Place(gpus=engine.gpus_per_replica) for _ in range(wanted + judges)]


def wanted_replicas(engine: EngineConfig, room: int) -> int:
    """How many replicas write, where there is room for so many; `auto` never wants none."""
    if engine.replicas != "auto":
        return engine.replicas
    return max(1, min(room, engine.max_replicas or room))


def _on_cpus(engine: EngineConfig, nodes: Sequence[Node], judges: int) -> list[Place]:
    usable = [node for node in nodes if node.cpus]
    cores = sum(node.cpus for node in usable)
    wanted = wanted_replicas(engine, len(usable))
    if wanted + judges > cores or not usable:
        raise ConfigError(
            "engine.replicas",
            f"is {engine.replicas}{_and_judges(judges)}, but there are {cores} cores",
            f"Give at most {cores} in all, or auto",
        )
    on_node: Counter[str] = Counter()
    chosen: list[tuple[str, int]] = []
    for _ in range(wanted + judges):
        node = max(usable, key=lambda n: (n.cpus / (on_node[n.id] + 1), n.id))
        chosen.append((node.id, on_node[node.id]))
        on_node[node.id] += 1
    return [Place(0, node, (index, on_node[node])) for node, index in chosen]


def _and_judges(judges: int) -> str:
    return f", with {judges} for judges" if judges else ""
