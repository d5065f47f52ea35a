"""Share a total out over the topics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from synth.config import Targets
from synth.errors import ConfigError, did_you_mean
from synth.specs import Specs


def share_out(targets: Targets, weights: Mapping[str, float]) -> dict[str, int]:
    """Records per topic; they sum to `targets.total` exactly (largest remainders).

    Args:
        targets: the policy, the total, and exact numbers for single topics.
        weights: topic id -> weight, of all topics.

    Raises:
        ConfigError: a topic that does not exist, or single targets above the total.
    """
    for topic in targets.topics:
        if topic not in weights:
            raise ConfigError(
                "targets.topics",
                f"there is no topic {topic!r}{did_you_mean(topic, weights)}",
                "`evenfill topics` lists them",
            )
    fixed = dict(targets.topics)
    if targets.policy == "explicit":
        return {topic: fixed.get(topic, 0) for topic in weights}
    if targets.total is None:
        raise ConfigError(
            "targets.total", f"is not given for policy {targets.policy!r}", "Give a number"
        )
    rest = targets.total - sum(fixed.values())
    if rest < 0:
        raise ConfigError(
            "targets.total",
            f"is {targets.total}, but targets.topics alone asks for {sum(fixed.values())}",
            "Raise the total or lower them",
        )
    open_weights = {
        topic: weight if targets.policy == "weight" else 1.0
        for topic, weight in weights.items()
        if topic not in fixed
    }
    if rest and not open_weights:
        raise ConfigError(
            "targets.total",
            f"is {targets.total}, but all topics are fixed at {sum(fixed.values())} in all",
            "Lower the total or free a topic",
        )
    shared = _largest_remainders(rest, open_weights)
    return {topic: fixed[topic] if topic in fixed else shared[topic] for topic in weights}


def check_facets(fixed: Mapping[str, str], specs: Specs, topics: Sequence[str]) -> None:
    """Check facet values that every record is to have.

    Raises:
        ConfigError: a facet or value that does not exist, that clashes with another one, or that
            makes no sense for one of `topics`.
    """
    for facet, value in fixed.items():
        where = f"targets.facets.{facet}"
        if facet not in specs.facets:
            what = f"there is no facet {facet!r}{did_you_mean(facet, specs.facets)}"
            raise ConfigError(where, what, f"One of {', '.join(specs.facets)}")
        if value not in specs.facets[facet]:
            what = f"there is no value {value!r}{did_you_mean(value, specs.facets[facet])}"
            raise ConfigError(where, what, f"One of {', '.join(specs.facets[facet])}")
        for topic in topics:
            if value not in specs.values_for(topic, facet):
                what = f"{value!r} makes no sense for topic {topic!r}"
                raise ConfigError(where, what, "Leave one of them out")
        for other in fixed.items():
            if specs.clash((facet, value), other):
                what = f"{value!r} cannot stand with {'='.join(other)}"
                raise ConfigError(where, what, "Leave one of them out")


def share_like(total: int, counts: Mapping[str, int]) -> dict[str, int]:
    """Share a total out as `counts` are shared; they sum to it exactly."""
    return _largest_remainders(total, {topic: n for topic, n in counts.items() if n})


def _largest_remainders(total: int, weights: Mapping[str, float]) -> dict[str, int]:
    if not weights:
        return {}
    whole = sum(weights.values())
    exact = {topic: total * weight / whole for topic, weight in weights.items()}
    shares = {topic: int(value) for topic, value in exact.items()}
    by_remainder = sorted(exact, key=lambda topic: (shares[topic] - exact[topic], topic))
    for topic in by_remainder[: total - sum(shares.values())]:
        shares[topic] += 1
    return shares
