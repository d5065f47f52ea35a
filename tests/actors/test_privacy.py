"""A run keeps to itself: no text in logs, no port for others, no cluster without its token."""

from __future__ import annotations

import ipaddress
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from tests.actors.test_faults import SLOW, finish, start, wait_for_records
from tests.conftest import REPO, SPECS_DIR

MARKER = "zarquilbat"
TOKEN = "0123456789abcdef" * 2

CLUSTER = """
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
print("address", cluster.address, flush=True)
input()
cluster.shutdown()
"""


@pytest.fixture
def marked_topics(tmp_path: Path) -> Path:
    """Topics with a word in every situation that nothing else says."""
    folder = tmp_path / "topics"
    shutil.copytree(SPECS_DIR, folder)
    for path in folder.glob("*.yaml"):
        head, found, rest = path.read_text().partition("\nsituations:\n")
        situations, blank, tail = rest.partition("\nwithout:")
        marked = situations.replace("  - ", f"  - {MARKER} ")
        path.write_text(head + found + marked + blank + tail)
    return folder


@pytest.fixture
def ray_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where Ray keeps its files; its sockets need a short path."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)


def listening(process: psutil.Process) -> set[str]:
    """The addresses that a process and its descendants listen on."""
    found = set()
    for member in (process, *process.children(recursive=True)):
        try:
            connections = member.net_connections("inet")
        except psutil.NoSuchProcess:
            continue
        found |= {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
    return found


def is_loopback(address: str) -> bool:
    ip = ipaddress.ip_address(address)
    return ((ip.version == 6 and ip.ipv4_mapped) or ip).is_loopback


def test_no_log_holds_a_prompt_or_a_record_even_when_an_error_quotes_them(
    tmp_path: Path, marked_topics: Path, ray_folder: Path
) -> None:
    folder = tmp_path / "run"
    dies = {"delay_s": 0.2, "dies_after": 150, "quotes": True}
    run = start(folder, dies, f"topics={marked_topics}", "judge={}", "engine.max_restarts=1")
    assert run.wait(timeout=240) == 1, folder.with_suffix(".log").read_text()
    output = folder.with_suffix(".log")
    assert "its message quotes a text" in output.read_text()

    rows = [row for file in folder.glob("accepted/*") for row in pq.read_table(file).to_pylist()]
    assert any(MARKER in row["question"] for row in rows)
    own = [path for path in folder.rglob("*") if path.suffix in (".json", ".log", ".md")]
    rays = [path for path in ray_folder.rglob("logs/**/*") if path.is_file()]
    assert {"replica-0.log", "report.json"} <= {path.name for path in own}
    assert any(path.name.startswith("worker-") for path in rays)
    assert [path for path in (output, *own, *rays) if MARKER in path.read_text("latin-1")] == []


def test_a_run_on_one_machine_listens_on_loopback_only(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = start(folder, SLOW)
    wait_for_records(folder, run)
    addresses = listening(psutil.Process(run.pid))
    finish(folder, run, {})
    assert addresses
    assert [address for address in addresses if not is_loopback(address)] == []


@pytest.fixture
def guarded_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a cluster that asks for a token."""
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        env=os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN},
        cwd=REPO,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as cluster:
        lines = iter(cluster.stdout.readline, "") if cluster.stdout else iter(())
        address = next(line.split()[1] for line in lines if line.startswith("address "))
        monkeypatch.setenv("EVENFILL_TEST_ADDRESS", address)
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        yield address
        cluster.communicate("\n", timeout=60)


def test_a_cluster_that_asks_for_a_token_is_joined_with_it_and_with_no_other(
    tmp_path: Path, guarded_cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN[::-1])
    stranger = start(tmp_path / "stranger", {})
    assert stranger.wait(timeout=120) != 0
    told = (tmp_path / "stranger.log").read_text()
    assert f"no Ray cluster answers at '{guarded_cluster}'" in told
    assert "the token that it may ask for (RAY_AUTH_MODE=token, RAY_AUTH_TOKEN)" in told
    assert TOKEN[::-1] not in told

    token = tmp_path / "token"
    token.write_text(TOKEN)
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    member = start(tmp_path / "member", {}, "targets.total=33")
    assert member.wait(timeout=120) == 0, (tmp_path / "member.log").read_text()
