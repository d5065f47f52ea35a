"""Tables of text: CSV with commas, semicolons or tabs, and EmpatheticDialogues.

The csv module reads strictly, so that a slip in the quoting is a malformed row and never an
altered text. The row after it begins on the line after the one where the slip's row began: a
quote that was left open swallows nothing.
"""

from __future__ import annotations

import csv
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from synth.sources.rows import Raw, SourceError, Unreadable
from synth.sources.text_files import Records, text_lines
from synth.sources.values import check_encodes

EMPATHETIC = "conv_id,utterance_idx,context,prompt,speaker_idx,utterance"
_DELIMITERS = ",;\t"
_NEVER_CLOSED = "unexpected end of data"
csv.field_size_limit(1 << 24)  # characters of a cell; where no end of a quote is in sight


@dataclass(frozen=True, slots=True)
class _Cells:
    """A row of a table and the line where it begins, from 1."""

    line: int
    cells: Sequence[str]


class _Lines:
    """Lines as `csv.reader` takes them, with the way back to where its row began.

    Attributes:
        start: number of the line where the row began, from 1.
    """

    def __init__(self, lines: Iterator[str]):
        self._lines = lines
        self._again: deque[str] = deque()
        self._row: list[str] = []
        self.start = 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self._row.append(line)
        return line

    def begin_row(self) -> None:
        """The next line begins a row."""
        self.start += len(self._row)
        self._row.clear()

    def give_up_row(self) -> None:
        """The row's second line begins a row."""
        self._again.extendleft(reversed(self._row[1:]))
        del self._row[1:]


def read_csv(path: Path) -> Records:
    """The rows of a table whose first row names the columns.

    Raises:
        SourceError: its header cannot be read.
    """
    rows = _rows(path)
    header = _header(path, next(rows, None))
    for row in rows:
        if isinstance(row, Unreadable):
            yield row
        elif len(row.cells) == len(header):
            yield Raw(f"{path}:{row.line}", dict(zip(header, row.cells, strict=True)))
        else:
            what = f"has {len(row.cells)} cells under {len(header)} columns"
            yield Unreadable(f"{path}:{row.line}", what)


def _rows(path: Path) -> Iterator[_Cells | Unreadable]:
    lines = _Lines(text_lines(path))
    reader = csv.reader(lines, delimiter=_delimiter(path), strict=True)
    while True:
        lines.begin_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            lines.give_up_row()
            yield Unreadable(f"{path}:{lines.start}", _slip(error))
            continue
        if len(cells) > 1 or any(cell.strip() for cell in cells):
            yield _Cells(lines.start, cells)


def _slip(error: csv.Error) -> str:
    if str(error) == _NEVER_CLOSED:
        return "opens a quote that is never closed"
    return f"has a slip in its quoting ({error})"


def _delimiter(path: Path) -> str:
    """Whichever parts the header into most cells."""
    header = next((line for line in text_lines(path) if line.strip()), "")
    return max(_DELIMITERS, key=lambda delimiter: _cell_count(header, delimiter))


def _cell_count(line: str, delimiter: str) -> int:
    return len(next(csv.reader([line], delimiter=delimiter)))


def _header(path: Path, row: _Cells | Unreadable | None) -> Sequence[str]:
    if row is None:
        raise SourceError(str(path), "is empty", "Give a file with rows")
    if isinstance(row, Unreadable):
        raise SourceError(row.place, row.problem, "Mend the header")
    place = f"{path}:{row.line}"
    try:
        check_encodes(list(row.cells))
    except ValueError as error:
        raise SourceError(place, str(error), "Mend the header") from error
    if len(row.cells) == 1:
        what = f"has a single column, {row.cells[0][:40]!r}"
        raise SourceError(place, what, "Give a table with a header")
    check_names(place, row.cells)
    return row.cells


def check_names(place: str, names: Sequence[str]) -> None:
    """See that no two columns have the same name.

    Raises:
        SourceError: two have.
    """
    name, count = Counter(names).most_common(1)[0] if names else ("", 0)
    if count > 1:
        raise SourceError(place, f"has {count} columns named {name!r}", "Give each its own name")


def read_empathetic(path: Path) -> Records:
    """EmpatheticDialogues: split on raw commas, one row an utterance, grouped by conversation."""
    lines = ((n, line) for n, line in enumerate(text_lines(path), start=1) if line.strip())
    header = next(lines)[1].strip().split(",")
    dialogue: list[dict[str, str]] = []
    place = ""
    for number, line in lines:
        cells = line.rstrip("\r\n").split(",")
        if len(cells) < len(header) - 2:
            yield Unreadable(f"{path}:{number}", f"has {len(cells)} of {len(header)} cells")
            continue
        row = dict(zip(header, cells, strict=False))
        if dialogue and dialogue[-1]["conv_id"] != row["conv_id"]:
            yield Raw(place, {"utterances": dialogue})
            dialogue = []
        if not dialogue:
            place = f"{path}:{number}"
        dialogue.append(row)
    if dialogue:
        yield Raw(place, {"utterances": dialogue})
