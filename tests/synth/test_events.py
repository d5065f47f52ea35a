"""Events: typed, bounded, without texts, and readable whatever the last line looks like."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC
from pathlib import Path

import pytest

from synth import event_log
from synth.event_log import EventLog, last_events, read_events
from synth.events import (
    Committed,
    ReplicaDied,
    ReplicaUp,
    RunStopping,
    TopicEscalated,
    TopicFull,
    TopicSaturated,
    TopicWatch,
    parse_event,
)
from synth.files import Folder, LocalFolder, open_folder
from synth.report import Status
from tests.synth.test_display import snapshot


@pytest.fixture(params=["disk", "bucket"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """A folder for events on a disk, and one in a bucket."""
    if request.param == "bucket":
        return open_folder(str(request.getfixturevalue("bucket"))) / "events"
    made = LocalFolder(tmp_path / "events")
    made.make()
    return made


def up(name: str) -> ReplicaUp:
    return ReplicaUp(replica=name, node="n", seconds=1.5)


def test_events_are_read_back_in_the_order_of_starts_and_of_what_happened(folder: Folder) -> None:
    first, second = EventLog(folder, 1), EventLog(folder, 2)
    said = [up("replica-0"), RunStopping(status=Status.INTERRUPTED, reason="a user"), up("r")]
    first.add(said[0])
    first.flush()
    first.add(said[1])
    first.flush()
    second.add(said[2])
    second.flush()
    assert list(read_events(folder)) == said
    assert last_events(folder, 2) == said[1:]
    assert folder.names() == ["0001-000000.jsonl", "0002-000000.jsonl"]


def test_what_is_written_again_stays_small_and_nothing_comes_twice(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "_LINES", 10)
    log = EventLog(folder, 1)
    said = [Committed(accepted=i, rejected=0, seconds=0.1) for i in range(47)]
    for at in range(0, 47, 4):
        log.add(*said[at : at + 4])
        log.flush()
    assert list(read_events(folder)) == said
    assert len(folder.names()) == 4
    longest = max(len(folder.read(name).splitlines()) for name in folder.names())
    assert longest == 12


def test_a_flush_that_failed_is_made_good_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = LocalFolder(tmp_path / "events")
    log = EventLog(folder, 1)
    log.add(up("replica-0"))
    with pytest.raises(OSError, match="No such file"):
        log.flush()
    folder.make()
    log.add(up("replica-1"))
    log.flush()
    assert [e.replica for e in read_events(folder) if isinstance(e, ReplicaUp)] == [
        "replica-0",
        "replica-1",
    ]
    monkeypatch.setattr(LocalFolder, "write", lambda *_: pytest.fail("there was nothing to write"))
    log.flush()


def test_a_torn_line_and_an_event_of_another_version_do_not_break_readers(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    whole = up("replica-0").model_dump_json()
    later = '{"time": "2026-01-01T00:00:00Z", "event": "moon_landing"}'
    (tmp_path / "0001-000000.jsonl").write_text(f"{later}\n{whole}\n{whole[:30]}")
    assert list(read_events(folder)) == [parse_event(whole)]


def test_a_line_says_when_in_utc_and_what_first() -> None:
    event = up("replica-0")
    fields = json.loads(event.model_dump_json())
    assert list(fields) == ["time", "event", "replica", "node", "seconds"]
    assert event.time.tzinfo is UTC
    assert fields["time"].endswith("Z")


def test_a_cause_is_cut_short() -> None:
    event = ReplicaDied(replica="r", cause="x" * 9000, deaths=1)
    assert len(event.cause) == 300


def test_topics_that_fill_saturate_or_escalate_are_news_once() -> None:
    start = snapshot()
    watch = TopicWatch()
    assert watch.news(start) == []  # what was full before is no news
    one, two, three = start.topics
    then = replace(
        start,
        topics=(
            replace(one, escalation=1),
            replace(two, accepted=4, state="full"),
            replace(three, state="saturated"),
        ),
    )
    kinds = [type(event) for event in watch.news(then)]
    assert kinds == [TopicEscalated, TopicFull, TopicSaturated]
    assert watch.news(then) == []
    calmer = replace(then, topics=(one, *then.topics[1:]))
    assert watch.news(calmer) == watch.news(then) == []  # only a level not reached before is news
