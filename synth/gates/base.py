"""What a gate is: a named check of a text that passes it or says what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict


class Stage(StrEnum):
    """The part of a record that is being written."""

    QUESTION = "question"
    ANSWER = "answer"


class Scope(StrEnum):
    """What a gate judges: one text by itself, or the answer in the light of its question."""

    QUESTION = "question"
    ANSWER = "answer"
    RECORD = "record"


class Severity(StrEnum):
    """Red rejects a candidate; yellow is noted with it."""

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

    def part(self, where: Stage) -> str:
        """The client's text or the counsellor's."""
        return self.text if where is self.stage else self.question


@dataclass(frozen=True, slots=True)
class Flag:
    """A finding as it is stored with a record, or told of a row: with its words."""

    gate: str
    rule: str
    severity: Severity
    where: Stage
    span: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What a gate found, and the exact span that shows it.

    Attributes:
        gate: the gate's name.
        rule: which of its rules is broken; the reason of a refusal.
        severity: whether that refuses the text.
        where: the text that the span is in.
        start, end: the span, in characters.
    """

    gate: str
    rule: str
    severity: Severity
    where: Stage
    start: int
    end: int

    def span(self, draft: Draft) -> str:
        """The offending words."""
        return draft.part(self.where)[self.start : self.end]

    def flag(self, draft: Draft) -> Flag:
        """The finding as it is stored."""
        return Flag(self.gate, self.rule, self.severity, self.where, self.span(draft))


Check = Callable[[Draft], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Gate:
    """A check with a name, a version that changes with its rules, and what it judges."""

    name: str
    version: int
    scopes: frozenset[Scope]
    check: Check


class Options(BaseModel):
    """Base of the options of a gate, as the run config gives them."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class GateKind:
    """A gate that has options.

    A gate of one's own is an object of this type, or a `Gate`, named in the config by
    `package.module:NAME` or by an entry point of the group `evenfill.gates`.

    Attributes:
        options: the type that its options are validated by.
        make: makes the check from them; called once on each replica.
    """

    name: str
    version: int
    scopes: frozenset[Scope]
    options: type[Options]
    make: Callable[[Any], Check]

    def gate(self, options: Mapping[str, Any]) -> Gate:
        """The gate with these options.

        Raises:
            ValidationError: they are not right.
            UserError: what the gate needs is not there; says what.
        """
        check = self.make(self.options.model_validate(options))
        return Gate(self.name, self.version, self.scopes, check)


WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def words_with_spans(text: str) -> list[tuple[str, int, int]]:
    """Case-folded words of `text`, each with its start and end."""
    return [(m.group().casefold(), m.start(), m.end()) for m in WORD.finditer(text)]
