"""What must not get worse unnoticed, in counts and not in seconds: whole simulated runs.

The bounds are what was measured when they were written, with room for another order of events.
"""

from __future__ import annotations

import pytest

from benchmarks.simulation import Outcome, simulate
from benchmarks.stand_ins import Setting
from synth.gates import Stage


@pytest.fixture(scope="module", params=[1, 2])
def outcome(request: pytest.FixtureRequest) -> Outcome:
    """A run of two engines with the default number of sequences."""
    return simulate(Setting(replicas=2, sequences=64, records=1650, seed=request.param))


def test_calls_to_the_coordinator_stay_below_three_hundred_and_twenty_per_hundred_records(
    outcome: Outcome,
) -> None:
    calls = outcome.counts.calls
    assert calls.total() <= 3.2 * outcome.accepted
    assert calls["reserve"] < 0.9 * outcome.counts.texts[Stage.QUESTION]
    assert calls["lease"] <= 0.4 * outcome.accepted


def test_no_engine_takes_a_step_with_an_empty_queue_while_work_remains(outcome: Outcome) -> None:
    assert outcome.counts.starved == 0


def test_questions_that_nobody_needed_stay_below_two_per_hundred_records(
    outcome: Outcome,
) -> None:
    assert outcome.unneeded <= 0.02 * outcome.accepted
