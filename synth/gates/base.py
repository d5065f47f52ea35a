"""What a gate is: a named check of one text that passes it or says what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """The part of a record that is being judged."""

    QUESTION = "question"
    ANSWER = "answer"


class Severity(StrEnum):
    """Red rejects a candidate; yellow does not."""

    YELLOW = "yellow"
    RED = "red"


@dataclass(frozen=True, slots=True)
class Draft:
    """A text before the gates.

    Attributes:
        stage: which text `text` is.
        text: what the replica wrote.
        question: the client's text, when `text` is the counsellor's; else empty.
        prompt: everything the prompt said beside the question, for finding copies of it.
    """

    stage: Stage
    text: str
    question: str = ""
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a gate found: its reason, and the exact span of the text that shows it."""

    gate: str
    reason: str
    severity: Severity
    start: int
    end: int

    def span(self, text: str) -> str:
        """The offending part of `text`."""
        return text[self.start : self.end]


@dataclass(frozen=True, slots=True)
class Gate:
    """A check with a name, a version that changes with its rules, and the stages it judges."""

    name: str
    version: int
    stages: frozenset[Stage]
    check: Callable[[Draft], Finding | None]


WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def words_with_spans(text: str) -> list[tuple[str, int, int]]:
    """Case-folded words of `text`, each with its start and end."""
    return [(m.group().casefold(), m.start(), m.end()) for m in WORD.finditer(text)]
