"""Whole runs through real Ray, with a scripted engine: ends, deaths, and no orphans."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from actors.forms import JUDGEMENT, Form
from actors.launch import Options, execute
from synth.config import RunConfig, load_config
from synth.errors import UserError
from synth.plan import Plan, make_plan
from synth.report import Snapshot, Status
from synth.segments import segments
from tests.conftest import REPO, path_of
from tests.scripted import QUICK_GATES, Script, ScriptedEngine


def plan_for(folder: Path, *options: str) -> Plan:
    config = load_config(
        None,
        [QUICK_GATES, f"out={folder}", "targets.policy=uniform", "targets.total=66",
         "engine.max_num_seqs=16",
         "store.commit_seconds=0.2", *options],
    )  # fmt: skip
    return make_plan(config, REPO)


def run(plan: Plan, factory: Callable[..., ScriptedEngine]) -> Snapshot:
    return execute(plan, Options(), lambda _: None, lambda _: None, engine_factory=factory)


def accepted(plan: Plan) -> list[dict[str, object]]:
    files = [path_of(plan) / "accepted" / s.name for s in segments(plan.files.accepted)]
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    ids = [row["id"] for row in rows]
    assert len(ids) == len(set(ids))
    return rows


def orphans(within_s: float = 15.0) -> list[str]:
    """Processes of Ray or vLLM that are still there after a moment's grace."""
    deadline = time.monotonic() + within_s
    while (found := _engine_side_processes()) and time.monotonic() < deadline:
        time.sleep(0.3)
    return found


def _engine_side_processes() -> list[str]:
    lines = (" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"]))
    names = ("ray::", "VLLM::")
    watchers = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")  # notice a dead raylet in a minute
    return [
        x
        for x in lines
        if (x.startswith(names) and not x.startswith(watchers))
        or "raylet/raylet" in x
        or "gcs_server" in x
    ]


def test_two_replicas_fill_every_topic_leave_nothing_running_and_have_nothing_to_do_again(
    tmp_path: Path,
) -> None:
    plan = plan_for(tmp_path / "run", "engine.replicas=2")
    snapshot = run(plan, Script(too_short=0.2))
    assert snapshot.status is Status.COMPLETE
    rows = accepted(plan)
    assert len(rows) == 66
    assert {r["topic"] for r in rows} == set(plan.specs.topics)
    report = json.loads((path_of(plan) / "report.json").read_text())
    assert report["status"] == "complete"
    assert orphans() == []
    assert run(plan, Script(dies_after=0)).status is Status.COMPLETE
    assert accepted(plan) == rows


def dies_once(
    flag: Path, config: RunConfig, on_gpu: bool, forms: Mapping[str, Form]
) -> ScriptedEngine:
    """An engine that dies after 30 texts, the first time that it is made."""
    first = not flag.exists()
    flag.touch()
    return Script(dies_after=30 if first else None)(config, on_gpu, forms)


def test_a_replica_that_dies_is_restarted_and_the_run_completes(tmp_path: Path) -> None:
    plan = plan_for(tmp_path / "run")
    snapshot = run(plan, partial(dies_once, tmp_path / "flag"))
    assert snapshot.status is Status.COMPLETE
    assert len(accepted(plan)) == 66


def test_replicas_that_always_die_end_the_run_as_failed_with_the_cause(tmp_path: Path) -> None:
    plan = plan_for(tmp_path / "run", "engine.max_restarts=1")
    snapshot = run(plan, Script(dies_after=40))
    assert snapshot.status is Status.FAILED
    assert "the scripted engine died" in snapshot.reason
    assert len(accepted(plan)) == snapshot.accepted
    assert json.loads((path_of(plan) / "report.json").read_text())["status"] == "failed"


def test_a_run_that_cannot_succeed_ends_as_saturated(tmp_path: Path) -> None:
    plan = plan_for(tmp_path / "run", "budget.attempts_per_record=2")
    snapshot = run(plan, Script(too_short=1.0))
    assert snapshot.status is Status.SATURATED
    report = json.loads((path_of(plan) / "report.json").read_text())
    assert report["rejected_by_reason"]["too_short"] == 66 * 2


def test_the_wall_time_ends_a_run_that_resumes_later(tmp_path: Path) -> None:
    slow = plan_for(tmp_path / "run", "budget.wall_time=12s", "targets.total=132")
    snapshot = run(slow, Script(delay_s=1.5))
    assert snapshot.status is Status.BUDGET
    assert "wall time" in snapshot.reason
    kept = {row["id"] for row in accepted(slow)}
    snapshot = run(plan_for(tmp_path / "run", "targets.total=132"), Script())
    assert snapshot.status is Status.COMPLETE
    assert kept <= {row["id"] for row in accepted(slow)}


@pytest.mark.parametrize("address", ["127.0.0.1:1"])
def test_a_cluster_that_does_not_answer_is_one_message(tmp_path: Path, address: str) -> None:
    from synth.errors import ConfigError

    plan = plan_for(tmp_path / "run")
    with pytest.raises(ConfigError, match="no Ray cluster answers"):
        execute(plan, Options(address), lambda _: None, lambda _: None)


@dataclass(frozen=True)
class JudgesDie(Script):
    """The engine of a judge with a model of its own dies every now and then."""

    def __call__(
        self, config: RunConfig, on_gpu: bool, forms: Mapping[str, Form]
    ) -> ScriptedEngine:
        judges = set(forms) == {JUDGEMENT}
        script = replace(self, dies_after=25) if judges else self
        return super(JudgesDie, script).__call__(config, on_gpu, forms)


def test_every_judge_scores_every_record_and_one_that_dies_is_started_again(
    tmp_path: Path,
) -> None:
    judge = "{judges: [{name: own}, {name: second, model: {name: builtin}}]}"
    plan = plan_for(tmp_path / "run", f"judge={judge}", "engine.max_restarts=9")
    snapshot = run(plan, JudgesDie())
    assert snapshot.status is Status.COMPLETE
    rows = accepted(plan)
    assert len(rows) == 66
    for row in rows:
        judges = [judgement["judge"] for judgement in row["judgements"]]  # type: ignore[attr-defined]
        assert judges == ["own", "second"]
    report = json.loads((path_of(plan) / "report.json").read_text())
    assert report["judge"]["records"] == 66
    assert report["judge"]["tokens"]["completion"] >= 2 * 66 * 120
    assert orphans() == []


def test_a_judge_whose_model_cannot_be_had_is_one_message(tmp_path: Path) -> None:
    judge = "{judges: [{name: second, model: {name: /no/such/model}}]}"
    with pytest.raises(UserError, match="/no/such/model"):
        run(plan_for(tmp_path / "run", f"judge={judge}"), Script())
