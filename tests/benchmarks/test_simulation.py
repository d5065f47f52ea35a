"""Runs on a virtual clock: fast, repeatable, and as exact as a real one."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from benchmarks.simulation import simulate
from benchmarks.stand_ins import Setting
from benchmarks.virtual import run_virtually
from synth.gates import Stage
from synth.report import Status

SMALL = Setting(replicas=2, sequences=8, records=132)


def test_hours_pass_on_the_virtual_clock_while_nobody_waits() -> None:
    async def sleep_long() -> float:
        await asyncio.gather(asyncio.sleep(3600), asyncio.sleep(7200))
        return asyncio.get_running_loop().time()

    before = time.monotonic()
    assert run_virtually(sleep_long()) == pytest.approx(7200)
    assert time.monotonic() - before < 5


def test_a_timer_never_fires_before_its_time() -> None:
    async def work() -> list[bool]:
        loop, late = asyncio.get_running_loop(), []
        for step in range(500):
            due = loop.time() + 0.1 / (step + 3)
            loop.call_at(due, lambda due=due: late.append(loop.time() >= due))
            await asyncio.sleep(0.25)
        return late

    assert run_virtually(work()) == [True] * 500


def test_what_runs_on_a_thread_takes_no_virtual_time() -> None:
    async def work() -> tuple[int, float]:
        return await asyncio.to_thread(sum, (1, 2)), asyncio.get_running_loop().time()

    assert run_virtually(work()) == (3, 0.0)


def test_a_wait_that_nobody_will_end_is_an_error_and_no_hang() -> None:
    async def wait_forever() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="nothing will ever happen"):
        run_virtually(wait_forever())


def test_an_error_in_a_timer_is_not_swallowed() -> None:
    async def work() -> None:
        asyncio.get_running_loop().call_later(1, lambda: {}["gone"])
        await asyncio.sleep(2)

    with pytest.raises(KeyError, match="gone"):
        run_virtually(work())


def test_a_simulated_run_fills_its_targets_exactly_and_the_same_each_time() -> None:
    first, second = simulate(SMALL), simulate(SMALL)
    assert first.status is Status.COMPLETE
    assert first.accepted == SMALL.records
    assert first == second


def test_texts_take_the_time_that_was_asked_for() -> None:
    outcome = simulate(Setting(replicas=1, sequences=8, records=66, jitter=0.0, central=1.0))
    per_text_s = outcome.counts.busy_s / outcome.counts.texts.total()
    assert 2.0 < per_text_s < 6.0
    assert 0 < outcome.busy <= 1
    assert outcome.refused[Stage.QUESTION, "duplicate"] > 0
    assert outcome.refused[Stage.ANSWER, "scripted"] > 0


def test_a_busy_coordinator_slows_a_simulated_run() -> None:
    quick, busy = simulate(SMALL), simulate(replace(SMALL, call_s=2.0))
    assert busy.accepted == quick.accepted
    assert busy.seconds > 1.5 * quick.seconds
