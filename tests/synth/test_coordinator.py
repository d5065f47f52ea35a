"""The coordinator's logic: each invariant of the design that it keeps, one at a time."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from synth.config import RunConfig
from synth.files import LocalFolder
from synth.gates import Stage
from synth.protocol import (
    AnswerBatch,
    Candidate,
    QuestionBatch,
    Reason,
    Refusal,
    Ruling,
    Slot,
    Tokens,
)
from synth.report import Status, Timing
from synth.segments import segments
from synth.specs import Specs
from tests.fakes import DIM, Bench, near, questions, vector_of

TOPIC = "anxiety"


@pytest.fixture
def bench(specs: Specs, config: RunConfig, tmp_path: Path) -> Bench:
    return Bench(specs, config, {TOPIC: 3, "stress": 2}, tmp_path)


def lease(bench: Bench, replica: str = "r0", want: int = 4) -> list[Slot]:
    reply = bench.coordinator.lease(replica, want)
    return list(reply.lease.slots) if reply.lease else []


def answers(slot_ids: list[str], tag: str = "") -> AnswerBatch:
    return AnswerBatch(tuple(Candidate(i, f"answer {i} {tag}", Tokens(50, 30)) for i in slot_ids))


def rows(folder: Path) -> list[dict[str, object]]:
    files = [folder / segment.name for segment in segments(LocalFolder(folder))]
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def reserve(bench: Bench, slots: list[Slot], replica: str = "r0") -> list[Ruling]:
    batch = questions([s.id for s in slots], [f"question {s.id}" for s in slots])
    return [v.ruling for v in bench.coordinator.reserve(replica, batch).verdicts]


def test_invariant_1_a_topic_never_holds_more_than_its_target(
    specs: Specs, config: RunConfig, tmp_path: Path
) -> None:
    bench = Bench(specs, config, {TOPIC: 3}, tmp_path)
    rng = random.Random(5)
    for turn in range(400):
        slots = lease(bench, f"r{turn % 3}", want=rng.randint(1, 6))
        if not slots and bench.coordinator.idle:
            break
        reserve(bench, slots)
        ids = [slot.id for slot in slots if rng.random() < 0.7]
        bench.coordinator.commit("r0", answers(ids))
        for slot in slots:
            if slot.id not in ids:
                refusal = Refusal(slot.id, Stage.ANSWER, "too_short", "x", Tokens(1, 1))
                bench.coordinator.commit("r0", AnswerBatch((), (refusal,)))
        bench.commit()
        assert bench.tally.topics[TOPIC].accepted <= 3
    assert bench.coordinator.outcome()[0] is Status.COMPLETE
    assert len(rows(tmp_path / "accepted")) == 3


def test_invariant_2_a_duplicate_is_refused_and_names_its_neighbour(
    bench: Bench, tmp_path: Path
) -> None:
    first, second = lease(bench, want=2)
    base = vector_of("base")
    batch = questions([first.id, second.id], ["one text", "other text"], [base, near(base, 0.9)])
    verdicts = bench.coordinator.reserve("r0", batch).verdicts
    assert [v.ruling for v in verdicts] == [Ruling.RESERVED, Ruling.REFUSED]
    assert verdicts[1].reason == Reason.DUPLICATE
    bench.commit()
    refused = rows(tmp_path / "rejected")[0]
    assert refused["nearest_id"] == first.id
    assert refused["similarity"] == pytest.approx(0.9, abs=1e-4)


def test_invariant_2_a_neighbour_that_is_found_only_at_commit_still_counts(
    bench: Bench, tmp_path: Path
) -> None:
    """A large index may miss a row when it is first asked, and find it in its next layout."""
    missed, fine = lease(bench, want=2)
    reserve(bench, [missed, fine])
    bench.coordinator.commit("r0", answers([missed.id, fine.id]))
    found = near(vector_of(f"question {missed.id}"), 0.9)
    bench.index.add(["older"], found[None], ["an older question"])
    assert bench.commit() == 1
    assert bench.coordinator.verdict_of(missed.id).reason == Reason.DUPLICATE
    assert bench.coordinator.verdict_of(fine.id).ruling is Ruling.COMMITTED
    refused = rows(tmp_path / "rejected")[0]
    assert (refused["nearest_id"], refused["stage"]) == ("older", str(Stage.QUESTION))
    assert refused["similarity"] == pytest.approx(0.9, abs=1e-4)
    assert (len(bench.index), bench.index.reserved, bench.coordinator.idle) == (2, 0, True)


def test_invariant_2_an_exact_repeat_of_a_question_or_an_answer_is_refused(bench: Bench) -> None:
    slots = lease(bench, want=3)
    same = questions([s.id for s in slots[:2]], ["The same words", "the same, words!"])
    verdicts = bench.coordinator.reserve("r0", same).verdicts
    assert verdicts[1].reason == Reason.EXACT_REPEAT
    reserve(bench, slots[2:])
    both = [
        Candidate(slots[0].id, "The same answer.", Tokens(1, 1)),
        Candidate(slots[2].id, "the same answer", Tokens(1, 1)),
    ]
    bench.coordinator.commit("r0", AnswerBatch(tuple(both)))
    assert bench.commit() == 1


def test_invariant_3_nothing_counts_before_it_is_durable(bench: Bench, tmp_path: Path) -> None:
    (slot,) = lease(bench, want=1)
    reserve(bench, [slot])
    bench.coordinator.commit("r0", answers([slot.id]))
    batch = bench.coordinator.take_batch()
    assert bench.tally.accepted == 0
    assert rows(tmp_path / "accepted") == []
    batch.write(bench.accepted, bench.rejected)
    bench.coordinator.settle(batch)
    assert bench.tally.accepted == len(rows(tmp_path / "accepted")) == 1


def test_invariant_4_a_slot_that_is_sent_twice_gets_the_verdict_it_has(bench: Bench) -> None:
    first, second = lease(bench, want=2)
    base = vector_of("base")
    batch = questions([first.id, second.id], ["a text", "b text"], [base, near(base, 0.95)])
    once = bench.coordinator.reserve("r0", batch).verdicts
    again = bench.coordinator.reserve("r0", batch).verdicts
    assert once == again
    bench.coordinator.commit("r0", answers([first.id]))
    bench.coordinator.commit("r0", answers([first.id], "another wording"))
    assert bench.commit() == 1
    assert bench.coordinator.verdict_of(first.id).ruling is Ruling.COMMITTED
    bench.coordinator.commit("r0", answers([first.id]))
    assert bench.commit() == 0


def test_invariant_4_ids_are_unique_and_follow_from_run_lease_and_slot(bench: Bench) -> None:
    ids = [slot.id for replica in ("r0", "r1") for slot in lease(bench, replica, want=2)]
    assert ids == [
        "testrun-001-000000-000",
        "testrun-001-000000-001",
        "testrun-001-000001-000",
        "testrun-001-000001-001",
    ]


def test_invariant_5_every_refusal_is_recorded_with_its_reason(
    bench: Bench, tmp_path: Path
) -> None:
    slots = lease(bench, want=3)
    refusal = Refusal(
        slots[0].id, Stage.QUESTION, "repetition", "again, again", Tokens(9, 5), "again"
    )
    empty = np.zeros((0, DIM), np.float32)
    bench.coordinator.reserve("r0", QuestionBatch((), empty, (refusal,)))
    reserve(bench, slots[1:2])
    first_try = Refusal(slots[1].id, Stage.ANSWER, "too_short", "no", Tokens(8, 4), ends_slot=False)
    bench.coordinator.commit("r0", AnswerBatch((), (first_try,)))
    bench.coordinator.commit("r0", answers([slots[1].id]))
    bench.commit()
    written = [(r["id"], r["stage"], r["reason"], r["detail"]) for r in rows(tmp_path / "rejected")]
    assert written == [
        (slots[0].id, "question", "repetition", "again"),
        (slots[1].id, "answer", "too_short", ""),
    ]
    report = bench.coordinator.report(Timing())
    assert report["generated"] == report["accepted"] + report["rejected"] == 3
    assert report["tokens"] == {
        "prompt": 9 + 8 + 150, "completion": 5 + 4 + 50, "completion_in_accepted": 50,
    }  # fmt: skip


def test_tokens_of_a_question_whose_answers_all_failed_are_counted_once(bench: Bench) -> None:
    (slot,) = lease(bench, want=1)
    reserve(bench, [slot])
    for last in (False, True):
        failed = Refusal(slot.id, Stage.ANSWER, "too_short", "no", Tokens(10, 5), ends_slot=last)
        bench.coordinator.commit("r0", AnswerBatch((), (failed,)))
    bench.commit()
    assert bench.tally.tokens == Tokens(100 + 10 + 10, 20 + 5 + 5)
    assert bench.coordinator.idle
    assert bench.index.reserved == 0


def test_invariant_6_what_is_in_flight_is_bounded(
    specs: Specs, config: RunConfig, tmp_path: Path
) -> None:
    bench = Bench(specs, config, dict.fromkeys(specs.topics, 1000), tmp_path)
    assert len(lease(bench, want=10_000)) == config.lease.slots


def test_invariant_7_a_question_about_another_topic_is_filed_there(
    specs: Specs, config: RunConfig, tmp_path: Path
) -> None:
    bench = Bench(specs, config, {TOPIC: 2, "stress": 2}, tmp_path, about={TOPIC: "stress"})
    slots = [slot for slot in lease(bench, want=4) if slot.topic == TOPIC]
    assert reserve(bench, slots[:1]) == [Ruling.RESERVED]
    bench.coordinator.commit("r0", answers([slots[0].id]))
    bench.commit()
    (row,) = rows(tmp_path / "accepted")
    assert (row["topic"], row["requested_topic"]) == ("stress", TOPIC)
    report = bench.coordinator.report(Timing())["topics"]
    assert (report["stress"]["refiled_in"], report[TOPIC]["refiled_out"]) == (1, 1)


def test_invariant_7_and_refused_when_that_topic_has_no_room(
    specs: Specs, config: RunConfig, tmp_path: Path
) -> None:
    bench = Bench(specs, config, {TOPIC: 2}, tmp_path, about={TOPIC: "stress"})
    slots = lease(bench, want=1)
    assert reserve(bench, slots) == [Ruling.REFUSED]
    assert bench.coordinator.verdict_of(slots[0].id).reason == Reason.OFF_TOPIC


def test_invariant_8_a_saturated_topic_ends_the_run_and_is_named(
    specs: Specs, config: RunConfig, tmp_path: Path
) -> None:
    bench = Bench(specs, config, {TOPIC: 1}, tmp_path)
    while slots := lease(bench, want=8):
        for slot in slots:
            refusal = Refusal(slot.id, Stage.QUESTION, "repetition", "x", Tokens(1, 1))
            empty = np.zeros((0, DIM), np.float32)
            bench.coordinator.reserve("r0", QuestionBatch((), empty, (refusal,)))
    status, reason = bench.coordinator.outcome()
    assert status is Status.SATURATED
    assert TOPIC in reason
    assert bench.coordinator.lease("r0", 1).finished
    assert bench.balancer.topics[TOPIC].attempts == config.budget.attempts_per_record


def test_a_good_question_that_comes_when_the_last_place_has_gone_costs_no_attempt(
    specs: Specs, config: RunConfig, tmp_path: Path
) -> None:
    bench = Bench(specs, config, {TOPIC: 1}, tmp_path)
    refused = 0
    while len(slots := lease(bench, want=8)) == 1:  # until it is known to be a hard topic
        refusal = Refusal(slots[0].id, Stage.QUESTION, "repetition", "x", Tokens(1, 1))
        empty = np.zeros((0, DIM), np.float32)
        bench.coordinator.reserve("r0", QuestionBatch((), empty, (refusal,)))
        refused += 1
    rulings = reserve(bench, slots)
    assert rulings == [Ruling.RESERVED, *[Ruling.REFUSED] * (len(slots) - 1)]
    assert bench.coordinator.verdict_of(slots[1].id).reason == Reason.TOPIC_FULL
    assert bench.balancer.topics[TOPIC].attempts == refused + 1


def test_a_lost_replica_gives_everything_back(bench: Bench) -> None:
    slots = lease(bench, want=4)
    reserve(bench, slots[:2])
    bench.coordinator.replica_lost("r0")
    bench.commit()
    assert bench.coordinator.idle
    assert bench.index.reserved == 0
    assert (
        bench.tally.topics[TOPIC].rejected["expired"]
        + bench.tally.topics["stress"].rejected["expired"]
        == 2
    )
    assert all(s.asked == s.reserved == 0 for s in bench.balancer.topics.values())
    late = bench.coordinator.reserve("r0", questions([slots[3].id], ["late"]))
    assert late.verdicts[0].reason == Reason.EXPIRED


def test_a_record_on_its_way_to_the_store_survives_its_replica(bench: Bench) -> None:
    (slot,) = lease(bench, want=1)
    reserve(bench, [slot])
    bench.coordinator.commit("r0", answers([slot.id]))
    batch = bench.coordinator.take_batch()
    bench.coordinator.replica_lost("r0")
    batch.write(bench.accepted, bench.rejected)
    bench.coordinator.settle(batch)
    assert bench.tally.accepted == 1


def test_a_silent_replica_loses_its_leases_and_one_that_speaks_does_not(
    bench: Bench, config: RunConfig
) -> None:
    lease(bench, "silent", want=1)
    lease(bench, "alive", want=1)
    bench.now = config.lease.timeout - 1
    bench.coordinator.lease("alive", 0)
    bench.now = config.lease.timeout + 1
    bench.coordinator.expire()
    assert sum(state.asked for state in bench.balancer.topics.values()) == 1


def test_a_released_reservation_can_be_taken_by_another(bench: Bench) -> None:
    first, second = lease(bench, want=2)
    base = vector_of("base")
    bench.coordinator.reserve("r0", questions([first.id], ["one"], [base]))
    failed = Refusal(first.id, Stage.ANSWER, "too_short", "x", Tokens(1, 1))
    bench.coordinator.commit("r0", AnswerBatch((), (failed,)))
    batch = questions([second.id], ["one"], [base])
    assert bench.coordinator.reserve("r0", batch).verdicts[0].ruling is Ruling.RESERVED


def test_after_a_stop_nothing_is_leased_and_the_first_reason_stands(bench: Bench) -> None:
    bench.coordinator.stop(Status.INTERRUPTED, "by the user")
    bench.coordinator.stop(Status.FAILED, "later")
    assert bench.coordinator.lease("r0", 4).finished
    assert bench.coordinator.outcome() == (Status.INTERRUPTED, "by the user")


# -- stragglers --------------------------------------------------------------------


@pytest.fixture
def overdue(specs: Specs, config: RunConfig, tmp_path: Path) -> tuple[Bench, list[Slot]]:
    """All but four of a topic's records came within a second; those are a minute old."""
    bench = Bench(specs, config, {TOPIC: 40}, tmp_path)
    slow = lease(bench, "slow", want=4)
    reserve(bench, slow[:2], "slow")
    bench.now = 60.0
    while (missing := 36 - bench.balancer.topics[TOPIC].committed) > 0:
        slots = lease(bench, "fast", want=min(12, missing))
        bench.now += 1.0
        reserve(bench, slots, "fast")
        bench.coordinator.commit("fast", answers([slot.id for slot in slots]))
        bench.commit()
    return bench, slow


def test_the_places_of_overdue_slots_go_to_a_replica_that_has_nothing_to_do(
    overdue: tuple[Bench, list[Slot]], tmp_path: Path
) -> None:
    bench, slow = overdue
    while slots := lease(bench, "fast", want=12):
        assert lease(bench, "slow", want=12) == []
        reserve(bench, slots, "fast")
        bench.coordinator.commit("fast", answers([slot.id for slot in slots]))
        bench.commit()
    assert bench.coordinator.outcome()[0] is Status.COMPLETE
    reserve(bench, slow[2:], "slow")
    bench.coordinator.commit("slow", answers([slot.id for slot in slow[:2]]))
    bench.commit()
    assert len(rows(tmp_path / "accepted")) == bench.tally.topics[TOPIC].accepted == 40
    late = {(row["id"], row["stage"]): row for row in rows(tmp_path / "rejected")}
    assert set(late) == {
        (slow[0].id, "answer"), (slow[1].id, "answer"),
        (slow[2].id, "question"), (slow[3].id, "question"),
    }  # fmt: skip
    assert all(row["reason"] == Reason.TOPIC_FULL and row["text"] for row in late.values())
    assert bench.coordinator.idle


def test_what_comes_late_is_still_taken_while_there_is_room(
    overdue: tuple[Bench, list[Slot]], tmp_path: Path
) -> None:
    bench, slow = overdue
    given = lease(bench, "fast", want=1)
    reserve(bench, given, "fast")
    again = Refusal(slow[0].id, Stage.ANSWER, "too_short", "no", Tokens(1, 1), ends_slot=False)
    bench.coordinator.commit("slow", AnswerBatch((), (again,)))
    bench.coordinator.commit("slow", answers([slow[0].id]))
    reserve(bench, slow[2:3], "slow")
    bench.coordinator.replica_lost("slow")
    bench.coordinator.commit("fast", answers([given[0].id]))
    bench.commit()
    state = bench.balancer.topics[TOPIC]
    assert (state.committed, state.reserved, state.asked) == (38, 0, 0)
    assert slow[0].id in {row["id"] for row in rows(tmp_path / "accepted")}


def test_nothing_is_overdue_before_it_is_known_how_long_a_record_takes(
    specs: Specs, config: RunConfig, tmp_path: Path
) -> None:
    bench = Bench(specs, config, {TOPIC: 4}, tmp_path)
    assert len(lease(bench, "slow", want=4)) == 4
    assert lease(bench, "idle", want=12) == []
    bench.now = 200.0
    assert lease(bench, "fast", want=4) == []


def test_the_more_replicas_wait_the_less_often_each_asks(
    specs: Specs, config: RunConfig, tmp_path: Path
) -> None:
    bench = Bench(specs, config, {TOPIC: 4}, tmp_path)
    lease(bench, "busy", want=4)
    waits = [bench.coordinator.lease(f"r{i}", 4).retry_after for i in range(1000)]
    assert waits[0] == 0.25
    assert waits[-1] == 1000 / 400
