"""A run as a job of a cluster: one head and workers that come and go, on one machine."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import fsspec
import psutil
import pytest

from synth.event_log import read_events
from synth.events import ReplicaUp
from synth.store import run_files
from tests.check_folder import digests, problems

pytestmark = pytest.mark.engine

BIN = Path(sys.executable).parent
EVENFILL = [sys.executable, "-m", "synth"]
_PATIENCE_S = 240


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RayCluster:
    """Nodes started by `ray start`, each with a temporary folder of its own, behind a token.

    Each worker has one of this machine's cores, as if it were a machine of its own.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        self._cores = itertools.cycle(sorted(os.sched_getaffinity(0)))
        port = free_port()
        self.dashboard = f"http://127.0.0.1:{port}"
        self._start(
            "head", "--head", "--num-cpus=0", f"--port={free_port()}",
            "--dashboard-host=127.0.0.1", f"--dashboard-port={port}",
            f"--ray-client-server-port={free_port()}",
        )  # fmt: skip
        file = folder / "head" / "ray_current_cluster"
        eventually(file.exists, "the head is up")
        self.address = file.read_text()

    def add_worker(self, name: str) -> None:
        self._start(name, f"--address={self.address}", "--num-cpus=1", cores={next(self._cores)})

    def kill_worker(self, name: str) -> None:
        """As when its machine is taken away."""
        node = psutil.Process(self._nodes.pop(name).pid)
        processes = [node, *node.children(recursive=True)]
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, 10)

    def stop(self) -> None:
        for node in reversed(self._nodes.values()):
            node.terminate()
        for node in self._nodes.values():
            node.wait(timeout=60)

    def _start(self, name: str, *options: str, cores: Iterable[int] = ()) -> None:
        def settle() -> None:
            os.sched_setaffinity(0, cores or os.sched_getaffinity(0))

        with open(self._folder / f"{name}.log", "wb") as log:
            self._nodes[name] = subprocess.Popen(
                [BIN / "ray", "start", f"--temp-dir={self._folder / name}",
                 "--dashboard-agent-listen-port=0", "--block", *options],
                stdout=log, stderr=log, start_new_session=True, preexec_fn=settle,
            )  # fmt: skip


@pytest.fixture(scope="module")
def token() -> Iterator[None]:
    """Ray's token authentication, and the commands of this environment, for what is started."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_AUTH_MODE", "token")
        patched.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patched.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patched.setenv("RAY_process_group_cleanup_enabled", "1")
        yield


@pytest.fixture(scope="module")
def cluster(s3: str, token: None) -> Iterator[RayCluster]:  # noqa: ARG001
    folder = Path(tempfile.mkdtemp(prefix="ef-"))  # a socket's path must be short
    cluster = RayCluster(folder)
    yield cluster
    cluster.stop()
    shutil.rmtree(folder, ignore_errors=True)


def eventually(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"it never came that {what}"
        time.sleep(0.3)


def submit(cluster: RayCluster, *options: str) -> list[str]:
    return [*EVENFILL, "submit", "--address", cluster.dashboard, *options]


def ended(command: list[str], **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_PATIENCE_S, env=os.environ | environment
    )
    return done.returncode, done.stdout + done.stderr


def run_options(out: str, each: int, sequences: int = 8) -> list[str]:
    topics = f"{{anxiety: {each}, stress: {each}, relationships: {each}}}"
    settings = [
        f"targets={{policy: explicit, topics: {topics}}}", f"engine.max_num_seqs={sequences}",
        "engine.cpu_kv_cache_gib=1", "gates=[placeholder, repetition, role]",
        "topic_gate={margin: 1, min_score: -1}", "store.commit_seconds=0.5",
        "record={min_words: 25, max_question_words: 50, max_answer_words: 70}",  # quicker
    ]  # fmt: skip
    return ["--out", out, *(f"--set={setting}" for setting in settings)]


class Following:
    """`evenfill submit` in the background, and what it has printed."""

    def __init__(self, command: list[str], log: Path):
        self._log = log
        with open(log, "w") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, start_new_session=True,
                # Where the tests run in the background, Ctrl-C is ignored by what they start.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )  # fmt: skip

    @property
    def text(self) -> str:
        return self._log.read_text()

    def wait_for(self, words: str) -> None:
        def there() -> bool:
            assert self.process.poll() is None or words in self.text, self.text
            return words in self.text

        try:
            eventually(there, repr(words))
        except AssertionError as error:
            raise AssertionError(self.text) from error


def copy_of(bucket: str, to: Path) -> Path:
    fsspec.filesystem("s3", use_listings_cache=False).get(f"{bucket}/", f"{to}/", recursive=True)
    return to


def records_in(bucket: str) -> bool:
    return bool(fsspec.filesystem("s3", use_listings_cache=False).glob(f"{bucket}/accepted/*"))


def replicas_up(bucket: str) -> set[str]:
    return {e.replica for e in read_events(run_files(bucket).events) if isinstance(e, ReplicaUp)}


@pytest.mark.timeout(900)
def test_a_job_outlives_its_submitter_a_worker_and_a_stop_and_ends_on_target(
    cluster: RayCluster, bucket: str, tmp_path: Path
) -> None:
    # Few sequences at once: the run outlasts the start of a second and a third replica.
    options = run_options(bucket, 8, sequences=4)
    first = Following(submit(cluster, *options), tmp_path / "first.log")
    first.wait_for("submitted")
    job = first.text.split("job ")[1].split()[0]
    first.wait_for("waiting for up to")  # the head has no core to run a replica on
    cluster.add_worker("one")
    cluster.add_worker("two")
    first.wait_for("the first replica is up")

    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(timeout=30) == 130
    assert "the job goes on" in first.text

    code, text = ended(submit(cluster, *options))
    assert code == 2, text
    assert "in use by" in text or f"is being filled by the job {job}" in text

    again = Following(submit(cluster, "--job", job), tmp_path / "again.log")
    eventually(lambda: replicas_up(bucket) == {"replica-0", "replica-1"}, "both replicas write")
    eventually(lambda: records_in(bucket), "a record is durable")
    earlier = digests(copy_of(bucket, tmp_path / "earlier"))
    cluster.kill_worker("one")
    again.wait_for(" waits for a node")
    lost = again.text.split(" waits for a node")[0].split()[-1]
    cluster.add_worker("three")
    again.wait_for(f"{lost} starts again: the cluster has room for it")
    code, text = ended(submit(cluster, "--job", job, "--stop"))
    assert code == 130, text
    assert again.process.wait(timeout=60) == 130, again.text
    assert "given up" not in again.text
    stopped = copy_of(bucket, tmp_path / "stopped")
    assert problems(stopped, earlier, complete=False) == []
    assert json.loads((stopped / "run.json").read_text())["status"] == "interrupted"
    earlier = digests(stopped)
    assert 0 < len(earlier) < 24

    code, text = ended(submit(cluster, *options))
    assert code == 0, text
    folder = copy_of(bucket, tmp_path / "folder")
    assert problems(folder, earlier) == []
    manifest = json.loads((folder / "run.json").read_text())
    assert manifest["epoch"] == 2
    assert sum(manifest["targets"].values()) == 24

    code, text = ended([*EVENFILL, "status", bucket, "--json"])
    assert code == 0
    assert json.loads(text)["status"] == "complete"

    code, text = ended(submit(cluster, *options, "--json"))
    assert code == 0, text
    assert "this run is complete already" in text
    assert "starting" not in text
    assert json.loads(text.splitlines()[0])["exit_code"] == 0


def test_what_the_cluster_finds_wrong_ends_the_job_with_exit_code_2(cluster: RayCluster) -> None:
    options = ["--out", "/proc/evenfill", "--set=model.name=/no/such/model"]
    code, text = ended(submit(cluster, *options))
    assert code == 2, text
    assert "cannot be written" in text
    assert "Traceback" not in text


def test_a_wrong_token_no_jobs_api_and_no_such_job_are_one_message_each(
    cluster: RayCluster, s3: str
) -> None:
    options = submit(cluster, "--job", "none")
    code, text = ended(options, RAY_AUTH_TOKEN="0" * 64)
    assert code == 2
    assert "wants its token" in text
    code, text = ended(options)
    assert code == 2
    assert "knows no job 'none'" in text
    other = os.environ["AWS_ENDPOINT_URL"]
    code, text = ended([*EVENFILL, "submit", "--address", other, "--job", "none"])
    assert code == 2
    assert f"no Ray Jobs API answers at {other}" in text
    assert s3
    assert "Traceback" not in text
