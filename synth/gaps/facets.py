"""Facets that a text states itself.

Of the shipped facets only `life_stage` and `setting` are often said in plain words ("I'm 17", "I
live alone"). Only such words count here; what would have to be guessed is left out, so these
counts are lower bounds.
"""

from __future__ import annotations

from collections.abc import Iterator

import re2

from synth.shipped import shipped_rules

_RULES = tuple(
    (facet, value, re2.compile(f"(?i){pattern}"))
    for facet, values in shipped_rules("stated_facets", "synth").items()
    for value, pattern in values.items()
)


def stated_facets(text: str) -> Iterator[tuple[str, str]]:
    """(facet, value) pairs that a client's text states; at most one value of a facet."""
    plain = text.replace("’", "'")
    told: set[str] = set()
    for facet, value, rule in _RULES:
        if facet not in told and rule.search(plain):
            told.add(facet)
            yield facet, value
