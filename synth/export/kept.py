"""The records of a run that reviewers left, read as often as they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pyarrow as pa

from synth.errors import StoreError
from synth.export.shapes import Pair
from synth.lock import in_use_by
from synth.protocol import Vectors
from synth.review.verdicts import Decision, Verdict, Verdicts
from synth.segments import read_rows, segments
from synth.store import RunFiles

_COLUMNS = ("id", "topic", "requested_topic", "question", "answer", "model")
_REVIEWED = {Decision.ACCEPT: "accepted", Decision.EDIT: "edited"}

Embed = Callable[[Sequence[str]], Vectors]


class Kept:
    """What reviewers left of a run.

    Args:
        files: the run folder; nobody may write to it meanwhile.
        reviewed_only: leave out what nobody has accepted or edited.

    Attributes:
        left_out: records that reviewers rejected, or that nobody has looked at.
        reviewed: `accepted`, `edited` or `unreviewed` -> records.
        topics: topic -> records.
        models: that wrote them -> records; several when a run was resumed with another.

    Raises:
        StoreError: the run goes on, or a part of it cannot be read.
    """

    def __init__(self, files: RunFiles, reviewed_only: bool):
        self._files = files
        with _told_as_run(files):
            if holder := in_use_by(files):
                where = str(files.root)
                raise StoreError(where, f"is in use by {holder}", "Wait for it, or stop it")
            self._segments = segments(files.accepted)
            self._verdicts: Mapping[str, Verdict] = dict(Verdicts(files.review).latest)
        self._reviewed_only = reviewed_only
        self.left_out = 0
        self.reviewed: Counter[str] = Counter()
        self.topics: Counter[str] = Counter()
        self.models: Counter[str] = Counter()
        for batch in self._rows(("id", "topic", "model")):
            for row in batch.to_pylist():
                self._count(row["id"], row["topic"], row["model"])

    def __len__(self) -> int:
        return self.topics.total()

    def _count(self, record_id: str, topic: str, model: str) -> None:
        if not self._keeps(record_id):
            self.left_out += 1
            return
        verdict = self._verdicts.get(record_id)
        self.reviewed[_REVIEWED[verdict.decision] if verdict else "unreviewed"] += 1
        self.topics[topic] += 1
        self.models[model] += 1

    def _keeps(self, record_id: str) -> bool:
        verdict = self._verdicts.get(record_id)
        if verdict is None:
            return not self._reviewed_only
        return verdict.decision is not Decision.REJECT

    def pairs(self) -> Iterator[Pair]:
        """Every record, as reviewers left it.

        Raises:
            StoreError: somebody writes to the run meanwhile, or a part of it cannot be read.
        """
        for batch in self._rows(_COLUMNS):
            for row in batch.to_pylist():
                if self._keeps(row["id"]):
                    yield _as_left(Pair(**row), self._verdicts.get(row["id"]))

    def vectors(self, embed: Embed) -> Vectors:
        """Unit vectors of their questions, n x d, in the order of `pairs`.

        Args:
            embed: makes those of the questions that a reviewer changed.
        """
        parts: list[Vectors] = []
        edited: dict[int, str] = {}
        at = 0
        for batch in self._rows(("id", "embedding")):
            ids = batch.column("id").to_pylist()
            chosen = [record_id for record_id in ids if self._keeps(record_id)]
            keeps = np.array([self._keeps(record_id) for record_id in ids], dtype=bool)
            flat = batch.column("embedding").flatten().to_numpy()
            parts.append(flat.reshape(len(ids), -1)[keeps])
            for place, record_id in enumerate(chosen, start=at):
                verdict = self._verdicts.get(record_id)
                if verdict is not None and verdict.question:
                    edited[place] = verdict.question
            at += len(chosen)
        vectors = np.concatenate(parts) if parts else np.zeros((0, 1), dtype=np.float32)
        if edited:
            vectors[list(edited)] = embed(list(edited.values()))
        return vectors

    def _rows(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        self._check_still()
        for batch in read_rows(self._files.accepted, columns):
            if missing := set(columns) - set(batch.schema.names):
                what = f"holds records without {min(missing)!r}"
                remedy = "Export with the version that wrote the run"
                raise StoreError(str(self._files.accepted), what, remedy)
            yield batch
        self._check_still()

    def _check_still(self) -> None:
        """Make sure that all is read from one state of the run, although a run may start."""
        with _told_as_run(self._files):
            if segments(self._files.accepted) != self._segments:
                what = "was written to while it was read"
                raise StoreError(str(self._files.root), what, "Export again when the run has ended")


@contextmanager
def _told_as_run(files: RunFiles) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            str(files.root), f"cannot be read ({error})", "Mend that, and export again"
        ) from error


def _as_left(pair: Pair, verdict: Verdict | None) -> Pair:
    if verdict is None:
        return pair
    if verdict.decision is Decision.EDIT:
        question, answer = verdict.question or "", verdict.answer or ""
        return replace(pair, question=question, answer=answer, reviewed=verdict.decision)
    return replace(pair, reviewed=verdict.decision)
