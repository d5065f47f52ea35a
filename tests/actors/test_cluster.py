"""Runs on a cluster of more than one node, and into a bucket."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from ray.cluster_utils import Cluster

from tests.actors.test_faults import QUICK, process_named, start
from tests.check_folder import digests, problems


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head and a worker node with one core each."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    monkeypatch.setenv("EVENFILL_TEST_ADDRESS", cluster.address)
    yield cluster
    cluster.shutdown()


def wait_for(log: Path, words: str, run: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while words not in log.read_text():
        assert run.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def test_a_node_that_is_about_to_leave_is_drained_and_its_replica_moves(
    tmp_path: Path, cluster: Cluster
) -> None:
    worker = cluster.add_node(num_cpus=1)
    folder, log = tmp_path / "run", tmp_path / "run.log"
    run = start(folder, {"delay_s": 0.5}, "engine.replicas=2")
    wait_for(log, "generating", run)
    time.sleep(3)
    notice = [
        "drain-node", "--address", cluster.address, "--node-id", worker.node_id,
        "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "a spot machine",
        "--deadline-remaining-seconds", "20",
    ]  # fmt: skip
    ray = Path(sys.executable).with_name("ray")
    subprocess.run([ray, *notice], check=True, capture_output=True)
    wait_for(log, "drains: its node is about to leave", run)
    assert run.wait(timeout=240) == 0, log.read_text()
    assert "died" not in log.read_text()
    assert problems(folder, {}) == []


def test_auto_takes_in_a_node_that_comes_and_goes_on_without_one_that_is_gone(
    tmp_path: Path, cluster: Cluster
) -> None:
    first = cluster.add_node(num_cpus=1)
    folder, log = tmp_path / "run", tmp_path / "run.log"
    run = start(folder, {"delay_s": 0.8}, "engine.max_restarts=1")
    wait_for(log, "starting 2 vLLM replica(s)", run)
    wait_for(log, "generating", run)
    cluster.add_node(num_cpus=1)
    wait_for(log, "replica-2 starts: the cluster has room for it", run)
    cluster.remove_node(first, allow_graceful=False)
    wait_for(log, "waits for a node", run)
    assert run.wait(timeout=240) == 0, log.read_text()
    assert "given up" not in log.read_text()
    assert problems(folder, {}) == []


def test_a_run_into_a_bucket_survives_the_death_of_its_coordinator_and_its_driver(
    tmp_path: Path, bucket: str
) -> None:
    def here() -> Path:
        """The bucket's files, on this disk."""
        copy = tmp_path / f"copy-{time.monotonic_ns()}"
        fsspec.filesystem("s3").get(f"{bucket}/", f"{copy}/", recursive=True)
        return copy

    def wait_for_epoch_with_records(epoch: int, run: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + 120
        system = fsspec.filesystem("s3", use_listings_cache=False)
        while not system.glob(f"{bucket}/accepted/segment-{epoch:04d}-*"):
            assert run.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)

    log = tmp_path / "run.log"
    slow = {"delay_s": 0.5, "too_short": 0.2}
    options = [f"out={bucket}", "targets.total=198"]
    run = start(tmp_path / "run", slow, *options)
    wait_for_epoch_with_records(1, run)
    process_named("ray::CoordinatorActor").kill()
    wait_for_epoch_with_records(2, run)
    run.kill()
    run.wait()
    earlier = digests(here())
    assert 0 < len(earlier) < 198
    run = start(tmp_path / "run", QUICK, *options)
    assert run.wait(timeout=300) == 0, log.read_text()
    folder = here()
    assert problems(folder, earlier) == []
    assert sorted(p.name for p in (folder / "epochs").glob("????.json")) == [
        "0001.json", "0002.json", "0003.json",
    ]  # fmt: skip
