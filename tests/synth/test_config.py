"""The run config: overrides, mistakes, fingerprints and shares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.config import (
    RunConfig,
    Targets,
    content_of,
    differences,
    fingerprint,
    load_config,
)
from synth.errors import ConfigError
from synth.gates import registry
from synth.targets import share_out

WEIGHTS = {"a": 5.0, "b": 3.0, "c": 1.0}


def test_every_key_can_be_set_from_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("seed: 3\ntargets: {policy: uniform, total: 12}\n")
    config = load_config(
        file, ["targets.total=20", "targets.topics.anxiety=4", "budget.wall_time=15m"]
    )
    assert (config.seed, config.targets.policy, config.targets.total) == (3, "uniform", 20)
    assert config.targets.topics == {"anxiety": 4}
    assert config.budget.wall_time == 900


@pytest.mark.parametrize(
    ("option", "parts"),
    [
        ("targets.total=-1", ["'targets.total' is -1", "greater than or equal to 1"]),
        ("engine.replcas=2", ["'engine.replcas'", "did you mean 'engine.replicas'"]),
        ("engine.replicas=0", ["'engine.replicas' is 0"]),
        ("engine.structured_output=json", ["'engine.structured_output' is 'json'", "xgrammar"]),
        ("dedup.threshold=1.5", ["'dedup.threshold' is 1.5"]),
        ("budget.wall_time=soon", ["'budget.wall_time' is 'soon'", "12h"]),
        ("record.max_answer_words=41", ["max_answer_words is 41", "min_words"]),
        ("gates=[repetitoin]", ["'repetitoin'", "did you mean 'repetition'"]),
        ("seed", ["no key=value"]),
        ("seed.x=3", ["'seed' is {'x': 3}"]),
        ("targets.policy=explicit", ["targets.topics"]),
        ("out=[", ["is not YAML"]),
        ("targets={policy: explicit, topics: {anxiety: 3}, total: 9}", ["total is 9", "sum to 3"]),
    ],
)
def test_a_wrong_option_is_one_message(option: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(None, [option])
    for part in parts:
        assert part in str(error.value)


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load_config(tmp_path / "nowhere.yaml")
    file = tmp_path / "run.yaml"
    file.write_text("- a list\n")
    with pytest.raises(ConfigError, match=r"run.yaml: holds a list"):
        load_config(file)
    file.write_text("model: {name: {{ x }}}\n")
    with pytest.raises(ConfigError, match=r"line 1: a key is not a plain word"):
        load_config(file)
    file.write_text("model: {nmae: x}\n")
    with pytest.raises(ConfigError, match=r"run.yaml: unknown key 'model.nmae'.*'model.name'"):
        load_config(file)


def test_only_what_shapes_the_dataset_changes_the_fingerprint() -> None:
    base = load_config(None)
    for option in ("engine.replicas=2", "out=elsewhere", "budget.wall_time=1h"):
        assert fingerprint(load_config(None, [option]), "s") == fingerprint(base, "s")
    for option in ("seed=8", "dedup.threshold=0.9", "targets.total=5", "model.name=other/model"):
        assert fingerprint(load_config(None, [option]), "s") != fingerprint(base, "s")
    assert fingerprint(base, "s") != fingerprint(base, "t")
    judged = load_config(None, ["judge={judges: [{name: a, model: {name: builtin}}]}"])
    more = load_config(None, ["judge={judges: [{name: a, model: {name: builtin}, replicas: 2}]}"])
    assert fingerprint(judged, "s") == fingerprint(more, "s") != fingerprint(base, "s")


def test_a_gate_with_new_rules_makes_another_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(None)
    before = content_of(config)
    newer = replace(registry.BUILT_IN["pii"], version=99)
    monkeypatch.setattr(registry, "BUILT_IN", {**registry.BUILT_IN, "pii": newer})
    (line,) = differences(before, content_of(config))
    assert line.startswith("gate_versions.pii: ")


def test_differences_show_key_and_both_values() -> None:
    old, new = load_config(None), load_config(None, ["dedup.threshold=0.9"])
    assert differences(content_of(old), content_of(new)) == ["dedup.threshold: 0.85 -> 0.9"]


def test_weights_are_scaled_to_the_total() -> None:
    assert share_out(Targets(total=90), WEIGHTS) == {"a": 50, "b": 30, "c": 10}


def test_single_topics_are_fixed_and_the_rest_is_shared_out() -> None:
    targets = Targets(policy="uniform", total=20, topics={"c": 10})
    assert share_out(targets, WEIGHTS) == {"a": 5, "b": 5, "c": 10}


def test_the_explicit_policy_fills_only_what_is_named() -> None:
    targets = Targets(policy="explicit", topics={"b": 7})
    assert share_out(targets, WEIGHTS) == {"a": 0, "b": 7, "c": 0}


@given(
    total=st.integers(1, 10**6),
    weights=st.dictionaries(st.text(min_size=1), st.floats(0.01, 1e4), min_size=1, max_size=40),
    policy=st.sampled_from(["weight", "uniform"]),
)
def test_shares_sum_to_the_total_and_miss_their_exact_share_by_less_than_one(
    total: int, weights: dict[str, float], policy: str
) -> None:
    shares = share_out(Targets(policy=policy, total=total), weights)
    assert sum(shares.values()) == total
    whole = sum(weights.values()) if policy == "weight" else len(weights)
    for topic, weight in weights.items():
        exact = total * (weight if policy == "weight" else 1) / whole
        assert abs(shares[topic] - exact) < 1 + 1e-6


@pytest.mark.parametrize(
    ("targets", "part"),
    [
        (Targets(total=5, topics={"a": 9}), "alone asks for 9"),
        (Targets(total=5, topics={"d": 1}), "no topic 'd'"),
        (Targets(total=9, topics={"a": 1, "b": 1, "c": 1}), "all topics are fixed"),
        (Targets(total=None), "is not given"),
    ],
)
def test_targets_that_cannot_hold_are_refused(targets: Targets, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        share_out(targets, WEIGHTS)


def test_a_resolved_config_reads_back_as_itself() -> None:
    for options in (["targets={policy: explicit, topics: {stress: 3}}"], ["targets.total=50"]):
        config = load_config(None, options)
        assert RunConfig.model_validate(config.model_dump(mode="json")) == config
