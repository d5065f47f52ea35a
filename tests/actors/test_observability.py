"""What a cluster shows of a run: metrics that equal the report, events, and logs by replica."""

from __future__ import annotations

import asyncio
import json
import pickle
import re
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util.state import get_log, list_actors

from actors import coordinator, metrics
from actors.forms import Form
from actors.launch import Options, execute
from synth.config import RunConfig
from synth.event_log import read_events
from synth.events import RunOpened, RunStopping
from synth.metrics import ACCEPTED, CATALOGUE, STORED, Kind
from synth.plan import Plan
from synth.report import Status
from synth.session import Session
from tests.actors.test_launch import dies_once, plan_for, run
from tests.cluster.test_dashboard import VLLM, expressions, names_in, shipped_dashboard
from tests.conftest import path_of
from tests.scripted import Script, ScriptedEngine

SPOKEN = "the engine of a replica speaks"


@dataclass(frozen=True)
class Talking(Script):
    """Its engines print a line, as vLLM does."""

    def __call__(
        self, config: RunConfig, on_gpu: bool, forms: Mapping[str, Form]
    ) -> ScriptedEngine:
        print(SPOKEN, flush=True)
        return super().__call__(config, on_gpu, forms)


@dataclass(frozen=True)
class Scraped:
    """A cluster of one node with two cores and Ray's dashboard, and its page of metrics."""

    address: str
    page: str

    def scrape(self) -> str:
        """All that the node exports, as Prometheus reads it."""
        with urllib.request.urlopen(self.page) as page:
            text: str = page.read().decode()
        return text

    def metrics(self, plan: Plan) -> dict[str, Counter[tuple[str, ...]]]:
        """A run's metrics as the node exports them: name -> values by the labels but the run's."""
        run_id = json.loads((path_of(plan) / "run.json").read_text())["run_id"]
        found: dict[str, Counter[tuple[str, ...]]] = {}
        for line in self.scrape().splitlines():
            sample = re.fullmatch(r"ray_(evenfill_\w+)\{(.*)\} (\S+)", line)
            if sample is None:
                continue
            metric = next(metric for metric in CATALOGUE if metric.name == sample[1])
            labels = dict(re.findall(r'(\w+)="([^"]*)"', sample[2]))
            if labels["run"] == run_id:
                key = tuple(labels[name] for name in metric.labels)
                found.setdefault(metric.name, Counter())[key] += float(sample[3])
        return found

    def run(self, plan: Plan, script: Script | None, *, accept_changes: bool = False) -> list[str]:
        """Fill a plan there; what the driver said."""
        said: list[str] = []
        options = Options(self.address, accept_changes)
        ended = execute(plan, options, lambda _: None, said.append, engine_factory=script)
        assert ended.status is Status.COMPLETE
        return said


@pytest.fixture(scope="module")
def cluster() -> Iterator[Scraped]:
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": True})
    ray.init(address=made.address, log_to_driver=False)
    port = ray.nodes()[0]["MetricsExportPort"]
    ray.shutdown()
    yield Scraped(made.address, f"http://127.0.0.1:{port}/metrics")
    ray.shutdown()
    made.shutdown()


def events_of(plan: Plan) -> list[str]:
    return [event.event for event in read_events(plan.files.events)]


def test_on_a_cluster_metrics_equal_the_report_and_logs_are_found_by_the_replica_s_name(
    tmp_path: Path, cluster: Scraped
) -> None:
    plan = plan_for(tmp_path / "run", "engine.replicas=2")
    said = cluster.run(plan, Talking(too_short=0.2))
    report = json.loads((path_of(plan) / "report.json").read_text())

    values = cluster.metrics(plan)
    assert set(values) == {metric.name for metric in CATALOGUE}
    accepted = {(topic,): figures["accepted"] for topic, figures in report["topics"].items()}
    assert values["evenfill_accepted_records_total"] == accepted
    assert values["evenfill_stored_records"] == accepted
    assert values["evenfill_target_records"] == accepted
    by_reason: Counter[str] = Counter()
    for (_, reason), number in values["evenfill_rejected_texts_total"].items():
        by_reason[reason] += int(number)
    assert by_reason == report["rejected_by_reason"]
    tokens = report["tokens"]
    assert values["evenfill_completion_tokens_total"]["writing",] == tokens["completion"]
    assert values["evenfill_prompt_tokens_total"]["writing",] == tokens["prompt"]
    kept = values["evenfill_kept_completion_tokens_total"].total()
    assert kept == tokens["completion_in_accepted"]
    assert values["evenfill_replicas"]["done",] == 2
    assert values["evenfill_slots_in_flight"].total() == 0
    commits = events_of(plan).count("committed")
    assert values["evenfill_commits_total"].total() == commits > 0

    assert any("Ray's dashboard, http://" in line for line in said)
    ray.init(address=cluster.address, log_to_driver=False)
    actors = {actor.repr_name: actor for actor in list_actors(detail=True)}
    for name in ("replica-0", "replica-1"):
        assert SPOKEN in "".join(get_log(actor_id=actors[name].actor_id))
    ray.shutdown()
    assert list((path_of(plan) / "logs").iterdir()) == []


def test_a_run_that_is_resumed_counts_only_what_it_adds(tmp_path: Path, cluster: Scraped) -> None:
    options = ["engine.replicas=2", "seed=8"]
    first = plan_for(tmp_path / "run", *options)
    cluster.run(first, Script())
    more = plan_for(tmp_path / "run", *options, "targets.total=99")
    cluster.run(more, Script(), accept_changes=True)
    values = cluster.metrics(more)
    assert values["evenfill_accepted_records_total"].total() == 99  # 66 of one, 33 of the other
    opened = [event for event in read_events(more.files.events) if isinstance(event, RunOpened)]
    assert [(e.event, e.epoch, e.accepted, e.target) for e in opened] == [
        ("run_started", 1, 0, 66),
        ("run_resumed", 2, 66, 99),
    ]


def test_events_tell_of_deaths_topics_and_the_end_and_hold_no_texts(tmp_path: Path) -> None:
    plan = plan_for(tmp_path / "run", "engine.replicas=1")
    assert run(plan, partial(dies_once, tmp_path / "flag")).status is Status.COMPLETE
    happened = events_of(plan)
    assert happened[0] == "run_started"
    assert happened[-1] == "run_ended"
    fleet = [name for name in happened if name.startswith("replica_")]
    assert fleet == ["replica_up", "replica_died", "replica_up"]
    assert happened.count("topic_full") == 33
    written = "".join(p.read_text() for p in (path_of(plan) / "events").iterdir())
    assert "the scripted engine died" in written
    assert "makes sense that you feel" not in written
    assert "I write to you" not in written


def test_a_retired_replica_and_the_failure_are_events(tmp_path: Path) -> None:
    plan = plan_for(tmp_path / "run", "engine.max_restarts=0", "engine.replicas=1")
    assert run(plan, Script(dies_after=20)).status is Status.FAILED
    *_, stopping, ended = read_events(plan.files.events)
    assert [name for name in events_of(plan) if name.startswith("replica_")] == [
        "replica_up", "replica_died", "replica_retired",
    ]  # fmt: skip
    assert isinstance(stopping, RunStopping)
    assert stopping.status is Status.FAILED
    assert ended.event == "run_ended"


def test_every_counter_starts_at_zero_and_moves_by_what_is_gained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[str, float, dict[str, str]]] = []

    class Recorded:
        def __init__(self, name: str, _help: str, labels: tuple[str, ...]):
            self.name, self.labels = name, labels

        def set(self, value: float, labels: dict[str, str]) -> None:
            assert set(labels) == set(self.labels)
            told.append((self.name, value, labels))

        inc = set

    monkeypatch.setattr(metrics, "_KINDS", dict.fromkeys(Kind, Recorded))
    emitter = metrics.RayMetrics("run", [ACCEPTED.of(10, "anxiety"), STORED.of(10, "anxiety")])
    labels = {"run": "run", "topic": "anxiety"}
    emitter.emit([ACCEPTED.of(10, "anxiety"), STORED.of(10, "anxiety")])
    assert told == [(STORED.name, 10, labels)]
    told.clear()
    emitter.emit([ACCEPTED.of(13, "anxiety")])
    emitter.emit([ACCEPTED.of(14, "anxiety")])
    assert told == [(ACCEPTED.name, 3, labels), (ACCEPTED.name, 1, labels)]


def test_a_store_that_fails_and_recovers_is_told_once_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator, "_RETRY_S", 0.001)
    plan = plan_for(tmp_path / "run")
    actor = coordinator.CoordinatorActor(False, pickle.dumps(plan))
    session = Session(plan, accept_changes=False)
    answers = iter([OSError("the disk is full"), OSError("the disk is full"), None])

    def write() -> None:
        if (answer := next(answers)) is not None:
            raise answer

    assert asyncio.run(actor._try_for_a_while(session, write)) is None
    session.close()
    assert events_of(plan) == ["run_started", "store_failing", "store_recovered"]


@pytest.mark.engine
def test_an_engine_s_own_metrics_are_those_that_the_dashboard_shows(
    tmp_path: Path, cluster: Scraped
) -> None:
    options = [
        "targets.policy=explicit", "targets.topics={anxiety: 2}", "targets.total=2",
        "topic_gate={margin: 1, min_score: -1}",  # quicker
        "record={min_words: 25, max_question_words: 50, max_answer_words: 70}",
    ]  # fmt: skip
    plan = plan_for(tmp_path / "run", *options, "engine.metrics=true", "engine.replicas=1")
    cluster.run(plan, None)
    page = cluster.scrape()
    shown = {name for query in expressions(shipped_dashboard()) for name in names_in(query)}
    engines = {name for name in shown if name.startswith(VLLM)}
    assert engines
    assert not [name for name in engines if f"{name}{{" not in page]
    queried = re.findall(r"ray_vllm_prefix_cache_queries_total\{.*\} (\S+)", page)
    assert float(queried[0]) > 0
