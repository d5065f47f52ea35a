"""What a person sees of a run: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from synth.events import Event
from synth.report import Snapshot

_LINE_EVERY_S = 10.0


class Display(Protocol):
    """Where a run's news goes."""

    def show(self, snapshot: Snapshot) -> None:
        """Where the run stands; called about twice a second."""
        ...

    def say(self, line: str) -> None:
        """Something noteworthy happened."""
        ...


@contextmanager
def run_display(console: Console) -> Iterator[Display]:
    """A live display when `console` is a terminal, plain lines when it is not."""
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4) as live:
            yield LiveDisplay(live)
    else:
        yield PlainDisplay(console, time.monotonic)


class PlainDisplay:
    """One line about every ten seconds, and one per piece of news."""

    def __init__(self, console: Console, clock: Callable[[], float]):
        self._console = console
        self._clock = clock
        self._next = 0.0

    def show(self, snapshot: Snapshot) -> None:
        if self._clock() < self._next or not snapshot.generate_s:
            return
        self._next = self._clock() + _LINE_EVERY_S
        self._console.print(summary_line(snapshot), highlight=False, soft_wrap=True)

    def say(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True, markup=False)


class LiveDisplay:
    """A table of topics that redraws itself, with the news above it."""

    def __init__(self, live: Live):
        self._live = live

    def show(self, snapshot: Snapshot) -> None:
        height = self._live.console.size.height
        self._live.update(Group(topic_table(snapshot, height - 6), Text(summary_line(snapshot))))

    def say(self, line: str) -> None:
        self._live.console.print(line, highlight=False, markup=False)


def summary_line(snapshot: Snapshot) -> str:
    """The whole run in a line."""
    left = snapshot.seconds_left
    parts = [
        f"{snapshot.accepted}/{snapshot.target} records",
        f"{snapshot.rejected} refused",
        f"{snapshot.tokens_per_s:.0f} tokens/s",
    ]
    if left is not None:
        parts.append(f"about {duration(left)} left")
    return ", ".join(parts)


def event_line(event: Event) -> str:
    """An event as a line: the second that it happened in (UTC), its name, what it tells."""
    told = event.model_dump(mode="json", exclude={"time", "event", "fingerprint", "versions"})
    parts = [f"{name}={value}" for name, value in told.items()]
    return " ".join([f"{event.time:%Y-%m-%d %H:%M:%S}", event.event, *parts])


def duration(seconds: float) -> str:
    """Seconds as `45 s`, `12 min` or `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def topic_table(snapshot: Snapshot, rows: int) -> Table:
    """Topics with their progress; those that are full give way when the terminal is short."""
    table = Table(box=None, pad_edge=False)
    table.add_column("topic")
    table.add_column("accepted", justify="right")
    table.add_column("", width=16)
    table.add_column("in flight", justify="right")
    table.add_column("acceptance", justify="right")
    topics = [topic for topic in snapshot.topics if topic.target]
    shown = topics
    if len(topics) > rows:
        unfilled = [topic for topic in topics if topic.state != "full"]
        shown = unfilled[: max(rows, 1)]
    for topic in shown:
        table.add_row(
            topic.name,
            f"{topic.accepted}/{topic.target}",
            ProgressBar(total=topic.target, completed=topic.accepted, width=16),
            topic.state or str(topic.in_flight),
            f"{topic.acceptance_rate:.0%}",
        )
    if len(shown) < len(topics):
        full = sum(topic.state == "full" for topic in topics)
        table.add_row(f"and {len(topics) - len(shown)} more, {full} of them full")
    return table


def closing_table(report: Mapping[str, Any]) -> Table:
    """The figures of a run, topic by topic."""
    table = Table(title=f"{report['accepted']} of {report['target']} records: {report['status']}")
    for name in ("topic", "target", "accepted", "generated", "acceptance", "most refused for"):
        number = name not in ("topic", "most refused for")
        table.add_column(
            name, justify="right" if number else "left", no_wrap=True, min_width=len(name)
        )
    for topic, figures in report["topics"].items():
        if not figures["target"] and not figures["generated"]:
            continue
        reasons = list(figures["rejected"].items())[:2]
        table.add_row(
            topic,
            str(figures["target"]),
            str(figures["accepted"]),
            str(figures["generated"]),
            f"{figures['acceptance_rate']:.0%}",
            ", ".join(f"{reason} {count}" for reason, count in reasons),
        )
    return table


def closing_lines(report: Mapping[str, Any]) -> list[str]:
    """What a run cost and how it was judged, in a few lines."""
    tokens, timing, rates = report["tokens"], report["timing"], report["rates"]
    kept = tokens["completion_in_accepted"]
    reasons = ", ".join(f"{r} {n}" for r, n in list(report["rejected_by_reason"].items())[:8])
    highest = report["dedup"]["max_similarity_accepted"]
    judged = ", ".join(f"{metric} {mean:.1f}" for metric, mean in report["judge"]["scores"].items())
    return [
        *([f"judged: {judged}"] if judged else []),
        f"refused: {reasons or 'nothing'}",
        f"tokens written: {tokens['completion']}, of them in accepted records {kept}"
        + (f" (1 in {tokens['completion'] / kept:.1f})" if kept else ""),
        f"time: {duration(timing['wall_s'])}, engine start {duration(timing['engine_start_s'])}; "
        f"{rates['completion_tokens_per_s']:.0f} tokens/s, {rates['accepted_per_s']:.2f} records/s",
        f"highest similarity between two accepted questions: "
        f"{'none' if highest is None else f'{highest:.3f}'} "
        f"(threshold {report['dedup']['threshold']})",
    ]
