"""Where replicas go, and what an impossible wish says."""

from __future__ import annotations

from itertools import chain

import pytest

from actors.engine import engine_arguments, engine_environment, sampling_arguments
from actors.fleet import Fleet
from actors.forms import writing_forms
from actors.placement import Node, Place, place_replicas
from actors.replica import own_cores
from synth.config import EngineConfig, RunConfig
from synth.errors import ConfigError
from synth.gates import Stage
from synth.records import bounds


def test_replicas_on_one_node_get_disjoint_cores_and_leave_none_idle() -> None:
    for cores in (2, 3, 16):
        for count in range(1, cores + 1):
            slices = [own_cores(list(range(cores)), (i, count)) or [] for i in range(count)]
            assert list(chain.from_iterable(slices)) == list(range(cores))
            assert all(slices)


def test_auto_is_one_replica_per_cpu_node() -> None:
    nodes = [Node("a", 8, 0), Node("b", 8, 0), Node("head", 0, 0)]
    assert sorted(p.node or "" for p in place_replicas(EngineConfig(), nodes)) == ["a", "b"]


def test_cpu_replicas_spread_by_cores() -> None:
    places = place_replicas(EngineConfig(replicas=3), [Node("small", 4, 0), Node("large", 8, 0)])
    assert sorted((p.node, p.slice_of_cores) for p in places) == [
        ("large", (0, 2)),
        ("large", (1, 2)),
        ("small", (0, 1)),
    ]


def test_auto_on_gpus_follows_tensor_parallel_and_does_not_span_nodes() -> None:
    nodes = [Node("a", 8, 4), Node("b", 8, 3)]
    places = place_replicas(EngineConfig(tensor_parallel=2), nodes)
    assert [p.gpus for p in places] == [2, 2, 2]
    assert places[0].options() == {"num_gpus": 2, "num_cpus": 1}


@pytest.mark.parametrize(
    ("engine", "nodes", "part"),
    [
        (EngineConfig(replicas=3), [Node("a", 2, 0)], "is 3, but there are 2 cores"),
        (EngineConfig(replicas=3), [Node("a", 8, 2)], "the GPUs hold 2 replicas"),
        (EngineConfig(tensor_parallel=4), [Node("a", 8, 2)], "no node has more than 2 GPUs"),
        (EngineConfig(tensor_parallel=2), [Node("a", 8, 0)], "Leave it at 1"),
        (EngineConfig(device="gpu"), [Node("a", 8, 0)], "engine.device: asks for a GPU"),
        (EngineConfig(gpu_share=0.5), [Node("a", 8, 0)], "engine.gpu_share: asks for a GPU"),
    ],
)
def test_more_than_there_is_is_one_message(
    engine: EngineConfig, nodes: list[Node], part: str
) -> None:
    with pytest.raises(ConfigError, match=part):
        place_replicas(engine, nodes)


def test_a_replica_whose_node_is_gone_moves_to_the_largest_that_is_left() -> None:
    nodes = [Node("small", 2, 0), Node("large", 8, 0)]
    fleet = Fleet(EngineConfig(replicas=1), nodes, 0)
    assert fleet.again(Place(0, "gone", (1, 2)), [], nodes) == Place(0, "large", (0, 1))
    assert fleet.again(Place(0, "small", (1, 2)), [], nodes) == Place(0, "small", (1, 2))


def test_engine_arguments_follow_config_and_device() -> None:
    config = RunConfig(
        engine=EngineConfig(tensor_parallel=2, max_num_seqs=32, structured_output="outlines")
    )
    gpu, cpu = (engine_arguments(config, "a/model", on_gpu) for on_gpu in (True, False))
    assert gpu["tensor_parallel_size"] == 2
    assert gpu["distributed_executor_backend"] == "mp"
    assert "block_size" not in gpu
    assert gpu["max_num_seqs"] == cpu["max_num_seqs"] == 32
    assert "tensor_parallel_size" not in cpu
    assert cpu["enable_chunked_prefill"] is False
    assert cpu["max_num_batched_tokens"] >= cpu["max_model_len"]
    assert gpu["structured_outputs_config"] == {"backend": "outlines"}
    shared = RunConfig(engine=EngineConfig(gpu_share=0.5))
    assert engine_arguments(shared, "m", True)["gpu_memory_utilization"] == pytest.approx(0.45)
    pinned = engine_arguments(RunConfig(), "m", False)["structured_outputs_config"]
    assert pinned == {"backend": "xgrammar", "disable_any_whitespace": True}


def test_only_a_cpu_replica_is_bound_to_cores() -> None:
    told = engine_environment([2, 3], RunConfig())
    openmp = {name: value for name, value in told.items() if name.startswith("OMP_")}
    assert openmp == {"OMP_NUM_THREADS": "2", "OMP_PLACES": "{2,3}", "OMP_PROC_BIND": "true"}
    assert not [name for name in engine_environment(None, RunConfig()) if "OMP_" in name]


def test_an_engines_processes_speak_over_loopback() -> None:
    told = engine_environment(None, RunConfig())
    names = ("VLLM_HOST_IP", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
    assert [told[name] for name in names] == ["127.0.0.1", "lo", "lo"]


@pytest.mark.parametrize("stage", list(Stage))
def test_sampling_takes_its_token_limit_from_the_record_bounds(stage: Stage) -> None:
    config = RunConfig()
    sampling = sampling_arguments(writing_forms(config)[stage], seed=3, warmth=0.2)
    assert sampling["max_tokens"] == bounds(config.record, stage).max_tokens
    assert sampling["temperature"] == pytest.approx(config.sampling.temperature + 0.2)
    assert sampling["seed"] == 3


def test_judges_get_places_after_the_replicas() -> None:
    nodes = [Node("a", 0, 4)]
    assert len(place_replicas(EngineConfig(), nodes, judges=1)) == 4
    with pytest.raises(ConfigError, match="with 2 for judges"):
        place_replicas(EngineConfig(replicas=3), nodes, judges=2)
    shared = place_replicas(EngineConfig(), [Node("a", 2, 0)], judges=1)
    assert [place.slice_of_cores for place in shared] == [(0, 2), (1, 2)]
