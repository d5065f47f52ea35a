"""The topic labels that datasets ship, read as ids of our topics."""

from __future__ import annotations

import re
from collections.abc import Mapping

from synth.specs import TopicSpec

_NOT_A_WORD = re.compile(r"[^a-z0-9]+")


def _key(name: str) -> str:
    folded = name.casefold().replace("&", " and ").replace("'", "").replace("’", "")
    return " ".join(word for word in _NOT_A_WORD.split(folded) if word and word != "and")


class ShippedLabels:
    """Reads `Family Conflict`, `family-conflict`, or several names joined by commas."""

    def __init__(self, topics: Mapping[str, TopicSpec]):
        self._ids = {_key(name): topic for topic, spec in topics.items()
                     for name in (topic, spec.name)}  # fmt: skip

    def read(self, label: str) -> tuple[str, ...]:
        """The topic ids that a shipped label names; empty when it names none."""
        whole = self._ids.get(_key(label))
        if whole:
            return (whole,)
        parts = (self._ids.get(_key(part)) for part in label.split(","))
        return tuple(dict.fromkeys(topic for topic in parts if topic))
