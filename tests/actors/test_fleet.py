"""What starts, moves and waits as nodes come and go."""

from __future__ import annotations

import pytest

from actors.fleet import Fleet
from actors.placement import Node, Place, place_replicas
from synth.config import EngineConfig

A, B, C = Node("a", 8, 0), Node("b", 8, 0), Node("c", 4, 0)
HEAD = Node("head", 0, 0)
AUTO = EngineConfig()


def whole(node: Node) -> Place:
    return Place(0, node.id, (0, 1))


def gpu_node(name: str, gpus: int) -> Node:
    return Node(name, 16, gpus)


def test_a_node_that_comes_gets_a_replica_and_one_that_has_one_gets_no_second() -> None:
    fleet = Fleet(AUTO, [A], 0)
    assert fleet.more([whole(A)], [HEAD, A]) == []
    assert fleet.more([whole(A)], [HEAD, A, C, B]) == [whole(B), whole(C)]


def test_a_replica_that_died_starts_again_where_it_was() -> None:
    shared = Place(0, "a", (1, 2))
    for engine in (AUTO, EngineConfig(replicas=2)):
        assert Fleet(engine, [A, B], 0).again(shared, [whole(B)], [A, B]) == shared


def test_auto_lets_a_replica_wait_rather_than_share_a_node_with_another() -> None:
    fleet = Fleet(AUTO, [A, B], 0)
    assert fleet.again(whole(B), [whole(A)], [HEAD, A]) is None
    assert fleet.again(whole(B), [whole(A)], [HEAD, A, C]) == whole(C)


def test_auto_never_lets_the_last_replica_wait_while_there_is_a_node() -> None:
    fleet = Fleet(AUTO, [A, B], 0)
    assert fleet.again(whole(A), [whole(B)], [HEAD, C]) == whole(C)  # B is gone, too


def test_a_fixed_number_moves_in_with_another() -> None:
    fleet = Fleet(EngineConfig(replicas=2), [A, B], 0)
    assert fleet.again(whole(B), [whole(A)], [A]) == whole(A)
    assert fleet.again(whole(B), [whole(A)], [A, C]) == whole(C)
    assert fleet.more([whole(A)], [A, B, C]) == []


@pytest.mark.parametrize("engine", [AUTO, EngineConfig(replicas=2)])
def test_a_head_without_cores_is_no_place_for_a_replica(engine: EngineConfig) -> None:
    assert Fleet(engine, [A], 0).again(whole(A), [], [HEAD]) is None


def test_auto_on_gpus_counts_what_the_nodes_hold() -> None:
    engine = EngineConfig(tensor_parallel=2)
    one = Place(gpus=2)
    fleet = Fleet(engine, [gpu_node("a", 4)], 0)
    assert fleet.more([one, one], [gpu_node("a", 4)]) == []
    assert fleet.more([one, one], [gpu_node("a", 4), gpu_node("b", 3)]) == [one]
    assert fleet.again(one, [one], [gpu_node("a", 2)]) is None
    assert fleet.again(one, [one], [gpu_node("a", 4)]) == one
    assert fleet.again(one, [], [HEAD, A]) is None


def test_judges_keep_their_gpus() -> None:
    fleet = Fleet(AUTO, [gpu_node("a", 2)], judges=1)
    one = Place(gpus=1)
    assert fleet.more([one], [gpu_node("a", 2)]) == []
    assert fleet.more([one], [gpu_node("a", 2), gpu_node("b", 1)]) == [one]


def test_max_replicas_bounds_auto() -> None:
    engine = EngineConfig(max_replicas=2)
    assert len(place_replicas(engine, [A, B, C])) == 2
    assert Fleet(engine, [A], 0).more([whole(A)], [A, B, C]) == [whole(B)]
    gpus = [gpu_node("a", 8)]
    assert len(place_replicas(engine, gpus)) == 2
    assert Fleet(engine, gpus, 0).more([Place(gpus=1)], gpus) == [Place(gpus=1)]


def test_the_autoscaler_is_asked_for_a_first_node_and_else_only_up_to_max_replicas() -> None:
    assert Fleet(AUTO, [], 0).wish([HEAD]) == [{"CPU": 1}]
    assert Fleet(AUTO, [A], 0).wish([HEAD, A]) == []
    assert Fleet(EngineConfig(replicas=3), [], 0).wish([HEAD]) == [{"CPU": 1}] * 3
    bounded = EngineConfig(max_replicas=3)
    assert Fleet(bounded, [A], 0).wish([HEAD, A]) == [{"CPU": 8}] * 3
    waiting = Fleet(EngineConfig(device="gpu"), [HEAD, A], 0)
    assert waiting.wish([HEAD, A]) == [{"GPU": 1, "CPU": 1}]


def test_shares_of_a_gpu_are_counted_per_gpu() -> None:
    engine = EngineConfig(gpu_share=0.4)
    assert [place.gpus for place in place_replicas(engine, [gpu_node("a", 2)])] == [0.4] * 4
    tenth = EngineConfig(gpu_share=0.1)
    assert len(place_replicas(tenth, [gpu_node("a", 1)])) == 10
