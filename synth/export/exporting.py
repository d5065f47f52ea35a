"""Export a run: what reviewers left of it, in a trainer's form, with a card."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from synth.embedding import Embedder
from synth.errors import ConfigError, StoreError
from synth.existing import open_existing
from synth.export.card import Told, export_card
from synth.export.columns import Columns
from synth.export.files import Routed, as_dataset, check_cells, shards, write_all
from synth.export.how import OWN, Export, Exported
from synth.export.hub import push
from synth.export.kept import Kept
from synth.export.manifest import Run, read_run
from synth.export.own import TRAIN, Filled, look_again
from synth.export.places import Place, aside, check_place, publish
from synth.export.shapes import SHAPES, Pair, Shape
from synth.export.split import held_out
from synth.files import LocalFolder
from synth.protocol import Vectors
from synth.sources import SourceError
from synth.sources.forms import UNKNOWN_LICENCE
from synth.store import RunFiles

EVAL = "eval"
_SAMPLE = Pair("id", "topic", "topic", "question", "answer", "model", "accept")


@dataclass(frozen=True)
class _Work:
    """An export that can be carried out."""

    run: Run
    how: Export
    kept: Kept
    filled: Filled | None
    shape: Shape
    columns: Columns

    @property
    def splits(self) -> list[str]:
        """Their names; new records go to train, or to train and eval."""
        if self.filled and self.how.merge:
            return list(dict.fromkeys([*self.filled.splits, TRAIN]))
        return [TRAIN, EVAL] if self.how.eval_share else [TRAIN]

    def records(self) -> Routed:
        """Every record with its split, the old rows first."""
        if self.filled and self.how.merge:
            yield from self.filled.rows()
        sides = self._sides() if self.how.eval_share else None
        for pair in self.kept.pairs():
            yield next(sides, TRAIN) if sides else TRAIN, self.shape(pair)

    def _sides(self) -> Iterator[str]:
        vectors = self.kept.vectors(self._embed)
        chosen = held_out(vectors, self.how.eval_share, self.how.near, self.how.seed)
        return (EVAL if held else TRAIN for held in chosen)

    def _embed(self, texts: Sequence[str]) -> Vectors:
        return Embedder(self.run.config.embedder).embed(texts)

    def card(self, records: Mapping[str, int]) -> str:
        """The dataset card."""
        return export_card(
            self.run,
            self.how,
            Told(
                records=records,
                topics=self.kept.topics,
                models=self.kept.models,
                reviewed=self.kept.reviewed,
                left_out=self.kept.left_out,
                skipped=self.filled.skipped if self.filled else 0,
                constants=self.filled.repeated if self.filled else [],
                licence=_licence(self.run, self.filled),
            ),
        )

    def done(
        self, records: Mapping[str, int], files: Mapping[str, Path], card: Path | None
    ) -> Exported:
        """What to tell the user."""
        notes = []
        skipped = self.filled.skipped if self.filled and self.how.merge else 0
        if skipped:
            notes.append(f"{skipped} malformed rows of {self.filled_at} were left out")
        if self.filled and self.run.dataset_digest is None:
            notes.append(f"the run does not tell whether {self.filled_at} is as it was then")
        if records.get(EVAL) == 0 and self.how.eval_share:
            notes.append("eval is empty: no group of near neighbours is as small as its share")
        return Exported(records, self.kept.left_out, files, card, skipped, notes)

    @property
    def filled_at(self) -> str:
        """Location of the filled dataset."""
        return self.filled.dataset.location if self.filled else ""


def export(files: RunFiles, how: Export) -> Exported:
    """Write a run's records as `how` says.

    Raises:
        UserError: the run cannot be read, or the export cannot be written.
    """
    how.check()
    run = read_run(files)
    place = _early_place(files, run, how)
    work = _prepare(files, run, how)
    if place is None:
        name = how.hub or ""
        records = push(name, work.columns, work.splits, work.records(), work.card, how.force)
        return work.done(records, {}, None)
    place = replace(place, splits=work.splits)
    _check(files, run, how, place)
    return _to_disk(work, place)


def _early_place(files: RunFiles, run: Run, how: Export) -> Place | None:
    """The place, checked before a large dataset is read; only --merge has more splits."""
    if how.to is None:
        return None
    splits = [TRAIN, EVAL] if how.eval_share else [TRAIN]
    place = Place(how.to.expanduser(), splits)
    _check(files, run, how, place)
    return place


def _check(files: RunFiles, run: Run, how: Export, place: Place) -> None:
    root = files.root.path if isinstance(files.root, LocalFolder) else None
    dataset = run.config.dataset
    places = (dataset.location, dataset.like, dataset.train) if dataset else ()
    read = [path for given in places if given and (path := Path(given).expanduser()).exists()]
    check_place(place, root, read, how.force)


def _prepare(files: RunFiles, run: Run, how: Export) -> _Work:
    kept = Kept(files, how.reviewed_only)
    if not len(kept) and not how.merge:
        what = f"holds no record to export ({kept.left_out} are left out)"
        raise StoreError(str(files.root), what, "Let the run go on, or look at its review")
    filled = _filled(run) if how.shape == OWN else None
    shape = filled.shape() if filled else SHAPES[how.shape]
    columns = filled.columns if filled else Columns.of([shape(_SAMPLE)])
    if how.to is None or how.to.suffix in ("", ".parquet"):
        columns.schema()
    if how.to is not None and how.to.suffix == ".csv":
        check_cells(columns)
    return _Work(run, how, kept, filled, shape, columns)


def _filled(run: Run) -> Filled:
    if run.config.dataset is None:
        what = "is for runs that filled a dataset, and this one did not"
        raise ConfigError("--format own", what, f"Give one of {', '.join(SHAPES)}")
    return look_again(run.config.dataset, run.dataset_digest)


def _to_disk(work: _Work, place: Place) -> Exported:
    with aside(place) as folder:
        write: Callable[[_Work, Place, Path], Mapping[str, int]]
        write = _write_folder if place.is_folder else _write_files
        records = write(work, place, folder)
        card = folder / place.card.relative_to(place.to.parent)
        card.write_text(work.card(records), encoding="utf-8")
        publish(place, folder, work.how.force)
    return work.done(records, place.parts, place.card)


def _write_files(work: _Work, place: Place, folder: Path) -> Mapping[str, int]:
    paths = {split: folder / path.name for split, path in place.parts.items()}
    return write_all(paths, work.columns, work.records())


def _write_folder(work: _Work, place: Place, folder: Path) -> Mapping[str, int]:
    spool = folder / ".spool"
    spool.mkdir()
    data = as_dataset(spool, work.columns, work.splits, work.records())
    records = {split: len(part) for split, part in data.items()}
    to, files = str(folder / place.to.name), shards(data)
    if len(records) == 1:
        (name,) = records
        data[name].save_to_disk(to, num_shards=files[name])
    else:
        data.save_to_disk(to, num_shards=files)
    return records


def _licence(run: Run, filled: Filled | None) -> str | None:
    """What is known of the filled dataset's licence; None when none was filled."""
    if run.config.dataset is None:
        return None
    if filled is not None:
        return filled.form.licence
    try:
        return open_existing(run.config.dataset).form.licence
    except SourceError:  # it is not there any more
        return UNKNOWN_LICENCE
