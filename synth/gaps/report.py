"""What a surveyed dataset lacks: coverage against targets, redundancy, safety."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from synth.audit import Summary
from synth.gaps.survey import Survey
from synth.neighbours import THRESHOLDS, nearest_others

_CONFUSIONS = 10
_SHOWN = 20  # malformed rows


@dataclass(frozen=True)
class TopicGap:
    """One topic of a dataset.

    Attributes:
        existing: rows about it.
        target: how many there should be.
        redundant: share of its rows with another row at each threshold or above.
    """

    existing: int
    target: int
    redundant: Mapping[float, float]

    @property
    def deficit(self) -> int:
        """Rows that are missing."""
        return max(0, self.target - self.existing)


@dataclass(frozen=True)
class Gaps:
    """A dataset's coverage, by topic; `safety` is None when it was not looked at."""

    survey: Survey
    topics: Mapping[str, TopicGap]
    redundant: Mapping[float, float]
    safety: Summary | None

    @property
    def deficits(self) -> dict[str, int]:
        """Topic -> missing rows, where any are."""
        return {topic: gap.deficit for topic, gap in self.topics.items() if gap.deficit}

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        survey, comparison = self.survey, self.survey.comparison
        facets: dict[str, dict[str, int]] = {}
        for (facet, value), count in sorted(survey.facets.items()):
            facets.setdefault(facet, {})[value] = count
        report: dict[str, Any] = {
            "rows": survey.rows,
            "unknown": survey.unknown,
            "malformed": survey.malformed_count,
            "malformed_first": [asdict(bad) for bad in survey.malformed[:_SHOWN]],
            "topics": {
                topic: {
                    "existing": gap.existing,
                    "target": gap.target,
                    "deficit": gap.deficit,
                    "redundancy": _keyed(gap.redundant),
                }
                for topic, gap in self.topics.items()
            },
            "deficit": sum(self.deficits.values()),
            "redundancy": _keyed(self.redundant),
            "facets_stated": facets,
            "shipped_labels": {
                "compared": comparison.compared,
                "agreed": comparison.agreed,
                "in_top_3": comparison.in_top,
                "foreign": dict(comparison.foreign.most_common(_CONFUSIONS)),
                "confusions": [
                    {"shipped": shipped, "ours": ours, "rows": rows}
                    for (shipped, ours), rows in comparison.confusions.most_common(_CONFUSIONS)
                ],
                "examples": [asdict(example) for example in comparison.examples],
            },
        }
        if self.safety is not None:
            report["safety"] = {
                "rows": dict(self.safety.severities),
                "red_rules": {
                    rule: count
                    for (_, rule, severity), count in self.safety.rules.most_common()
                    if severity == "red"
                },
            }
        return report


def _keyed(shares: Mapping[float, float]) -> dict[str, float]:
    return {f"{threshold:.2f}": round(share, 4) for threshold, share in shares.items()}


def gaps_of(survey: Survey, targets: Mapping[str, int], safety: Summary | None = None) -> Gaps:
    """Hold a survey against targets, topic id -> rows."""
    nearest = nearest_others(survey.vectors)

    def shares(chosen: Any) -> dict[float, float]:
        cosines = nearest[chosen]
        return {
            threshold: float((cosines >= threshold).mean()) if len(cosines) else 0.0
            for threshold in THRESHOLDS
        }

    position = {topic: at for at, topic in enumerate(survey.topics)}
    topics = {
        topic: TopicGap(survey.existing[topic], target, shares(survey.topic_of == position[topic]))
        for topic, target in targets.items()
    }
    return Gaps(survey, topics, shares(np.ones(len(nearest), dtype=bool)), safety)
