"""Export a run: what reviewers left of it, in a trainer's form, with a card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from synth.config import RunConfig
from synth.errors import ConfigError, StoreError, did_you_mean
from synth.existing import open_existing
from synth.export.card import export_card
from synth.export.files import Records, check_place, push, write_file, write_folder
from synth.export.shapes import NESTED, SHAPES, Pair, Shape, shape_like
from synth.export.split import held_out
from synth.review.verdicts import Decision, Verdict, Verdicts
from synth.segments import read_rows
from synth.sources import Source, SourceError
from synth.sources.forms import UNKNOWN_LICENCE
from synth.sources.open import raw_records
from synth.store import RunFiles, read_manifest

OWN = "own"
_COLUMNS = ("id", "topic", "requested_topic", "question", "answer", "model")


@dataclass(frozen=True)
class Export:
    """How to export.

    Attributes:
        shape: one of `SHAPES`, or `own` for the columns of the dataset that was filled.
        to: file or folder; None when it is only pushed.
        hub: name on the hub to push to.
        eval_share: of the records that are held out.
        near: cosine from which two records stay on one side of the split.
        seed: of the split.
        merge: put the rows of the filled dataset before the new records.
        reviewed_only: leave out what nobody has accepted or edited.
    """

    shape: str
    to: Path | None = None
    hub: str | None = None
    eval_share: float = 0.0
    near: float = 0.8
    seed: int = 7
    merge: bool = False
    reviewed_only: bool = False


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        records: split -> records.
        left_out: records that reviewers rejected, or that nobody has looked at.
        card: the dataset card, where one was written.
    """

    records: Mapping[str, int]
    left_out: int
    card: Path | None


def export(files: RunFiles, how: Export) -> Exported:
    """Write a run's records as `how` says.

    Raises:
        UserError: the run cannot be read, or the export cannot be written.
    """
    manifest = read_manifest(files)
    if manifest is None:
        raise StoreError(str(files.root), "holds no run", "Give the folder of a run")
    config = RunConfig.model_validate(manifest["config"])
    verdicts = Verdicts(files.review).latest
    source = _source(config, how)
    shape = shape_like(source.form, source.columns) if source else _shape(how.shape)
    _check(how, source)
    kept = _Kept(files, verdicts, how.reviewed_only)
    splits = _splits(kept, shape, how)
    if source and how.merge:
        old = (_in_its_columns(record, source.columns) for record in raw_records(source.location))
        splits = {"train": chain(old, splits["train"])}
    if how.hub is not None:
        numbers = push(how.hub, splits)
        return Exported(numbers, kept.left_out, None)
    if how.to is None:
        raise ConfigError("--to", "is not given", "Name a file or folder, or use --push")
    numbers = _write(how.to, splits)
    folder = how.to if not how.to.suffix else None
    card = folder / "README.md" if folder else how.to.with_name(f"{how.to.stem}.README.md")
    text = export_card(manifest, config, how, numbers, kept.left_out, _licence(config))
    card.write_text(text, encoding="utf-8")
    return Exported(numbers, kept.left_out, card)


def _source(config: RunConfig, how: Export) -> Source | None:
    if how.shape != OWN:
        if how.merge:
            raise ConfigError("--merge", "needs --format own", "Give that, or leave it out")
        return None
    if config.dataset is None:
        what = "is for runs that filled a dataset, and this one did not"
        raise ConfigError("--format own", what, f"Give one of {', '.join(SHAPES)}")
    return open_existing(config.dataset)


def _shape(name: str) -> Shape:
    if name not in SHAPES:
        hint = did_you_mean(name, [*SHAPES, OWN])
        remedy = f"One of {', '.join([*SHAPES, OWN])}"
        raise ConfigError("--format", f"there is no format {name!r}{hint}", remedy)
    return SHAPES[name]


def _check(how: Export, source: Source | None) -> None:
    if how.to is not None:
        check_place(how.to, (source.form.name if source else how.shape) in NESTED)
    if how.merge and how.eval_share:
        what = "cannot be split, for old rows may be near each other"
        raise ConfigError("--merge", what, "Leave out --eval-share")


class _Kept:
    """The records that reviewers left, read as often as they are asked for."""

    def __init__(self, files: RunFiles, verdicts: Mapping[str, Verdict], reviewed_only: bool):
        self._files = files
        self._verdicts = verdicts
        self._reviewed_only = reviewed_only
        decided = Counter(self._keeps(row) for batch in read_rows(files.accepted, ("id",))
                          for row in batch.column("id").to_pylist())  # fmt: skip
        self.left_out = decided[False]

    def _keeps(self, record_id: str) -> bool:
        verdict = self._verdicts.get(record_id)
        if verdict is None:
            return not self._reviewed_only
        return verdict.decision is not Decision.REJECT

    def pairs(self) -> Iterator[Pair]:
        for batch in read_rows(self._files.accepted, _COLUMNS):
            for row in batch.to_pylist():
                if self._keeps(row["id"]):
                    yield _edited(Pair(**row), self._verdicts.get(row["id"]))

    def vectors(self) -> np.ndarray:
        parts = []
        for batch in read_rows(self._files.accepted, ("id", "embedding")):
            keeps = [self._keeps(record_id) for record_id in batch.column("id").to_pylist()]
            flat = batch.column("embedding").flatten().to_numpy()
            parts.append(flat.reshape(len(keeps), -1)[np.array(keeps, dtype=bool)])
        return np.concatenate(parts) if parts else np.zeros((0, 1), dtype=np.float32)


def _edited(pair: Pair, verdict: Verdict | None) -> Pair:
    if verdict is None:
        return pair
    if verdict.decision is Decision.EDIT:
        question, answer = verdict.question or "", verdict.answer or ""
        return replace(pair, question=question, answer=answer, reviewed=verdict.decision)
    return replace(pair, reviewed=verdict.decision)


def _splits(kept: _Kept, shape: Shape, how: Export) -> dict[str, Records]:
    if not how.eval_share:
        return {"train": (shape(pair) for pair in kept.pairs())}
    chosen = held_out(kept.vectors(), how.eval_share, how.near, how.seed)

    def side(wanted: bool) -> Iterator[dict[str, Any]]:
        return (
            shape(pair)
            for pair, held in zip(kept.pairs(), chosen, strict=True)
            if bool(held) is wanted
        )

    return {"train": side(False), "eval": side(True)}


def _in_its_columns(record: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """An old row, with nothing where new ones say where they are from."""
    nothing = dict.fromkeys(Pair("", "", "", "", "", "").provenance)
    return {column: record.get(column) for column in columns} | nothing


def _write(to: Path, splits: Mapping[str, Records]) -> dict[str, int]:
    if not to.suffix:
        return write_folder(to, splits)
    if len(splits) == 1:
        return {name: write_file(to, records) for name, records in splits.items()}
    return {
        name: write_file(to.with_name(f"{to.stem}-{name}{to.suffix}"), records)
        for name, records in splits.items()
    }


def _licence(config: RunConfig) -> str | None:
    """What is known of the filled dataset's licence; None when none was filled."""
    if config.dataset is None:
        return None
    try:
        return open_existing(config.dataset).form.licence
    except SourceError:  # it is not there any more
        return UNKNOWN_LICENCE
