"""The figures of a running run as metrics: what there is, and their values at a moment.

Names and labels follow Prometheus: base units, `_total` for what only grows. Who exports them
puts a prefix of its own before the names (Ray: `ray_`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from synth.report import Snapshot, Tally


class Kind(Enum):
    """A counter only grows, and starts at zero with each coordinator; a gauge is a state."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; `labels` are what tells its series apart within a run."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()

    def of(self, value: float, *labels: str) -> Measurement:
        """Its value, for labels in their order."""
        return Measurement(self, labels, value)


@dataclass(frozen=True, slots=True)
class Measurement:
    """A metric's value now; of a counter, in total."""

    metric: Metric
    labels: tuple[str, ...]
    value: float


@dataclass
class CommitFigures:
    """Commits of this start, and the seconds that they took."""

    commits: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.commits += 1
        self.seconds += seconds


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(f"evenfill_{name}_total", Kind.COUNTER, text, labels)


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(f"evenfill_{name}", Kind.GAUGE, text, labels)


TARGET = _gauge("target_records", "Records that a topic must hold", "topic")
STORED = _gauge("stored_records", "Records that a topic holds", "topic")
ACCEPTANCE = _gauge(
    "acceptance_ratio", "Learned chance that a topic's question becomes a record", "topic"
)
ESCALATION = _gauge("escalation_level", "How hard prompts push away from duplicates", "topic")
TOPICS = _gauge("topics", "Topics with a target, by state", "state")
IN_FLIGHT = _gauge("slots_in_flight", "Slots that are asked for, or reserved", "phase")
WAITING = _gauge("rows_waiting", "Rows that wait for the next commit")
REPLICAS = _gauge("replicas", "Replicas by state", "state")
ACCEPTED = _counter("accepted_records", "Records that became durable", "topic")
REJECTED = _counter("rejected_texts", "Refusals that became durable", "stage", "reason")
PROMPT_TOKENS = _counter("prompt_tokens", "Tokens read, of texts with a verdict", "work")
COMPLETION_TOKENS = _counter("completion_tokens", "Tokens written, of texts with a verdict", "work")
KEPT_TOKENS = _counter("kept_completion_tokens", "Tokens written, of accepted records")
COMMITS = _counter("commits", "Group commits")
COMMIT_SECONDS = _counter("commit_seconds", "Time that group commits took to be durable")

CATALOGUE = (
    TARGET,
    STORED,
    ACCEPTANCE,
    ESCALATION,
    TOPICS,
    IN_FLIGHT,
    WAITING,
    REPLICAS,
    ACCEPTED,
    REJECTED,
    PROMPT_TOKENS,
    COMPLETION_TOKENS,
    KEPT_TOKENS,
    COMMITS,
    COMMIT_SECONDS,
)
_WRITING, _JUDGING = "writing", "judging"


def measure(
    snapshot: Snapshot,
    tally: Tally,
    waiting: int,
    replicas: Mapping[str, int],
    commits: CommitFigures,
) -> Iterator[Measurement]:
    """Every metric's value.

    Args:
        snapshot, tally: where the run stands.
        waiting: rows that wait for the next commit.
        replicas: state -> replicas in it.
        commits: of this start.
    """
    views = [view for view in snapshot.topics if view.target]
    for view in views:
        yield TARGET.of(view.target, view.name)
        yield STORED.of(view.accepted, view.name)
        yield ACCEPTANCE.of(view.acceptance_rate, view.name)
        yield ESCALATION.of(view.escalation, view.name)
        yield ACCEPTED.of(view.accepted, view.name)
    states = Counter(view.state or "open" for view in views)
    for state in ("open", "full", "saturated"):
        yield TOPICS.of(states[state], state)
    yield IN_FLIGHT.of(sum(view.asked for view in views), "asked")
    yield IN_FLIGHT.of(sum(view.reserved for view in views), "reserved")
    yield WAITING.of(waiting)
    for state, number in replicas.items():
        yield REPLICAS.of(number, state)
    for (stage, reason), number in tally.refusals.items():
        yield REJECTED.of(number, stage, reason)
    for work, tokens in ((_WRITING, tally.tokens), (_JUDGING, tally.judge_tokens)):
        yield PROMPT_TOKENS.of(tokens.prompt, work)
        yield COMPLETION_TOKENS.of(tokens.completion, work)
    yield KEPT_TOKENS.of(tally.completion_in_accepted)
    yield COMMITS.of(commits.commits)
    yield COMMIT_SECONDS.of(commits.seconds)
