"""How far judges agree with each other and with people, and what sways them.

Cohen's kappa is weighted by the square of the distance, as scores are ordered; Krippendorff's alpha
is for interval data and allows for missing ratings; Spearman's rho looks at ranks alone. A figure
that is not defined, as when somebody gave one score throughout, is None.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from synth.config import METRICS
from synth.errors import UserError
from synth.judging import HIGHEST, LOWEST
from synth.review.verdicts import Decision, Verdict

MEAN = "mean"  # over the metrics of one rater
_LEAST = 2  # pairs of ratings that a figure needs

Ratings = Mapping[str, Mapping[str, Mapping[str, float]]]  # rater -> record id -> metric -> score


class RatingError(UserError):
    """A table of human scores that cannot be used."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of two raters, on one metric or on their mean over all of them.

    Attributes:
        records: that both have rated.
        kappa: Cohen's, weighted quadratically; None for means, which are no whole scores.
    """

    one: str
    other: str
    metric: str
    records: int
    kappa: float | None
    spearman: float | None


@dataclass(frozen=True, slots=True)
class Bias:
    """What a judge's mean score goes along with.

    Attributes:
        length: Spearman's rho with the number of words of the answer.
        topics: mean score by topic.
        topics_p: of the Kruskal-Wallis test that all topics are rated alike.
        accepted, rejected: mean score of the records that reviewers accepted (or edited) and
            rejected.
    """

    judge: str
    records: int
    length: float | None
    topics: Mapping[str, float]
    topics_p: float | None
    accepted: float | None
    rejected: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """All figures.

    Attributes:
        alpha: Krippendorff's, by metric, over all raters.
    """

    pairs: Sequence[Agreement]
    alpha: Mapping[str, float | None]
    bias: Sequence[Bias]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def judged(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """The judges' ratings in rows of `accepted/`."""
    ratings: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for row in rows:
        for judgement in row["judgements"] or ():
            scores = {score["metric"]: float(score["score"]) for score in judgement["scores"]}
            ratings[judgement["judge"]][row["id"]] = scores
    return dict(ratings)


def read_human(path: Path, known: Iterable[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Human ratings from a CSV file with the columns id, one or more metrics, and maybe rater.

    Args:
        path: the file.
        known: ids of the records that may be rated.

    Raises:
        RatingError: names the line and what is wrong with it.
    """
    ids = set(known)
    ratings: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            metrics = [name for name in reader.fieldnames or () if name in METRICS]
            if "id" not in (reader.fieldnames or ()) or not metrics:
                raise RatingError(
                    str(path),
                    f"has the columns {', '.join(reader.fieldnames or ()) or 'none'}",
                    f"Give id, maybe rater, and some of {', '.join(METRICS)}",
                )
            for line in reader:
                where = f"{path}, line {reader.line_num}"
                if line["id"] not in ids:
                    raise RatingError(where, f"no record {line['id']!r}", "Keep the run's ids")
                rater = f"human {line.get('rater') or ''}".strip()
                scores = {m: _score(line[m], where, m) for m in metrics if line[m]}
                ratings[rater][line["id"]] = scores
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RatingError(
            str(path), f"cannot be read ({error})", "Give a UTF-8 CSV file"
        ) from error
    return dict(ratings)


def _score(text: str, where: str, metric: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not LOWEST <= score <= HIGHEST:
        what = f"{metric} is {text!r}"
        raise RatingError(where, what, f"Give a number from {LOWEST} to {HIGHEST}")
    return score


def agreement_report(
    rows: Sequence[Mapping[str, Any]],
    human: Ratings,
    verdicts: Mapping[str, Verdict],
) -> Report:
    """All figures over the records of a run.

    Args:
        rows: of `accepted/`, with their judgements.
        human: ratings of people; may be empty.
        verdicts: record id -> what reviewers decided; may be empty.
    """
    judges = judged(rows)
    raters: dict[str, Mapping[str, Mapping[str, float]]] = {**judges, **human}
    pairs = [
        pair
        for one, other in combinations(raters, 2)
        for pair in _pairs(one, raters[one], other, raters[other])
    ]
    alpha = {metric: _alpha(list(raters.values()), metric) for metric in METRICS}
    by_id = {row["id"]: row for row in rows}
    bias = [_bias(name, ratings, by_id, verdicts) for name, ratings in judges.items()]
    return Report(pairs, alpha, bias)


def _pairs(
    one: str,
    ones: Mapping[str, Mapping[str, float]],
    other: str,
    others: Mapping[str, Mapping[str, float]],
) -> Iterator[Agreement]:
    shared = [record for record in ones if record in others]
    for metric in METRICS:
        both = [r for r in shared if metric in ones[r] and metric in others[r]]
        x, y = [ones[r][metric] for r in both], [others[r][metric] for r in both]
        yield Agreement(one, other, metric, len(both), _kappa(x, y), _spearman(x, y))
    x = [fmean(ones[r].values()) for r in shared if ones[r] and others[r]]
    y = [fmean(others[r].values()) for r in shared if ones[r] and others[r]]
    yield Agreement(one, other, MEAN, len(x), None, _spearman(x, y))


def _kappa(x: Sequence[float], y: Sequence[float]) -> float | None:
    from sklearn.metrics import cohen_kappa_score

    if len(x) < _LEAST or (len(set(x)) == 1 and set(x) == set(y)):
        return None
    whole = [[round(score) for score in scores] for scores in (x, y)]
    labels = range(LOWEST, HIGHEST + 1)
    return _defined(cohen_kappa_score(*whole, labels=labels, weights="quadratic"))


def _spearman(x: Sequence[float], y: Sequence[float]) -> float | None:
    from scipy.stats import spearmanr

    if len(x) < _LEAST or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    return _defined(spearmanr(x, y).statistic)


def _alpha(raters: Sequence[Mapping[str, Mapping[str, float]]], metric: str) -> float | None:
    import krippendorff

    ids = sorted({record for ratings in raters for record in ratings})
    table = np.array([[r.get(i, {}).get(metric, np.nan) for i in ids] for r in raters])
    if len(raters) < _LEAST or len(np.unique(table[~np.isnan(table)])) < _LEAST:
        return None
    if (np.sum(~np.isnan(table), axis=0) < _LEAST).all():
        return None
    return _defined(krippendorff.alpha(table, level_of_measurement="interval"))


def _bias(
    judge: str,
    ratings: Mapping[str, Mapping[str, float]],
    rows: Mapping[str, Mapping[str, Any]],
    verdicts: Mapping[str, Verdict],
) -> Bias:
    from scipy.stats import kruskal

    means = {record: fmean(scores.values()) for record, scores in ratings.items()}
    words = [len(rows[record]["answer"].split()) for record in means]
    topics: dict[str, list[float]] = defaultdict(list)
    decided: dict[bool, list[float]] = defaultdict(list)
    for record, mean in means.items():
        topics[rows[record]["topic"]].append(mean)
        if record in verdicts:
            decided[verdicts[record].decision is not Decision.REJECT].append(mean)
    comparable = len(topics) >= _LEAST and len(set(means.values())) >= _LEAST
    return Bias(
        judge,
        len(means),
        _spearman(words, list(means.values())),
        {topic: round(fmean(scores), 3) for topic, scores in sorted(topics.items())},
        _defined(kruskal(*topics.values()).pvalue) if comparable else None,
        round(fmean(decided[True]), 3) if decided[True] else None,
        round(fmean(decided[False]), 3) if decided[False] else None,
    )


def _defined(figure: float) -> float | None:
    return None if math.isnan(figure) else round(float(figure), 4)
