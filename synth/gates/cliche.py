"""Opening clichés: an answer that could open any other answer."""

from __future__ import annotations

from collections.abc import Iterator

import re2
from pydantic import Field

from synth.gates.base import Check, Draft, Finding, GateKind, Options, Scope, Severity, Stage
from synth.gates.phrases import straightened, to_pattern
from synth.shipped import shipped_rules


def _shipped_openings() -> tuple[str, ...]:
    return tuple(shipped_rules("openings")["openings"])


class ClicheOptions(Options):
    """Which openings count, and what follows.

    Attributes:
        openings: phrases in the form of `synth.gates.phrases`; the shipped ones unless given.
        severity: `yellow` notes them, `red` refuses them.
    """

    openings: tuple[str, ...] = Field(default_factory=_shipped_openings, min_length=1)
    severity: Severity = Severity.YELLOW


def make(options: ClicheOptions) -> Check:
    """The check with these options."""
    phrases = "|".join(to_pattern(phrase, {}) for phrase in options.openings)
    pattern = re2.compile(rf"(?i)^\W*(?:{phrases})\b")

    def check(draft: Draft) -> Iterator[Finding]:
        if match := pattern.search(straightened(draft.text)):
            yield Finding("cliche", "cliche", options.severity, Stage.ANSWER, *match.span())

    return check


KIND = GateKind("cliche", 1, frozenset({Scope.ANSWER}), ClicheOptions, make)
