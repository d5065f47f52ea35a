"""Crisis lines: which ones a text names."""

from __future__ import annotations

from functools import cache
from typing import Any

import re2

from synth.gates.phrases import straightened, to_pattern
from synth.shipped import shipped_rules


@cache
def _resources() -> list[tuple[str, Any]]:
    lines = [line for locale in shipped_rules("resources").values() for line in locale]
    return [
        (line["name"], re2.compile(rf"(?i)\b(?:{to_pattern(name, {})})\b"))
        for line in lines
        for name in line["names"]
    ]


def resources_in(text: str) -> list[tuple[str, int, int]]:
    """Crisis lines that a text names, each with its place; overlapping names count once."""
    plain = straightened(text)
    found = sorted(
        (match.start(), -match.end(), name)
        for name, pattern in _resources()
        for match in pattern.finditer(plain)
    )
    kept: list[tuple[str, int, int]] = []
    for start, minus_end, name in found:
        if not kept or start >= kept[-1][2]:
            kept.append((name, start, -minus_end))
    return kept
