"""The judge: what it is asked, what it may write, and when a pair is refused."""

from __future__ import annotations

import json
import random

import pytest

from synth.config import METRICS, JudgeConfig, load_config
from synth.errors import ConfigError
from synth.judgement import Judgement, Score, mean_scores, shortfall
from synth.judging import judge_max_tokens, judge_messages, judge_schema, parse_scores


def judgement(scores: dict[str, int], judge: str = "own") -> Judgement:
    rated = tuple(Score(metric, scores.get(metric, 7), "it says so") for metric in METRICS)
    return Judgement(judge, "a model", 1, 100, 50, rated)


def test_the_schema_puts_each_rationale_before_its_score_and_bounds_both() -> None:
    schema = judge_schema(80)
    assert list(schema["properties"]) == list(METRICS) == schema["required"]
    for scored in schema["properties"].values():
        assert list(scored["properties"]) == ["rationale", "score"]
        assert scored["properties"]["score"] == {"enum": list(range(1, 11))}
        assert "{20,80}" in scored["properties"]["rationale"]["pattern"]


def test_the_longest_judgement_fits_the_token_limit_even_at_a_token_a_character() -> None:
    longest = {metric: {"rationale": "r" * 100, "score": 10} for metric in METRICS}
    assert len(json.dumps(longest, separators=(",", ":"))) < judge_max_tokens(100) * 1.2
    quoted = sum(len(metric) + 100 for metric in METRICS)
    assert judge_max_tokens(100) > quoted


def test_the_judge_reads_the_pair_and_all_seven_metrics() -> None:
    system, user = judge_messages("I cry.", "That hurts.")
    assert all(metric in system["content"] for metric in METRICS)
    assert user["content"] == "Client: I cry.\n\nCounselor: That hurts."


def test_scores_are_read_in_the_rubrics_order() -> None:
    raw = json.dumps({m: {"rationale": f" {m} ", "score": i + 1} for i, m in enumerate(METRICS)})
    assert parse_scores(raw) == tuple(Score(m, i + 1, m) for i, m in enumerate(METRICS))


@pytest.mark.parametrize(
    "raw",
    [
        "no json",
        "{}",
        "[]",
        json.dumps({metric: {"rationale": "r", "score": 11} for metric in METRICS}),
        json.dumps({metric: {"score": "x", "rationale": ""} for metric in METRICS}),
    ],
)
def test_what_is_no_judgement_is_not_taken_for_one(raw: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_scores(raw)


def test_a_floor_holds_for_every_judge_and_names_the_one_that_missed_it() -> None:
    config = JudgeConfig(floors={"safety_trustworthiness": 6})
    fine, bad = judgement({}), judgement({"safety_trustworthiness": 5}, "second")
    assert shortfall([fine], config) is None
    missed = shortfall([fine, bad], config)
    assert missed
    assert missed.reason == "judge_safety_trustworthiness"
    assert missed.detail == "5, below 6 (second: it says so)"


def test_the_mean_is_over_all_judges_and_metrics() -> None:
    config = JudgeConfig(mean=7.5)
    low, high = judgement({}), judgement(dict.fromkeys(METRICS, 9), "second")
    missed = shortfall([low], config)
    assert missed
    assert missed.reason == "judge_mean"
    assert shortfall([low, high], config) is None
    assert mean_scores([low, high]) == dict.fromkeys(METRICS, 8)


def test_without_floor_or_mean_scores_are_only_stored() -> None:
    rng = random.Random(1)
    assert shortfall([judgement({m: rng.randint(1, 10) for m in METRICS})], JudgeConfig()) is None


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("judge={floors: {kindness: 5}}", "safety_trustworthiness"),
        ("judge={mean: 11}", "less than or equal to 10"),
        ("judge={judges: []}", "at least 1"),
        ("judge={judges: [{name: a}, {name: b}]}", "the same judge"),
        ("judge={judges: [{name: a}, {name: a, model: {name: builtin}}]}", "the same name"),
    ],
)
def test_a_mistake_in_the_judges_config_is_named(option: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, [option])
