"""Opening a run again: everything comes back from the segments alone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from synth import store
from synth.config import load_config
from synth.embedding import Embedder
from synth.errors import StoreError
from synth.event_log import read_events
from synth.events import FleetNews, RunEnded
from synth.gates import Stage
from synth.plan import Plan, check_resumable, make_plan
from synth.protocol import AnswerBatch, Candidate, Holding, QuestionBatch, Refusal, Tokens
from synth.report import Status, versions
from synth.session import Session
from tests.conftest import REPO, path_of

TOPIC = "sleep-improvement"
ABOUT_SLEEP = (
    "I lie awake every night until three and cannot fall asleep, tired as I am.",
    "Since my shifts changed I wake up at four and my sleep does not come back.",
    "I dread going to bed, because I count the hours of sleep that are left.",
)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_for(tmp_path)


def plan_for(tmp_path: Path, *options: str) -> Plan:
    config = load_config(
        None,
        [
            f"out={tmp_path / 'run'}",
            "targets.policy=explicit",
            f"targets.topics.{TOPIC}=3",
            *options,
        ],
    )
    return make_plan(config, REPO)


def generate(session: Session, embedder: Embedder, texts: tuple[str, ...]) -> list[str]:
    """Lease, reserve and commit one record per text, and refuse one more."""
    lease = session.coordinator.lease("r0", len(texts)).lease
    assert lease is not None
    ids = [slot.id for slot in lease.slots]
    candidates = [Candidate(i, text, Tokens(10, 5)) for i, text in zip(ids, texts, strict=True)]
    vectors = embedder.embed(texts)
    verdicts = session.coordinator.reserve("r0", QuestionBatch(tuple(candidates), vectors)).verdicts
    assert [v.ruling for v in verdicts] == ["reserved"] * len(texts)
    written = [Candidate(i, f"An answer to {i}", Tokens(8, 4)) for i in ids]
    session.coordinator.commit("r0", AnswerBatch(tuple(written)))
    batch = session.coordinator.take_batch()
    session.writer.write(batch)
    session.coordinator.settle(batch)
    return ids


def run_of_two(plan: Plan, embedder: Embedder) -> None:
    """A start that commits two records and ends."""
    session = Session(plan, accept_changes=False)
    generate(session, embedder, ABOUT_SLEEP[:2])
    session.close()


def test_a_second_start_continues_where_the_first_one_died(plan: Plan, embedder: Embedder) -> None:
    first = Session(plan, accept_changes=False)
    ids = generate(first, embedder, ABOUT_SLEEP[:2])
    lease = first.coordinator.lease("r0", 1).lease
    assert lease is not None
    refusal = Refusal(lease.slots[0].id, Stage.QUESTION, "repetition", "x", Tokens(7, 3))
    first.coordinator.reserve(
        "r0", QuestionBatch((), np.zeros((0, embedder.dim), np.float32), (refusal,))
    )
    batch = first.coordinator.take_batch()
    first.writer.write(batch)
    del first  # killed: never closed

    second = Session(plan, accept_changes=False)
    assert second.epoch == 2
    report = second.coordinator.report(second.timing())
    assert report["topics"][TOPIC]["accepted"] == 2
    assert report["topics"][TOPIC]["rejected"] == {"repetition": 1}
    assert report["tokens"] == {
        "prompt": 2 * 18 + 7, "completion": 2 * 9 + 3, "completion_in_accepted": 18,
    }  # fmt: skip
    again = second.coordinator.lease("r0", 5).lease
    assert again is not None
    assert not {slot.id for slot in again.slots} & {*ids, lease.slots[0].id}
    copy = QuestionBatch(
        (Candidate(again.slots[0].id, ABOUT_SLEEP[0] + " Really.", Tokens()),),
        embedder.embed(ABOUT_SLEEP[:1]),
    )
    assert second.coordinator.reserve("r0", copy).verdicts[0].reason == "duplicate"
    second.close()


def test_attempts_of_slots_whose_answers_failed_count_after_a_restart(
    plan: Plan, embedder: Embedder
) -> None:
    first = Session(plan, accept_changes=False)
    lease = first.coordinator.lease("r0", 1).lease
    assert lease is not None
    slot = lease.slots[0].id
    vectors = embedder.embed(ABOUT_SLEEP[:1])
    batch = QuestionBatch((Candidate(slot, ABOUT_SLEEP[0], Tokens(9, 9)),), vectors)
    first.coordinator.reserve("r0", batch)
    for ends in (False, False, True):
        failed = Refusal(slot, Stage.ANSWER, "too_short", "no", Tokens(1, 1), ends_slot=ends)
        first.coordinator.commit("r0", AnswerBatch((), (failed,)))
    rows = first.coordinator.take_batch()
    first.writer.write(rows)
    assert {row["question"] for row in rows.rejected} == {ABOUT_SLEEP[0]}
    del first

    spent = plan.config.budget.attempts_per_record * 3
    second = Session(plan, accept_changes=False)
    leased = 0
    while reply := second.coordinator.lease("r0", 8).lease:
        leased += len(reply.slots)
        empty = np.zeros((0, embedder.dim), np.float32)
        second.coordinator.reserve(
            "r0",
            QuestionBatch(
                (),
                empty,
                tuple(
                    Refusal(s.id, Stage.QUESTION, "repetition", "x", Tokens()) for s in reply.slots
                ),
            ),
        )
    assert leased == spent - 1
    second.close()


def test_a_resumed_run_asks_other_prompts_than_before(plan: Plan) -> None:
    first = Session(plan, accept_changes=False)
    before = first.coordinator.lease("r0", 3).lease
    del first
    second = Session(plan, accept_changes=False)
    after = second.coordinator.lease("r0", 3).lease
    assert before is not None
    assert after is not None
    assert {s.seed for s in before.slots}.isdisjoint(s.seed for s in after.slots)
    second.close()


def test_a_run_that_lost_its_manifest_is_refused_and_overwrites_nothing(
    plan: Plan, embedder: Embedder
) -> None:
    run_of_two(plan, embedder)
    segments = {path: path.read_bytes() for path in (path_of(plan) / "accepted").iterdir()}
    (path_of(plan) / "run.json").unlink()
    (path_of(plan) / "report.json").unlink()
    with pytest.raises(StoreError, match=r"run.json: is gone, but there are segments"):
        Session(plan, accept_changes=False)
    assert {path: path.read_bytes() for path in (path_of(plan) / "accepted").iterdir()} == segments


def test_changes_that_would_break_the_records_are_refused_even_when_agreed_to(
    plan: Plan, tmp_path: Path, embedder: Embedder
) -> None:
    run_of_two(plan, embedder)
    other = plan_for(tmp_path, "embedder.name=some/other")
    with pytest.raises(StoreError, match="vectors of another embedder"):
        check_resumable(other, accept_changes=True)
    gone = dataclasses.replace(
        plan,
        specs=dataclasses.replace(
            plan.specs, topics={t: s for t, s in plan.specs.topics.items() if t != TOPIC}
        ),
        targets={t: n for t, n in plan.targets.items() if t != TOPIC},
    )
    with pytest.raises(StoreError, match=f"topic '{TOPIC}', which has no spec any more"):
        Session(gone, accept_changes=True)


def test_a_restarted_coordinator_gives_the_verdicts_that_got_lost_once_more(
    tmp_path: Path, embedder: Embedder
) -> None:
    plan = plan_for(tmp_path, f"targets.topics.{TOPIC}=8")
    first = Session(plan, accept_changes=False)
    lease = first.coordinator.lease("r0", 4).lease
    assert lease is not None
    done, reserved, refused, asked = lease.slots
    vectors = embedder.embed(ABOUT_SLEEP[:2])
    candidates = [
        Candidate(slot.id, text, Tokens(9, 9))
        for slot, text in zip((done, reserved), ABOUT_SLEEP, strict=False)
    ]
    looped = Refusal(refused.id, Stage.QUESTION, "repetition", "again and again", Tokens(5, 5))
    first.coordinator.reserve("r0", QuestionBatch(tuple(candidates), vectors, (looped,)))
    answer = AnswerBatch((Candidate(done.id, "An answer", Tokens(8, 8)),))
    first.coordinator.commit("r0", answer)
    batch = first.coordinator.take_batch()
    first.writer.write(batch)  # durable, and nobody was told
    del first

    second = Session(plan, accept_changes=False)
    holdings = [
        Holding(done, TOPIC, candidates[0], vectors[0]),
        Holding(reserved, TOPIC, candidates[1], vectors[1]),
        Holding(refused),
        Holding(asked),
    ]
    verdicts = second.coordinator.rejoin("r0", holdings).verdicts
    assert [v.ruling for v in verdicts] == ["committed", "reserved", "refused", "reserved"]
    assert (verdicts[1].topic, verdicts[2].reason) == (TOPIC, "repetition")
    assert [v.ruling for v in second.coordinator.rejoin("r0", holdings).verdicts] == [
        v.ruling for v in verdicts
    ]

    second.coordinator.commit("r0", answer)
    empty = np.zeros((0, embedder.dim), np.float32)
    second.coordinator.reserve("r0", QuestionBatch((), empty, (looped,)))
    late = Candidate(reserved.id, "Another answer", Tokens(8, 8))
    second.coordinator.commit("r0", AnswerBatch((late,)))
    batch = second.coordinator.take_batch()
    assert [row["id"] for row in batch.accepted] == [reserved.id]
    assert batch.rejected == ()
    second.writer.write(batch)
    second.coordinator.settle(batch)
    report = second.coordinator.report(second.timing())
    assert (report["accepted"], report["rejected"]) == (2, 1)
    second.close()


def test_a_finished_run_is_finished_when_it_is_opened_again(plan: Plan, embedder: Embedder) -> None:
    first = Session(plan, accept_changes=False)
    generate(first, embedder, ABOUT_SLEEP)
    first.close()
    assert store.read_report(plan.files)["status"] == Status.COMPLETE
    assert "3 of 3 records" in (path_of(plan) / "README.md").read_text()
    second = Session(plan, accept_changes=False)
    assert second.coordinator.outcome()[0] is Status.COMPLETE
    assert second.coordinator.lease("r0", 1).finished
    second.close()


def test_a_folder_is_held_by_one_session_at_a_time(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synth.lock._PATIENCE_S", 0.2)
    first = Session(plan, accept_changes=False)
    with pytest.raises(StoreError, match="in use by an evenfill run"):
        Session(plan, accept_changes=False)
    first.close()
    Session(plan, accept_changes=False).close()


def test_a_changed_config_is_refused_with_the_difference_unless_the_user_agrees(
    plan: Plan, tmp_path: Path
) -> None:
    Session(plan, accept_changes=False).close()
    changed = plan_for(tmp_path, "dedup.threshold=0.9")
    with pytest.raises(StoreError, match=r"dedup.threshold: 0.85 -> 0.9.*--accept-changes"):
        check_resumable(changed, accept_changes=False)
    assert check_resumable(changed, accept_changes=True) is not None
    check_resumable(plan_for(tmp_path, "engine.replicas=2", "budget.wall_time=1h"), False)


def test_a_target_below_what_is_there_is_refused(
    plan: Plan, tmp_path: Path, embedder: Embedder
) -> None:
    run_of_two(plan, embedder)
    lower = plan_for(tmp_path, f"targets.topics.{TOPIC}=1")
    with pytest.raises(StoreError, match="already holds 2 records, but its target is 1"):
        Session(lower, accept_changes=True)


def test_the_ids_of_a_run_follow_from_its_config(tmp_path: Path) -> None:
    one = Session(plan_for(tmp_path / "a"), accept_changes=False)
    same = Session(plan_for(tmp_path / "b"), accept_changes=False)
    other = Session(plan_for(tmp_path / "c", "seed=8"), accept_changes=False)
    assert one.run_id == same.run_id != other.run_id
    for session in (one, same, other):
        session.close()


def test_timing_adds_up_over_sessions(plan: Plan) -> None:
    now = [100.0]
    first = Session(plan, accept_changes=False, clock=lambda: now[0])
    now[0] += 5
    first.engine_is_up()
    now[0] += 20
    first.committed(1, 0, 0.1)
    first.close()
    second = Session(plan, accept_changes=False, clock=lambda: now[0])
    now[0] += 7
    second.engine_is_up()
    now[0] += 3
    timing = second.timing()
    assert (timing.wall_s, timing.engine_start_s, timing.generate_s) == (35, 12, 23)
    assert timing.first_record_s == 20
    second.close()


def test_the_report_has_every_key_of_the_interface(plan: Plan) -> None:
    Session(plan, accept_changes=False).close()
    report = json.loads((path_of(plan) / "report.json").read_text())
    assert {
        "status", "reason", "topics", "accepted", "generated", "rejected", "tokens", "timing",
        "rates", "dedup", "versions",
    } <= report.keys()  # fmt: skip
    assert {"prompt", "completion", "completion_in_accepted"} <= report["tokens"].keys()
    assert {"wall_s", "engine_start_s", "generate_s"} <= report["timing"].keys()
    assert {"completion_tokens_per_s", "accepted_per_s"} <= report["rates"].keys()
    assert {"threshold", "max_similarity_accepted"} <= report["dedup"].keys()
    assert len(report["topics"]) == 33
    for figures in report["topics"].values():
        assert {"target", "accepted", "generated", "rejected", "acceptance_rate"} <= figures.keys()
    assert report["versions"]["ray"] == versions()["ray"]


def test_a_start_tells_its_story_in_events_and_the_next_one_adds_its_own(
    plan: Plan, embedder: Embedder
) -> None:
    first = Session(plan, accept_changes=False)
    assert [event.event for event in read_events(plan.files.events)] == ["run_started"]
    generate(first, embedder, ABOUT_SLEEP[:2])
    first.committed(2, 0, 0.25)
    first.stop(Status.INTERRUPTED, "stopped by the user")
    first.stop(Status.BUDGET, "a later reason does not count")
    first.end()
    first.close()
    second = Session(plan, accept_changes=False, rebuilt=True)
    generate(second, embedder, ABOUT_SLEEP[2:])
    second.committed(1, 0, 0.25)
    second.close()
    events = list(read_events(plan.files.events))
    assert [event.event for event in events] == [
        "run_started", "committed", "run_stopping", "run_ended",
        "coordinator_restarted", "committed", "topic_full",
    ]  # fmt: skip
    assert events[3] == RunEnded(
        time=events[3].time,
        status=Status.INTERRUPTED,
        reason="stopped by the user",
        accepted=2,
        target=3,
        generate_s=0.0,
    )
    written = b"".join(plan.files.events.read(name) for name in plan.files.events.names()).decode()
    assert not [text for text in (*ABOUT_SLEEP, "An answer to") if text in written]


def test_metrics_are_the_figures_of_the_report(plan: Plan, embedder: Embedder) -> None:
    session = Session(plan, accept_changes=False)
    session.hear_of_fleet(FleetNews({"working": 2}))
    generate(session, embedder, ABOUT_SLEEP[:2])
    session.committed(2, 0, 0.25)
    report = session.coordinator.report(session.timing())
    values = {(m.metric.name, *m.labels): m.value for m in session.measure()}
    assert values["evenfill_accepted_records_total", TOPIC] == report["accepted"] == 2
    assert values["evenfill_target_records", TOPIC] == 3
    tokens = report["tokens"]
    assert values["evenfill_completion_tokens_total", "writing"] == tokens["completion"]
    assert values["evenfill_replicas", "working"] == 2
    assert values["evenfill_commit_seconds_total",] == 0.25
    session.close()
