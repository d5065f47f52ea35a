"""The figures of a run as metrics: all of the catalogue, and the values of the report."""

from __future__ import annotations

import re
from dataclasses import replace

from synth.metrics import (
    ACCEPTED,
    CATALOGUE,
    IN_FLIGHT,
    REJECTED,
    REPLICAS,
    TARGET,
    TOPICS,
    CommitFigures,
    Kind,
    Measurement,
    measure,
)
from synth.report import Tally, TopicTally
from tests.synth.test_display import snapshot


def measured() -> list[Measurement]:
    tally = Tally({"topic-0": TopicTally()})
    tally.refusals.update({("question", "duplicate"): 3, ("answer", "repetition"): 1})
    commits = CommitFigures()
    commits.add(0.25)
    return list(measure(snapshot(), tally, 9, {"working": 2, "starting": 0}, commits))


def test_every_metric_of_the_catalogue_has_a_value_and_no_series_comes_twice() -> None:
    found = measured()
    assert {m.metric for m in found} == set(CATALOGUE)
    series = [(m.metric, m.labels) for m in found]
    assert len(series) == len(set(series))
    assert all(len(m.labels) == len(m.metric.labels) for m in found)


def test_values_are_those_of_the_snapshot_and_the_tally() -> None:
    values = {(m.metric, *m.labels): m.value for m in measured()}
    assert values[ACCEPTED, "topic-1"] == 1
    assert values[TARGET, "topic-1"] == 4
    assert values[IN_FLIGHT, "asked"] == 3 * 2
    assert values[IN_FLIGHT, "reserved"] == 3 * 1
    assert values[REJECTED, "question", "duplicate"] == 3
    assert values[REPLICAS, "working"] == 2
    assert [values[TOPICS, state] for state in ("open", "full", "saturated")] == [2, 1, 0]


def test_topics_that_want_nothing_have_no_series() -> None:
    whole = snapshot()
    idle = replace(whole, topics=tuple(replace(view, target=0) for view in whole.topics))
    found = measure(idle, Tally({}), 0, {}, CommitFigures())
    assert not [m for m in found if m.metric.labels == ("topic",)]


def test_names_follow_prometheus() -> None:
    for metric in CATALOGUE:
        assert re.fullmatch(r"evenfill_[a-z]+(_[a-z]+)*", metric.name)
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert len({metric.name for metric in CATALOGUE}) == len(CATALOGUE)
