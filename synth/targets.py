"""Share a total out over the topics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from synth.config import Targets, checked
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
    check_topics(targets, weights)
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
        topic: 1.0 if targets.policy == "uniform" else weight
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


def check_topics(targets: Targets, known: Iterable[str]) -> None:
    """Check the topics that targets name.

    Raises:
        ConfigError: a topic that does not exist.
    """
    known = list(known)
    for topic in targets.topics:
        if topic not in known:
            raise ConfigError(
                "targets.topics",
                f"there is no topic {topic!r}{did_you_mean(topic, known)}",
                "`evenfill topics` lists them",
            )


def as_asked(targets: Targets, total: int | None, floor: int | None, topics: int) -> Targets:
    """Targets as the options --total and --floor change them.

    Args:
        targets: the config's.
        total: of all topics, shared out as the config says.
        floor: of every topic, instead.
        topics: how many there are.

    Raises:
        ConfigError: both are given, or the total contradicts the config.
    """
    if total is not None and floor is not None:
        raise ConfigError("--floor", "is given beside --total", "Give one of them")
    if floor is not None:
        return checked(Targets, {"policy": "uniform", "total": floor * topics}, "--floor")
    if total is not None:
        given = targets.model_dump(exclude_unset=True)
        return checked(Targets, given | {"total": total}, "--total")
    return targets


def missing(targets: Mapping[str, int], existing: Mapping[str, int]) -> dict[str, int]:
    """Topic -> what it lacks; what it has too much is no debt of others."""
    return {topic: max(0, number - existing.get(topic, 0)) for topic, number in targets.items()}


def sized_like(targets: Targets, rows: int) -> Targets:
    """Targets over a dataset: as large as it is, where nobody gave a total."""
    if targets.policy == "explicit" or "total" in targets.model_fields_set:
        return targets
    return targets.model_copy(update={"total": max(1, rows)})


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


def _largest_remainders(total: int, weights: Mapping[str, float]) -> dict[str, int]:
    whole = sum(weights.values()) or 1.0
    exact = {topic: total * weight / whole for topic, weight in weights.items()}
    shares = {topic: int(value) for topic, value in exact.items()}
    by_remainder = sorted(exact, key=lambda topic: (shares[topic] - exact[topic], topic))
    for topic in by_remainder[: total - sum(shares.values())]:
        shares[topic] += 1
    return shares
