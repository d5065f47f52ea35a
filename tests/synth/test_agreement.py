"""Agreement of judges and people: known figures, and figures that are not defined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from synth.agreement import MEAN, RatingError, agreement_report, read_human
from synth.config import METRICS
from synth.review.verdicts import Decision, Verdict


def row(record: str, answer_words: int, topic: str = "stress", **judges: int) -> dict[str, Any]:
    """A record that each judge rates alike on all metrics."""
    judgements = [
        {"judge": name, "scores": [{"metric": metric, "score": score} for metric in METRICS]}
        for name, score in judges.items()
    ]
    return {"id": record, "topic": topic, "answer": "w " * answer_words, "judgements": judgements}


ROWS = [row(str(i), 10 * i, one=i, two=11 - i, three=i) for i in range(1, 11)]


def test_judges_who_agree_and_judges_who_disagree_throughout() -> None:
    report = agreement_report(ROWS, {}, {})
    found = {(pair.one, pair.other, pair.metric): pair for pair in report.pairs}
    metric = METRICS[0]
    same, opposite = found["one", "three", metric], found["one", "two", metric]
    assert (same.records, same.kappa, same.spearman) == (10, 1.0, 1.0)
    assert (opposite.kappa, opposite.spearman) == (-1.0, -1.0)
    assert found["one", "three", MEAN].spearman == 1.0
    assert found["one", "three", MEAN].kappa is None
    assert agreement_report(ROWS, {}, {}).alpha[metric] != 1.0


def test_alpha_is_one_where_all_raters_agree_and_allows_for_gaps() -> None:
    rows = [row(str(i), 10, one=i) for i in range(1, 11)]
    human = {"human": {str(i): {METRICS[0]: float(i)} for i in range(1, 6)}}
    report = agreement_report(rows, human, {})
    assert report.alpha[METRICS[0]] == 1.0
    assert report.alpha[METRICS[1]] is None
    first = report.pairs[0]
    assert (first.other, first.records, first.kappa) == ("human", 5, 1.0)


def test_what_sways_a_judge_is_told() -> None:
    rows = [*ROWS, *(row(f"g{i}", 55, "grief-and-loss", one=2, two=2, three=2) for i in range(4))]
    verdicts = {
        "10": Verdict(id="10", decision=Decision.ACCEPT, at="now"),
        "9": Verdict(id="9", decision=Decision.EDIT, question="q", answer="a", at="now"),
        "1": Verdict(id="1", decision=Decision.REJECT, at="now"),
    }
    one, two, _ = agreement_report(rows, {}, verdicts).bias
    assert one.length is not None
    assert one.length > 0.6
    assert two.length is not None
    assert two.length < -0.6
    assert one.topics == {"grief-and-loss": 2.0, "stress": 5.5}
    assert one.topics_p is not None
    assert one.topics_p < 0.2
    assert (one.accepted, one.rejected) == (9.5, 1.0)


def test_a_judge_with_one_score_for_all_has_no_figures() -> None:
    rows = [row(str(i), i, one=7, two=7) for i in range(1, 6)]
    report = agreement_report(rows, {}, {})
    assert (
        {pair.kappa for pair in report.pairs} == {pair.spearman for pair in report.pairs} == {None}
    )
    assert set(report.alpha.values()) == {None}
    assert report.bias[0].length is None


def test_human_scores_are_read_by_rater_and_metric(tmp_path: Path) -> None:
    table = tmp_path / "human.csv"
    table.write_text("id,rater,active_listening,notes\na,Ana,7,x\na,Ben,6.5,\nb,Ana,,y\n")
    assert read_human(table, ["a", "b"]) == {
        "human Ana": {"a": {"active_listening": 7.0}, "b": {}},
        "human Ben": {"a": {"active_listening": 6.5}},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,kindness\na,7\n", "has the columns id, kindness"),
        ("", "has the columns none"),
        ("id,active_listening\nz,7\n", "line 2: no record 'z'"),
        ("id,active_listening\na,11\n", "line 2: active_listening is '11'"),
        ("id,active_listening\na,good\n", "line 2: active_listening is 'good'"),
    ],
)
def test_a_mistake_in_human_scores_is_named(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "human.csv"
    table.write_text(text)
    with pytest.raises(RatingError, match=message):
        read_human(table, ["a"])
