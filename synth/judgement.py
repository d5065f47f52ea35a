"""What judges said of a pair, and whether that is good enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from synth.config import METRICS, JudgeConfig


@dataclass(frozen=True, slots=True)
class Score:
    """One metric's score, 1 to 10, and why."""

    metric: str
    score: int
    rationale: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one judge made of one pair.

    Attributes:
        judge: name of the seat in the run config.
        model: name of the model that judged.
        version: of rubric and prompt.
        scores: one per metric, in the rubric's order.
    """

    judge: str
    model: str
    version: int
    prompt_tokens: int
    completion_tokens: int
    scores: tuple[Score, ...]

    @property
    def mean(self) -> float:
        return fmean(score.score for score in self.scores)


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Why the judges refuse a pair."""

    reason: str
    detail: str


def mean_scores(judgements: Sequence[Judgement]) -> dict[str, float]:
    """Each metric's mean over the judges."""
    return {
        metric: fmean(judgement.scores[at].score for judgement in judgements)
        for at, metric in enumerate(METRICS)
    }


def shortfall(judgements: Sequence[Judgement], config: JudgeConfig) -> Shortfall | None:
    """Why a pair is not good enough: a floor that any judge's score misses, or the mean of all."""
    for missed in _missed_floors(judgements, config.floors):
        return missed
    if config.mean is not None and judgements:
        mean = fmean(judgement.mean for judgement in judgements)
        if mean < config.mean:
            return Shortfall("judge_mean", f"{mean:.2f}, below {config.mean:g}")
    return None


def _missed_floors(
    judgements: Sequence[Judgement], floors: Mapping[str, float]
) -> Iterator[Shortfall]:
    for judgement in judgements:
        for score in judgement.scores:
            floor = floors.get(score.metric)
            if floor is not None and score.score < floor:
                yield Shortfall(
                    f"judge_{score.metric}",
                    f"{score.score}, below {floor:g} ({judgement.judge}: {score.rationale})",
                )
