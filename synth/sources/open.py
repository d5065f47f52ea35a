"""Open a dataset: find its form by its first record, then yield its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from synth.errors import UserError, did_you_mean
from synth.sources.arrow_files import first_line, read_hub
from synth.sources.files import read_records
from synth.sources.forms import FORMS, Form, pair_of_columns
from synth.sources.rows import Malformed, OnBad, Raw, Row, SourceError, Unreadable
from synth.sources.text_files import Records
from synth.sources.values import check_encodes

_KEPT = 100  # malformed rows that are remembered
_QUOTED = 120  # characters of a problem
_NAMED = 12  # columns that a message names
_BAD_RECORD = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)

Numbered = Iterator[tuple[int, Raw | Unreadable]]


class _Tally:
    """Counts malformed rows, and remembers the first of them."""

    def __init__(self, on_bad: OnBad):
        self._on_bad = on_bad
        self.first: list[Malformed] = []
        self.count = 0

    def add(self, number: int, place: str, problem: str) -> None:
        """
        Raises:
            SourceError: malformed rows are to stop the reading.
        """
        problem = _shortened(problem)
        if self._on_bad is OnBad.STOP:
            raise SourceError(place, problem, "Mend that row, or pass --on-bad skip")
        self.count += 1
        if len(self.first) < _KEPT:
            self.first.append(Malformed(number, place, problem))

    def nothing_readable(self, location: str) -> SourceError:
        """What to say when there was no other row."""
        if not self.count:
            return SourceError(location, "holds no rows", "Give a dataset with rows")
        first = self.first[0]
        what = f"holds no readable row; the first of {self.count}, {first.place}, {first.problem}"
        return SourceError(location, what, "Mend them, or name the form or columns that they have")


class Source:
    """The rows of a dataset, read once, one after another.

    Args:
        location: where they are from.
        form: how its records are read.
        columns: of its first record.
        records: all of them, with their numbers.
        tally: of malformed rows, those before the first record among them.
    """

    def __init__(
        self, location: str, form: Form, columns: Sequence[str], records: Numbered, tally: _Tally
    ):
        self.location = location
        self.form = form
        self.columns = tuple(columns)
        self._records = records
        self._tally = tally
        self._any_row = False

    @property
    def malformed(self) -> Sequence[Malformed]:
        """The first 100 rows that were skipped, up to the row that was read last."""
        return self._tally.first

    @property
    def malformed_count(self) -> int:
        """How many rows were skipped, up to the row that was read last."""
        return self._tally.count

    def __iter__(self) -> Iterator[Row]:
        """
        Raises:
            SourceError: a malformed row, when those are to stop the reading; at the end, when
                there was no other.
        """
        for number, raw in self._records:
            row = self._row(number, raw)
            if row is not None:
                self._any_row = True
                yield row
        if not self._any_row:
            raise self._tally.nothing_readable(self.location)

    def _row(self, number: int, raw: Raw | Unreadable) -> Row | None:
        """A row, or None after it was counted as malformed."""
        try:
            record = _checked(raw)
            pair = self.form.pair(record)
            check_encodes(list(pair))
            if not pair.question and not pair.answer:
                raise ValueError("has neither a question nor an answer")
        except _BAD_RECORD as error:
            self._tally.add(number, raw.place, _problem(error))
            return None
        split = raw.split if isinstance(raw, Raw) else None
        return Row(number, raw.place, *pair, record=record, split=split)


def _checked(raw: Raw | Unreadable) -> Mapping[str, Any]:
    """The record, if it is one whose texts can be written again; else a ValueError."""
    if isinstance(raw, Unreadable):
        raise ValueError(raw.problem)
    if not isinstance(raw.record, Mapping):
        raise ValueError(f"is {type(raw.record).__name__} and not an object")
    check_encodes(raw.record)
    return raw.record


def _problem(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"lacks {error}"
    return "is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _QUOTED else f"{text[: _QUOTED - 1]}…"


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
    tally = _Tally(on_bad)
    records = enumerate(_records(location))
    for number, raw in records:
        try:
            first = _checked(raw)
        except _BAD_RECORD as error:
            tally.add(number, raw.place, _problem(error))
            continue
        chosen = _form(location, first, form, columns)
        return Source(location, chosen, list(first), chain([(number, raw)], records), tally)
    raise tally.nothing_readable(location)


def _records(location: str) -> Records:
    """All records; whatever goes wrong with them is a SourceError."""
    try:
        yield from _records_at(location)
    except SourceError:
        raise
    except UserError as error:
        raise SourceError(error.where, error.what, error.remedy) from error
    except OSError as error:
        what = f"cannot be read ({error.strerror or first_line(error)})"
        remedy = "Give the path of a file or folder that you may read"
        raise SourceError(str(error.filename or location), what, remedy) from error
    except Exception as error:
        what = f"cannot be read ({type(error).__name__}: {_shortened(first_line(error))})"
        raise SourceError(
            location, what, "Give a whole dataset in one of the known forms"
        ) from error


def _records_at(location: str) -> Records:
    if not location.strip():
        raise SourceError("dataset", "has an empty name", "Give a file, a folder or a hub id")
    path = Path(location).expanduser()
    has_form_of_hub_id = location.count("/") == 1 and not path.suffix
    is_here = path.exists() or path.parent.exists()  # a slip of the pen is not looked up there
    return read_hub(location) if has_form_of_hub_id and not is_here else read_records(path)


def _form(
    location: str, record: Mapping[str, Any], name: str | None, columns: Mapping[str, str] | None
) -> Form:
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
        f"has columns {_names(record)}, which is no form known here",
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
            what = f"has no column {column!r}, only {_names(record)}"
            raise SourceError(location, what, "Name one of these")
    return pair_of_columns(columns)


def _names(record: Mapping[str, Any]) -> str:
    names = [repr(name) for name in record]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
