"""Share a total out over the topics."""

from __future__ import annotations

from collections.abc import Mapping

from synth.config import Targets
from synth.errors import ConfigError, did_you_mean


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
