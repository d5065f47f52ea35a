"""The replica's pipeline on a scripted engine: no barrier, no loss, bounded, and it ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from actors.checker import Checker
from actors.forms import JUDGEMENT
from actors.panel import OwnSeat, Panel
from actors.pipeline import EngineStalledError, Pipeline
from synth.config import METRICS, RunConfig, load_config
from synth.coordinator import Coordinator
from synth.gates import Stage
from synth.protocol import AnswerBatch, Holding, QuestionBatch, Reply
from synth.report import Status, Timing
from synth.specs import Specs
from tests.fakes import DIM, Bench, vector_of
from tests.scripted import QUICK_GATES, Script, ScriptedEngine


class FakeEmbedder:
    """Vectors by agreement instead of by meaning."""

    dim = DIM

    def embed(self, texts: list[str]) -> np.ndarray:
        if not texts:
            return np.zeros((0, DIM), np.float32)
        return np.stack([vector_of(text) for text in texts])


class LocalPort:
    """The coordinator's logic without an actor, committing after every batch."""

    def __init__(self, bench: Bench, commit_delay_s: float = 0.0, name: str = "r0"):
        self.bench = bench
        self.name = name
        self.calls: Counter[str] = Counter()
        self.leased: list[str] = []
        self._delay = commit_delay_s

    @property
    def coordinator(self) -> Coordinator:
        return self.bench.coordinator

    async def lease(self, epoch: int, want: int) -> Reply:  # noqa: ARG002
        self.calls["lease"] += 1
        reply = self.coordinator.lease(self.name, want)
        if reply.lease:
            self.leased += [slot.id for slot in reply.lease.slots]
        return reply

    async def reserve(self, epoch: int, batch: QuestionBatch) -> Reply:  # noqa: ARG002
        self.calls["reserve"] += 1
        return self.coordinator.reserve(self.name, batch)

    async def commit(self, epoch: int, batch: AnswerBatch) -> Reply:  # noqa: ARG002
        self.calls["commit"] += 1
        reply = self.coordinator.commit(self.name, batch)
        await asyncio.sleep(self._delay)
        self.bench.commit()
        return reply

    async def rejoin(self, holdings: Sequence[Holding]) -> Reply:
        return self.coordinator.rejoin(self.name, holdings)


@pytest.fixture
def small(tmp_path: Path) -> RunConfig:
    return load_config(None, [QUICK_GATES, f"out={tmp_path}", "engine.max_num_seqs=16"])


def pipeline(
    specs: Specs, config: RunConfig, port: LocalPort, script: Script
) -> tuple[Pipeline, ScriptedEngine]:
    engine = ScriptedEngine(script)
    checker = Checker(config, FakeEmbedder())  # type: ignore[arg-type]
    return Pipeline(config, specs, engine, checker, port, Panel([], None), {}), engine


def test_it_fills_every_topic_exactly_and_then_ends(
    specs: Specs, small: RunConfig, tmp_path: Path
) -> None:
    bench = Bench(specs, small, dict.fromkeys(specs.topics, 4), tmp_path)
    port = LocalPort(bench)
    work, engine = pipeline(specs, small, port, Script(too_short=0.3))
    asyncio.run(asyncio.wait_for(work.run(), 60))
    assert bench.coordinator.outcome()[0] is Status.COMPLETE
    assert {t: c.accepted for t, c in bench.tally.topics.items()} == dict.fromkeys(specs.topics, 4)
    assert bench.coordinator.idle
    assert len(engine.requests) == len(set(engine.requests))


def test_the_engine_is_kept_full_and_never_overfull(
    specs: Specs, small: RunConfig, tmp_path: Path
) -> None:
    bench = Bench(specs, small, dict.fromkeys(specs.topics, 20), tmp_path)
    work, engine = pipeline(specs, small, LocalPort(bench), Script())
    asyncio.run(asyncio.wait_for(work.run(), 60))
    assert engine.most_in_flight == int(16 * 1.1)


def test_a_faster_replica_gets_more_leases_and_a_slower_one_holds_nobody_up(
    specs: Specs, small: RunConfig, tmp_path: Path
) -> None:
    bench = Bench(specs, small, dict.fromkeys(specs.topics, 20), tmp_path)
    fast, slow = (LocalPort(bench, name=name) for name in ("fast", "slow"))
    works = [
        pipeline(specs, small, port, Script(delay_s=delay))[0]
        for port, delay in ((fast, 0.05), (slow, 0.5))
    ]

    async def both() -> None:
        await asyncio.wait_for(asyncio.gather(*(work.run() for work in works)), 60)

    asyncio.run(both())
    assert bench.coordinator.outcome()[0] is Status.COMPLETE
    assert len(fast.leased) > 2 * len(slow.leased) > 0


def test_central_calls_are_micro_batches(specs: Specs, small: RunConfig, tmp_path: Path) -> None:
    bench = Bench(specs, small, dict.fromkeys(specs.topics, 20), tmp_path)
    port = LocalPort(bench)
    work, engine = pipeline(specs, small, port, Script(delay_s=0.05))
    asyncio.run(asyncio.wait_for(work.run(), 60))
    assert port.calls.total() < 0.5 * len(engine.requests)


def test_failed_answers_are_tried_again_a_bounded_number_of_times(
    specs: Specs, small: RunConfig, tmp_path: Path
) -> None:
    bench = Bench(specs, small, {"stress": 2}, tmp_path)
    port = LocalPort(bench)

    class NeverAnswers(ScriptedEngine):
        def _text(self, stage, prompt, rng):  # type: ignore[no-untyped-def]
            return super()._text(stage, prompt, rng) if stage == "question" else "x" * 300

    engine = NeverAnswers(Script())
    checker = Checker(small, FakeEmbedder())  # type: ignore[arg-type]
    asyncio.run(
        asyncio.wait_for(
            Pipeline(small, specs, engine, checker, port, Panel([], None), {}).run(), 60
        )
    )
    assert bench.coordinator.outcome()[0] is Status.SATURATED
    answers = Counter(r.split("-answer-")[0] for r in engine.requests if "-answer-" in r)
    assert set(answers.values()) == {small.budget.answer_attempts}
    assert bench.coordinator.idle


async def drain_soon(work: Pipeline, bench: Bench) -> None:
    running = asyncio.create_task(work.run())
    await asyncio.sleep(0.5)
    bench.coordinator.stop(Status.INTERRUPTED, "test")
    await work.drain()
    await asyncio.wait_for(running, 20)
    bench.commit()


def test_draining_books_everything_that_was_leased(
    specs: Specs, small: RunConfig, tmp_path: Path
) -> None:
    bench = Bench(specs, small, dict.fromkeys(specs.topics, 50), tmp_path)
    port = LocalPort(bench)
    work, _ = pipeline(specs, small, port, Script(delay_s=0.05))

    asyncio.run(drain_soon(work, bench))
    assert bench.coordinator.idle
    assert bench.tally.accepted > 0
    assert sum(t.rejected["interrupted"] for t in bench.tally.topics.values()) > 0
    assert all(s.asked == s.reserved == 0 for s in bench.balancer.topics.values())


def test_a_slow_store_slows_leasing_instead_of_filling_memory(
    specs: Specs, small: RunConfig, tmp_path: Path
) -> None:
    bench = Bench(specs, small, dict.fromkeys(specs.topics, 50), tmp_path)
    port = LocalPort(bench, commit_delay_s=30)
    work, _ = pipeline(specs, small, port, Script())

    async def watch() -> None:
        running = asyncio.create_task(work.run())
        await asyncio.sleep(2)
        running.cancel()

    asyncio.run(watch())
    assert len(port.leased) <= 3 * 16 + small.lease.slots


def test_an_engine_that_dies_ends_the_pipeline_with_its_error(
    specs: Specs, small: RunConfig, tmp_path: Path
) -> None:
    bench = Bench(specs, small, dict.fromkeys(specs.topics, 4), tmp_path)
    work, _ = pipeline(specs, small, LocalPort(bench), Script(dies_after=20))
    with pytest.raises(RuntimeError, match="the scripted engine died"):
        asyncio.run(asyncio.wait_for(work.run(), 30))


def test_a_slow_engine_keeps_its_leases(specs: Specs, tmp_path: Path) -> None:
    slow = load_config(
        None, [QUICK_GATES, f"out={tmp_path}", "engine.max_num_seqs=16", "lease.timeout=0.4s"]
    )
    bench = Bench(specs, slow, dict.fromkeys(specs.topics, 1), tmp_path)
    work, _ = pipeline(specs, slow, LocalPort(bench), Script(delay_s=0.8))

    async def run_and_expire() -> None:
        running = asyncio.create_task(work.run())
        while not running.done():
            bench.now += 0.02
            bench.coordinator.expire()
            await asyncio.sleep(0.02)
        running.result()

    asyncio.run(asyncio.wait_for(run_and_expire(), 60))
    assert bench.coordinator.outcome()[0] is Status.COMPLETE
    assert sum(t.rejected["expired"] for t in bench.tally.topics.values()) == 0


def test_an_engine_that_hangs_is_noticed(specs: Specs, tmp_path: Path) -> None:
    config = load_config(
        None, [QUICK_GATES, f"out={tmp_path}", "engine.stall_timeout=0.3s", "lease.timeout=0.4s"]
    )
    bench = Bench(specs, config, dict.fromkeys(specs.topics, 1), tmp_path)
    work, _ = pipeline(specs, config, LocalPort(bench), Script(delay_s=3600))
    with pytest.raises(EngineStalledError, match="ended no text"):
        asyncio.run(asyncio.wait_for(work.run(), 30))


def test_a_coordinator_that_fails_ends_the_pipeline_with_its_error(
    specs: Specs, small: RunConfig, tmp_path: Path
) -> None:
    bench = Bench(specs, small, dict.fromkeys(specs.topics, 4), tmp_path)

    class Broken(LocalPort):
        async def reserve(self, epoch: int, batch: QuestionBatch) -> Reply:  # noqa: ARG002
            raise ConnectionError("gone")

    work, _ = pipeline(specs, small, Broken(bench), Script())
    with pytest.raises(ConnectionError, match="gone"):
        asyncio.run(asyncio.wait_for(work.run(), 30))


def test_invariant_9_one_replica_asks_the_same_prompts_in_the_same_order(
    specs: Specs, small: RunConfig, tmp_path: Path
) -> None:
    def prompts(folder: Path) -> list[str]:
        bench = Bench(specs, small, dict.fromkeys(specs.topics, 1), folder)
        work, engine = pipeline(specs, small, LocalPort(bench), Script(delay_s=0.05))
        asyncio.run(asyncio.wait_for(work.run(), 60))
        return [prompt for prompt in engine.prompts if prompt.startswith("Topic: ")]

    assert prompts(tmp_path / "a") == prompts(tmp_path / "b")


def test_a_client_at_risk_is_answered_under_the_crisis_policy(
    specs: Specs, small: RunConfig, tmp_path: Path
) -> None:
    class Despairs(ScriptedEngine):
        asked: list[tuple[bool, str]] = []  # noqa: RUF012

        async def generate(self, request_id, form, messages, seed, warmth):  # type: ignore[no-untyped-def]
            if form == Stage.ANSWER:
                self.asked.append(("kill myself" in messages[-1]["content"], str(messages[:-1])))
            generation = await super().generate(request_id, form, messages, seed, warmth)
            if form == Stage.QUESTION and seed % 2:
                raw = generation.raw.replace("I look at them.", "I want to kill myself.")
                return replace(generation, raw=raw)
            return generation

    bench = Bench(specs, small, {"workplace-relationships": 12}, tmp_path)
    engine = Despairs(Script(too_short=0.1))
    checker = Checker(small, FakeEmbedder())  # type: ignore[arg-type]
    work = Pipeline(small, specs, engine, checker, LocalPort(bench), Panel([], None), {})
    asyncio.run(asyncio.wait_for(work.run(), 60))
    calm = {prompt for at_risk, prompt in engine.asked if not at_risk}
    crisis = {prompt for at_risk, prompt in engine.asked if at_risk}
    assert len(calm) == len(crisis) == 1
    assert "988" in crisis.pop()
    assert "988" not in calm.pop()


def judged_run(
    specs: Specs, folder: Path, judge: str, script: Script, targets: dict[str, int]
) -> tuple[Bench, ScriptedEngine]:
    config = load_config(
        None, [QUICK_GATES, f"out={folder}", "engine.max_num_seqs=16", f"judge={judge}"]
    )
    bench = Bench(specs, config, targets, folder)
    engine = ScriptedEngine(script)
    checker = Checker(config, FakeEmbedder())  # type: ignore[arg-type]
    panel = Panel([OwnSeat("own", "a model", engine, 0)], config.judge)
    work = Pipeline(config, specs, engine, checker, LocalPort(bench), panel, {})
    asyncio.run(asyncio.wait_for(work.run(), 60))
    return bench, engine


def test_with_a_judge_every_accepted_record_carries_its_scores(
    specs: Specs, tmp_path: Path
) -> None:
    bench, engine = judged_run(specs, tmp_path, "{}", Script(), dict.fromkeys(specs.topics, 3))
    assert bench.coordinator.outcome()[0] is Status.COMPLETE
    rows = pq.read_table(tmp_path / "accepted").to_pylist()
    assert len(rows) == bench.tally.judged == 3 * len(specs.topics)
    for row in rows:
        (judgement,) = row["judgements"]
        assert [score["metric"] for score in judgement["scores"]] == list(METRICS)
        assert all(5 <= score["score"] <= 9 for score in judgement["scores"])
        assert row["scores"]["active_listening"] == judgement["scores"][0]["score"]
        assert (judgement["judge"], judgement["model"]) == ("own", "a model")
        assert row["judge_completion_tokens"] == 120
    assert engine.most_in_flight == int(16 * 1.1)


def test_an_answer_that_the_judge_refuses_is_written_again_and_booked_with_its_scores(
    specs: Specs, tmp_path: Path
) -> None:
    bench, engine = judged_run(specs, tmp_path, "{mean: 7}", Script(), {"stress": 6})
    assert bench.coordinator.outcome()[0] is Status.COMPLETE
    refused = pq.read_table(tmp_path / "rejected").to_pylist()
    missed = [row for row in refused if row["reason"] == "judge_mean"]
    assert missed
    assert all(row["judgements"][0]["scores"] and row["detail"] for row in missed)
    assert any(request.endswith("answer-1") for request in engine.requests)
    report = bench.coordinator.report(Timing())
    assert report["rejected_by_reason"]["judge_mean"] == len(missed)
    assert all(score >= 5 for score in report["judge"]["scores"].values())


def test_draining_ends_judgements_too(specs: Specs, tmp_path: Path) -> None:
    config = load_config(
        None, [QUICK_GATES, f"out={tmp_path}", "engine.max_num_seqs=16", "judge={}"]
    )
    bench = Bench(specs, config, dict.fromkeys(specs.topics, 50), tmp_path)

    class SlowJudge(ScriptedEngine):
        async def generate(self, request_id, form, messages, seed, warmth):  # type: ignore[no-untyped-def]
            if form == JUDGEMENT:
                while request_id not in self._aborted:
                    await asyncio.sleep(0.01)
            return await super().generate(request_id, form, messages, seed, warmth)

    engine = SlowJudge(Script())
    checker = Checker(config, FakeEmbedder())  # type: ignore[arg-type]
    panel = Panel([OwnSeat("own", "a model", engine, 0)], config.judge)
    work = Pipeline(config, specs, engine, checker, LocalPort(bench), panel, {})

    asyncio.run(drain_soon(work, bench))
    assert bench.coordinator.idle
    assert bench.tally.accepted == 0
    assert sum(t.rejected["interrupted"] for t in bench.tally.topics.values()) > 0
