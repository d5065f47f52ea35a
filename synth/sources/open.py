"""Open a dataset: find its form by its first record, then yield its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from synth.errors import did_you_mean
from synth.sources.files import Records, read_records
from synth.sources.forms import FORMS, Form, pair_of_columns
from synth.sources.rows import Malformed, OnBad, Raw, Row, SourceError, Unreadable


class Source:
    """The rows of a dataset, read once, one after another.

    Args:
        form: how its records are read.
        records: all of them.
        on_bad: stop at a malformed row, or count it and go on.

        location: where they are from.

    Attributes:
        columns: of its first record.
        malformed: what was skipped, up to the row that was read last.
    """

    def __init__(
        self, location: str, form: Form, columns: Sequence[str], records: Records, on_bad: OnBad
    ):
        self.location = location
        self.form = form
        self.columns = tuple(columns)
        self._records = records
        self._on_bad = on_bad
        self.malformed: list[Malformed] = []

    def __iter__(self) -> Iterator[Row]:
        """
        Raises:
            SourceError: a malformed row, when those are to stop the reading.
        """
        for number, raw in enumerate(self._records):
            if isinstance(raw, Unreadable):
                self._bad(number, raw.place, raw.problem)
                continue
            try:
                yield self._row(number, raw)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                problem = f"lacks {error}" if isinstance(error, KeyError) else str(error)
                self._bad(number, raw.place, problem)

    def _row(self, number: int, raw: Raw) -> Row:
        if not isinstance(raw.record, Mapping):
            raise ValueError(f"is {type(raw.record).__name__} and not an object")
        pair = self.form.pair(raw.record)
        if not pair.question and not pair.answer:
            raise ValueError("has neither a question nor an answer")
        return Row(number, raw.place, *pair)

    def _bad(self, number: int, place: str, problem: str) -> None:
        if self._on_bad is OnBad.STOP:
            raise SourceError(place, problem, "Mend that row, or pass --on-bad skip")
        self.malformed.append(Malformed(number, place, problem))


def open_source(
    location: str,
    form: str | None = None,
    columns: Mapping[str, str] | None = None,
    on_bad: OnBad = OnBad.STOP,
) -> Source:
    """Open a dataset.

    Args:
        location: a file, a folder, or a hub id where there is a network.
        form: its form, if the first record does not tell.
        columns: which columns are `question`, `answer` and, if any, `topic`.
        on_bad: what to do with malformed rows.

    Raises:
        SourceError: it cannot be read, or its form is not known.
    """
    records = _records(location)
    first = next(records, None)
    if first is None:
        raise SourceError(location, "holds no rows", "Give a dataset with rows")
    if isinstance(first, Unreadable) and on_bad is OnBad.STOP:
        raise SourceError(first.place, first.problem, "Mend that row, or pass --on-bad skip")
    skipped: list[Raw | Unreadable] = [first]
    while isinstance(first, Unreadable):
        following = next(records, None)
        if following is None:
            raise SourceError(location, "holds no readable row", "Give a dataset with rows")
        skipped.append(following)
        first = following
    chosen = _form(location, first, form, columns)
    return Source(location, chosen, list(first.record), chain(skipped, records), on_bad)


def raw_records(location: str) -> Iterator[Mapping[str, Any]]:
    """The records of a dataset as they are; what is no record is passed over."""
    for raw in _records(location):
        if isinstance(raw, Raw) and isinstance(raw.record, Mapping):
            yield raw.record


def _records(location: str) -> Records:
    path = Path(location).expanduser()
    has_form_of_hub_id = location.count("/") == 1 and not path.suffix
    is_here = path.exists() or path.parent.exists()  # a slip of the pen is not looked up there
    return _from_hub(location) if has_form_of_hub_id and not is_here else read_records(path)


def _from_hub(name: str) -> Records:
    from datasets import load_dataset

    try:
        splits = load_dataset(name, streaming=True)
    except Exception as error:
        what = f"is neither a path nor a dataset of the hub ({str(error).splitlines()[0]})"
        raise SourceError(name, what, "Give an existing path, or check name and network") from error
    for split, data in splits.items():
        for number, record in enumerate(data):
            yield Raw(f"{name}, {split} row {number}", record)


def _form(location: str, first: Raw, name: str | None, columns: Mapping[str, str] | None) -> Form:
    record: Any = first.record
    if not isinstance(record, Mapping):
        what = f"holds {type(record).__name__} where a row should be"
        raise SourceError(first.place, what, "Give rows with named columns")
    if columns:
        return _by_columns(location, record, columns)
    if name is not None:
        by_name = {form.name: form for form in FORMS}
        if name not in by_name:
            hint = did_you_mean(name, by_name)
            raise SourceError(
                "--form", f"there is no form {name!r}{hint}", f"One of {', '.join(by_name)}"
            )
        return by_name[name]
    for form in FORMS:
        if form.fits(record):
            return form
    raise SourceError(
        location,
        f"has columns {', '.join(map(repr, record))}, which is no form known here",
        "Name them, for instance --columns question=COLUMN,answer=COLUMN",
    )


def _by_columns(location: str, record: Mapping[str, Any], columns: Mapping[str, str]) -> Form:
    unknown = sorted(columns.keys() - {"question", "answer", "topic"})
    if unknown:
        raise SourceError("--columns", f"names {unknown[0]!r}", "Name question, answer and topic")
    for part in ("question", "answer"):
        if part not in columns:
            raise SourceError("--columns", f"names no {part}", f"Add {part}=COLUMN")
    for column in columns.values():
        if column not in record:
            have = ", ".join(map(repr, record))
            raise SourceError(
                location, f"has no column {column!r}, only {have}", "Name one of these"
            )
    return pair_of_columns(columns)
