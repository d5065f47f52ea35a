"""What a source yields: rows, and places where there should have been one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from synth.errors import UserError


class SourceError(UserError):
    """A dataset that cannot be read as what it seems to be."""


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
    """

    number: int
    place: str
    question: str
    answer: str
    topic: str | None = None
    title: str = ""

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


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line that is no record."""

    place: str
    problem: str
