"""Arrow tables: Parquet, folders and hub ids that `datasets` reads, and runs' own segments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from synth.errors import StoreError
from synth.files import LocalFolder
from synth.segments import read_rows, segments
from synth.sources.rows import Raw, SourceError, Unreadable
from synth.sources.tables import check_names
from synth.sources.text_files import Records

_BATCH = 1024
_RUN_COLUMNS = ("id", "topic", "requested_topic", "question", "answer", "model")


def read_parquet(path: Path) -> Records:
    """The rows of a Parquet file.

    Raises:
        SourceError: it is torn, or two of its columns have the same name.
    """
    try:
        with pq.ParquetFile(path) as file:
            check_names(str(path), file.schema_arrow.names)
            number = 0
            for batch in file.iter_batches(batch_size=_BATCH):
                yield from _rows_of(batch, f"{path}, row", number)
                number += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        raise SourceError(str(path), f"is no whole Parquet ({error})", "Fetch it again") from error


def _rows_of(
    table: pa.Table | pa.RecordBatch, place: str, first: int, split: str | None = None
) -> Records:
    """Rows of a table; one with a value that has no like in Python, such as a late date, is bad."""
    try:
        records = table.to_pylist()
    except (ArithmeticError, ValueError, pa.ArrowException) as error:
        if table.num_rows == 1:
            yield Unreadable(f"{place} {first}", f"holds a value that cannot be read ({error})")
            return
        for at in range(table.num_rows):
            yield from _rows_of(table.slice(at, 1), place, first + at, split)
        return
    for number, record in enumerate(records, start=first):
        yield Raw(f"{place} {number}", record, split)


def read_saved(folder: Path) -> Records:
    """The rows of what `datasets` saved, split after split.

    Raises:
        SourceError: `datasets` cannot load it.
    """
    from datasets import Dataset, load_from_disk

    try:
        loaded = load_from_disk(str(folder))
    except Exception as error:
        what = f"looks saved by `datasets`, which cannot load it ({first_line(error)})"
        raise SourceError(str(folder), what, "Save it again, or give its files") from error
    splits: Mapping[str, Any] = {"": loaded} if isinstance(loaded, Dataset) else loaded
    for split, place, name in _named(splits, f"{folder},"):
        number = 0
        for table in split.with_format("arrow").iter(batch_size=_BATCH):
            yield from _rows_of(table, place, number, name)
            number += table.num_rows


def read_hub(name: str) -> Records:
    """The rows of a dataset of the hub, split after split.

    Raises:
        SourceError: there is none of that name, or no network.
    """
    from datasets import load_dataset

    try:
        splits = load_dataset(name, streaming=True)
    except Exception as error:
        what = f"is neither a path nor a dataset of the hub ({first_line(error)})"
        raise SourceError(name, what, "Give an existing path, or check name and network") from error
    for split, place, split_name in _named(splits, f"{name},"):
        for number, record in enumerate(split):
            yield Raw(f"{place} {number}", record, split_name)


def _named(splits: Mapping[str, Any], where: str) -> Iterator[tuple[Any, str, str | None]]:
    """Each split, how its rows' places begin, and its name if there are several."""
    for name, split in splits.items():
        place = f"{where} {name} row" if name else f"{where} row"
        yield split, place, name if len(splits) > 1 else None


def read_run(accepted: Path) -> Records:
    """The accepted records of a run, each once, also while the run goes on.

    Rows keep their order when segments are merged. So when the run deletes a segment that was
    to be read next, the reading goes on after as many rows as were read, in those that are there.

    Raises:
        SourceError: a segment is damaged.
    """
    folder = LocalFolder(accepted)
    read = 0
    while True:
        listed = segments(folder)
        try:
            for record in islice(_run_records(folder), read, None):
                yield Raw(f"{accepted}, row {read}", record)
                read += 1
            return
        except StoreError as error:
            if segments(folder) == listed:
                raise SourceError(error.where, error.what, error.remedy) from error


def _run_records(folder: LocalFolder) -> Iterator[Mapping[str, Any]]:
    for batch in read_rows(folder, _RUN_COLUMNS):
        yield from batch.to_pylist()


def first_line(error: Exception) -> str:
    """What to quote of a library's error."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
