"""What a source yields: rows, and places where there should have been one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from synth.errors import UserError


class SourceError(UserError):
    """A dataset that cannot be read as what it seems to be."""

    def __init__(self, where: str, what: str, remedy: str):
        super().__init__(_printable(where), _printable(what), _printable(remedy))


def _printable(text: str) -> str:
    """Text that any stream takes, whatever the data that it quotes."""
    return text.encode(errors="backslashreplace").decode()


class OnBad(StrEnum):
    """What to do with a malformed row."""

    STOP = "stop"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Row:
    """One pair of an existing dataset; of a dialogue, all that either side said.

    Attributes:
        number: position in the source, from 0; malformed rows count.
        place: file and line, or whatever else leads back to it.
        question: the client's text.
        answer: the counsellor's text; may be empty where a dataset has none.
        topic: the label that the dataset ships, if it does.
        title: a headline of the question, where the dataset has one.
        record: what the dataset holds there, in its own columns.
        split: which of several splits it is in; None where there is but one.
    """

    number: int
    place: str
    question: str
    answer: str
    topic: str | None = None
    title: str = ""
    record: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    split: str | None = None

    @property
    def subject(self) -> str:
        """What tells the topic: the headline and the client's text."""
        return f"{self.title}\n{self.question}" if self.title else self.question


@dataclass(frozen=True, slots=True)
class Malformed:
    """A place that holds no readable row."""

    number: int
    place: str
    problem: str


@dataclass(frozen=True, slots=True)
class Raw:
    """A record before its form is known."""

    place: str
    record: Any
    split: str | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line that is no record."""

    place: str
    problem: str
