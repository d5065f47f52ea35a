"""Files of records: JSON lines, CSV, Parquet, and Arrow for `datasets`."""

from __future__ import annotations

import csv
import json
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from synth.errors import ConfigError, StoreError
from synth.export.columns import Columns

TEXT_ENDINGS = (".jsonl", ".csv")
ENDINGS = (*TEXT_ENDINGS, ".parquet")
_ARROW = ".arrow"
_BATCH = 1024

Record = Mapping[str, Any]
Routed = Iterable[tuple[str, Record]]  # each record with the split that it belongs to


class Writer(ABC):
    """Writes records that have all columns to one file, one after another."""

    @abstractmethod
    def add(self, record: Record) -> None:
        """Write a record.

        Raises:
            StoreError: it holds what the format cannot hold.
            OSError: the disk does not take it.
        """

    @abstractmethod
    def close(self) -> None:
        """Write what is left; raises as `add`."""


class _TextWriter(Writer):
    def __init__(self, path: Path, line: Callable[[Record], str], header: str):
        self._name = path.name
        self._line = line
        self._file = open(path, "wb")  # noqa: SIM115 - closed by `close`
        self._file.write(header.encode())
        self._number = 0

    def add(self, record: Record) -> None:
        self._number += 1
        try:
            data = self._line(record).encode()
        except (TypeError, ValueError) as error:  # a lone surrogate is a ValueError
            column = next((n for n, value in record.items() if not self._fits(n, value)), "?")
            what = f"record {self._number} of {self._name} cannot be written: column {column!r}"
            raise StoreError(
                "--to", f"{what} holds {_reason(error)}", "Mend it, or choose another format"
            ) from error
        self._file.write(data)

    def _fits(self, name: str, value: Any) -> bool:
        try:
            json.dumps({name: value}, ensure_ascii=False, default=_plain).encode()
        except (TypeError, ValueError):
            return False
        return True

    def close(self) -> None:
        self._file.close()


def _reason(error: Exception) -> str:
    return "half a character" if isinstance(error, UnicodeEncodeError) else str(error)


def _plain(value: Any) -> str:
    """What JSON has no word for, as text: ISO 8601 for times."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"a value of type {type(value).__name__}")


def _json_line(record: Record) -> str:
    try:
        text = json.dumps(record, ensure_ascii=False, default=_plain, allow_nan=False)
    except ValueError:
        text = json.dumps(_without_nan(record), ensure_ascii=False, default=_plain)
    return f"{text}\n"


def _without_nan(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, Mapping):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _Echo:
    """A file for `csv.writer` that hands each line back."""

    def write(self, line: str) -> str:
        return line


def _csv_line(record: Record) -> str:
    cells = [
        value if value is None or isinstance(value, str | int | float) else _plain(value)
        for value in record.values()
    ]
    return str(csv.writer(_Echo()).writerow(cells))


class _ArrowWriter(Writer):
    """Parquet, or an Arrow stream that `datasets` maps into memory."""

    def __init__(self, path: Path, schema: pa.Schema):
        self._name = path.name
        self._schema = schema
        self._batch: list[Record] = []
        self._writer = (
            pa.ipc.new_stream(str(path), schema)
            if path.suffix == _ARROW
            else pq.ParquetWriter(path, schema, compression="zstd")
        )

    def add(self, record: Record) -> None:
        self._batch.append(record)
        if len(self._batch) == _BATCH:
            self._flush()

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        try:
            table = pa.Table.from_pylist(batch, schema=self._schema)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            reason = str(error).splitlines()[0]
            what = f"a record does not fit the columns of {self._name} ({reason})"
            raise StoreError("--to", what, "Choose .jsonl, or mend the dataset") from error
        self._writer.write_table(table)

    def close(self) -> None:
        try:
            if self._batch:
                self._flush()
        finally:
            self._writer.close()


def open_writer(path: Path, columns: Columns) -> Writer:
    """A writer whose format is that of the path's ending.

    Raises:
        ConfigError: the format cannot hold these columns.
        OSError: the file cannot be made.
    """
    if path.suffix == ".jsonl":
        return _TextWriter(path, _json_line, "")
    if path.suffix == ".csv":
        check_cells(columns)
        return _TextWriter(path, _csv_line, _csv_line({name: name for name in columns.names}))
    return _ArrowWriter(path, columns.schema())


def check_cells(columns: Columns) -> None:
    """Refuse columns that a CSV file cannot hold.

    Raises:
        ConfigError: names the first.
    """
    if columns.nested:
        what = f"is a CSV file, whose cells cannot hold lists of turns ({columns.nested[0]!r})"
        raise ConfigError("--to", what, "End it in .jsonl or .parquet, or choose another --format")


def write_all(paths: Mapping[str, Path], columns: Columns, records: Routed) -> dict[str, int]:
    """Write each record to the file of its split. Returns split -> records.

    Raises:
        UserError: the format cannot hold a record, or the records cannot be read.
        OSError: the disk does not take it.
    """
    numbers: Counter[str] = Counter(dict.fromkeys(paths, 0))
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(_closing(open_writer(path, columns)))
            for name, path in paths.items()
        }
        for split, record in records:
            writers[split].add(columns.row(record))
            numbers[split] += 1
    return dict(numbers)


@contextmanager
def _closing(writer: Writer) -> Iterator[Writer]:
    try:
        yield writer
    except BaseException:
        with suppress(Exception):  # the first fault is the one to tell
            writer.close()
        raise
    writer.close()


def as_dataset(folder: Path, columns: Columns, splits: Iterable[str], records: Routed) -> Any:
    """A `DatasetDict` over Arrow files in `folder`, which must stay while it is used.

    Raises:
        UserError, OSError: as `write_all`.
    """
    from datasets import Dataset, DatasetDict, disable_progress_bars

    disable_progress_bars()
    paths = {name: folder / f"{at}{_ARROW}" for at, name in enumerate(splits)}
    write_all(paths, columns, records)
    return DatasetDict({name: Dataset.from_file(str(path)) for name, path in paths.items()})


def shards(data: Any) -> dict[str, int | None]:
    """Files per split for `datasets` to write: it cannot read a split back that has none."""
    return {name: None if len(part) else 1 for name, part in data.items()}
