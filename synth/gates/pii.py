"""Personal identifiers: the kinds of HIPAA's Safe Harbor (45 CFR 164.514) that text can hold.

Patterns for what has a form; names by the lists of the US census and by what stands before them.
Lines that are open to everybody, such as 988, identify nobody and pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import re2

from synth.gates.base import Draft, Finding, Severity
from synth.gates.phrases import straightened
from synth.gates.resources import resources_in
from synth.shipped import shipped_rules, shipped_text

_PUBLIC_PREFIXES = ("800", "888", "877", "866", "855", "844", "833", "0800", "0808")  # free lines
_PUBLIC_DAYS = ("july 4", "4th of july", "fourth of july", "september 11", "9/11")
_ID_DIGITS = 4  # fewer name nothing


@cache
def _patterns() -> dict[str, Any]:
    """Rule -> its compiled pattern."""
    data = shipped_rules("pii")

    def spelled_out(pattern: str) -> str:
        return re.sub(r"\{([a-z]+)\}", lambda m: str(data["words"][m[1]]), pattern)

    return {
        rule: re2.compile("|".join(f"(?:{spelled_out(pattern)})" for pattern in patterns))
        for rule, patterns in data["rules"].items()
    }


_CAPITALISED = re2.compile(r"\b[A-Z][\w'-]*[a-z][\w'-]*(?: [A-Z][\w'-]*[a-z][\w'-]*)?")


@cache
def _lists() -> dict[str, frozenset[str]]:
    lists = shipped_rules("no_names")
    return {name: frozenset(words.lower().split()) for name, words in lists.items()}


@cache
def given_names() -> frozenset[str]:
    """First names in lower case: of the US census of 1990 (public domain) and of other countries.

    Names that are everyday words, such as Grace or Mark, are not among them.
    """
    return frozenset(shipped_text("given_names.txt").split())


def _identifies_nobody(rule: str, words: str) -> bool:
    """Whether what a pattern found is open to everybody, or too wide or too short to identify."""
    found = words.lower()
    if rule == "pii_phone":
        digits = re.sub(r"\D", "", found).removeprefix("1")
        return digits.startswith(_PUBLIC_PREFIXES)
    if rule == "pii_url":
        return any(domain in found for domain in _lists()["public_sites"])
    if rule == "pii_date":
        return any(day in found for day in _PUBLIC_DAYS)
    if rule == "pii_location":
        return _names_no_place(words)
    if rule == "pii_id":
        return sum(c.isdigit() for c in found) < _ID_DIGITS
    return False


def _names_no_place(found: str) -> bool:
    """Nothing but states, countries and words that are capitalised for another reason."""
    if re.search(r"\d", found):
        return False
    wide = _lists()["wide_places"] | _lists()["no_place"]
    capitals = [word for word in found.split() if word[:1].isupper()]
    return all(word.strip(".,'").lower().removesuffix("'s") in wide for word in capitals)


def _names(text: str) -> Iterator[tuple[int, int]]:
    """Places of personal names: by what stands before them, and by the census."""
    known, words, never = given_names(), _lists()["words"], _lists()["never"]
    for match in _patterns()["pii_name"].finditer(text):
        capitals = re.findall(r"\b[A-Z][\w'-]+", match.group())
        given = capitals[0 if match.group()[:1].islower() else -1]
        if given.lower().removesuffix("'s") not in words | never:
            yield match.span()
    for match in _CAPITALISED.finditer(text):
        if match.group().split()[0].lower().removesuffix("'s") in known - never:
            yield match.span()


def pii(draft: Draft) -> Iterator[Finding]:
    """The first identifier of each kind; what is part of one is not another."""
    text = straightened(draft.text)
    taken = [(start, end) for _, start, end in resources_in(text)]
    for rule, pattern in _patterns().items():
        spans = _names(text) if rule == "pii_name" else (m.span() for m in pattern.finditer(text))
        for start, end in spans:
            overlaps = any(first < end and start < last for first, last in taken)
            if not overlaps and not _identifies_nobody(rule, text[start:end]):
                taken.append((start, end))
                yield Finding("pii", rule, Severity.RED, draft.stage, start, end)
                break
