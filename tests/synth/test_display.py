"""What a person sees: a table on a terminal, plain lines elsewhere, figures at the end."""

from __future__ import annotations

import io

from rich.console import Console

from synth.config import METRICS
from synth.display import (
    PlainDisplay,
    closing_lines,
    closing_table,
    duration,
    run_display,
    topic_table,
)
from synth.report import Snapshot, Status, Tally, Timing, TopicTally, TopicView, build_report


def snapshot(topics: int = 3, accepted: int = 1) -> Snapshot:
    views = tuple(
        TopicView(
            f"topic-{i}", 4, 4 if i == 0 else accepted, 2, 1, 0.5, "full" if i == 0 else "", 0
        )
        for i in range(topics)
    )
    return Snapshot(
        status=Status.RUNNING,
        reason="",
        topics=views,
        accepted=sum(view.accepted for view in views),
        target=4 * topics,
        rejected=7,
        completion_tokens=1000,
        session_tokens=1000,
        session_accepted=6,
        generate_s=10.0,
        finished=False,
        stopping=False,
    )


def rendered(renderable: object, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_terminal_gets_a_table_and_a_file_gets_lines() -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=100, height=40)
    with run_display(terminal) as display:
        display.show(snapshot())
    assert "topic-1" in terminal.file.getvalue()  # type: ignore[attr-defined]
    plain = Console(file=io.StringIO(), force_terminal=False)
    with run_display(plain) as display:
        display.show(snapshot())
    assert plain.file.getvalue() == (  # type: ignore[attr-defined]
        "6/12 records, 7 refused, 100 tokens/s, about 10 s left\n"
    )


def test_plain_lines_come_every_ten_seconds_and_news_at_once() -> None:
    now = [100.0]
    console = Console(file=io.StringIO())
    display = PlainDisplay(console, lambda: now[0])
    for _ in range(25):
        display.show(snapshot())
        now[0] += 1
    display.say("the first [replica] is up")
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 4
    assert lines[-1] == "the first [replica] is up"


def test_a_short_terminal_shows_what_is_not_full_yet() -> None:
    text = rendered(topic_table(snapshot(topics=33), rows=10))
    assert "topic-0 " not in text
    assert "topic-10" in text
    assert "and 23 more, 1 of them full" in text


def test_durations_are_told_as_a_person_would() -> None:
    assert [duration(s) for s in (5, 200, 9000)] == ["5 s", "3 min", "2.5 h"]


def test_the_closing_figures_name_reasons_waste_and_similarity() -> None:
    tally = Tally({"a": TopicTally()})
    spent = {
        "topic": "a",
        "prompt_tokens": 10,
        "completion_tokens": 100,
        "judge_prompt_tokens": 0,
        "judge_completion_tokens": 0,
    }
    scores = dict.fromkeys(METRICS)
    tally.accept(spent | {"requested_topic": "a", "nearest_similarity": 0.7, "scores": scores})
    tally.reject(spent | {"stage": "answer", "reason": "repetition"})
    report = build_report(
        Status.COMPLETE, "done", tally, {"a": 1}, Timing(20, 5, 10, 3), threshold=0.85
    )
    text = rendered(closing_table(report)) + "\n".join(closing_lines(report))
    assert "1 of 1 records: complete" in text
    assert "repetition 1" in text
    assert "tokens written: 200, of them in accepted records 100 (1 in 2.0)" in text
    assert "20 tokens/s" in text
    assert "0.700 (threshold 0.85)" in text


def test_a_report_of_an_empty_run_divides_by_nothing() -> None:
    report = build_report(Status.RUNNING, "", Tally({"a": TopicTally()}), {"a": 1}, Timing(), 0.85)
    assert report["rates"] == {"completion_tokens_per_s": 0.0, "accepted_per_s": 0.0}
    assert closing_lines(report)[-1].endswith("none (threshold 0.85)")
