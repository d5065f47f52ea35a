"""What reviewers decided, stored beside the run: one small file per verdict.

`review/NNNNNN.json` is created once and never changed; the latest verdict on a record stands. So a
crash loses nothing that was confirmed, two reviewers can work on one run at a time, and an object
store does as well as a disk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from synth.errors import StoreError
from synth.files import Folder

_NAME = re.compile(r"(\d{6})\.json")


class Decision(StrEnum):
    """What becomes of a record."""

    ACCEPT = "accept"
    REJECT = "reject"
    EDIT = "edit"


class Verdict(BaseModel):
    """One reviewer's word on one record.

    Attributes:
        id: of the record.
        question, answer: its texts as they should be, when it was edited.
        reviewer: who it was; may be empty.
        at: when, in ISO 8601, UTC.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    decision: Decision
    reason: str = ""
    question: str | None = None
    answer: str | None = None
    reviewer: str = ""
    at: str

    @model_validator(mode="after")
    def _an_edit_has_both_texts(self) -> Verdict:
        edited = self.decision is Decision.EDIT
        if edited != bool(self.question and self.answer):
            raise ValueError("an edit gives question and answer, and nothing else does")
        return self


def now() -> str:
    """The present moment, as verdicts carry it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Verdicts:
    """The verdicts on a run.

    Args:
        folder: `review/` of the run folder.

    Attributes:
        latest: record id -> the verdict that stands.

    Raises:
        StoreError: a file in the folder is no verdict.
    """

    def __init__(self, folder: Folder):
        self._folder = folder
        self._seen: set[str] = set()
        self._latest: dict[str, Verdict] = {}
        self.refresh()

    @property
    def latest(self) -> Mapping[str, Verdict]:
        return self._latest

    def refresh(self) -> None:
        """Read what other reviewers have stored meanwhile."""
        names = sorted(name for name in self._folder.names() if _NAME.fullmatch(name))
        for name in names:
            if name in self._seen:
                continue
            data = self._folder.read(name)
            if not data:
                continue  # still being written, or its writer died before it confirmed anything
            try:
                verdict = Verdict.model_validate_json(data)
            except ValidationError as error:
                raise StoreError(
                    f"{self._folder}/{name}",
                    f"is no verdict ({error.errors()[0]['msg']})",
                    "Restore it from a copy, or move it away",
                ) from error
            self._seen.add(name)
            self._latest[verdict.id] = verdict

    def add(self, verdict: Verdict) -> None:
        """Store a verdict; it is durable when this returns."""
        self._folder.make()
        data = (verdict.model_dump_json(exclude_defaults=True) + "\n").encode()
        taken = (_NAME.fullmatch(name) for name in self._folder.names())
        number = max((int(match[1]) for match in taken if match), default=0)
        while True:
            number += 1
            name = f"{number:06d}.json"
            try:
                self._folder.create(name, data)
            except FileExistsError:
                continue
            self.refresh()
            return
