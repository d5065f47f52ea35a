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
        question: the client's text.
        answer: the counsellor's text; may be empty where a dataset has none.
        topic: the label that the dataset ships, if it does.
    """

    number: int
    question: str
    answer: str
    topic: str | None = None


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
