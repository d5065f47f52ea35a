"""Where an export goes: a file whose ending says the format, or a `datasets` folder."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from synth.errors import ConfigError, StoreError

ENDINGS = (".jsonl", ".csv", ".parquet")
_BATCH = 1024

Records = Iterable[Mapping[str, Any]]


def check_place(path: Path, nested: bool) -> None:
    """Refuse a place that an export cannot go to.

    Args:
        path: as the user gave it.
        nested: whether records hold lists of turns.

    Raises:
        ConfigError: says what would be right.
    """
    if path.suffix and path.suffix not in ENDINGS:
        what = f"ends in {path.suffix!r}"
        remedy = f"End it in {', '.join(ENDINGS)}, or in nothing for a `datasets` folder"
        raise ConfigError("--to", what, remedy)
    if path.suffix == ".csv" and nested:
        what = "is a CSV file, whose cells cannot hold lists of turns"
        raise ConfigError("--to", what, "End it in .jsonl or .parquet, or choose another --format")


def write_file(path: Path, records: Records) -> int:
    """Write records to a new file; it appears whole or not at all. Returns how many.

    Raises:
        StoreError: it cannot be written.
    """
    write = {".jsonl": _write_lines, ".csv": _write_csv, ".parquet": _write_parquet}[path.suffix]
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number = write(temporary, records)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError("--to", f"{path} cannot be written ({error})", "Name a file") from error
    return number


def _write_lines(path: Path, records: Records) -> int:
    number = 0
    with open(path, "w", encoding="utf-8") as file:
        for number, record in enumerate(records, start=1):  # noqa: B007 - the count is the result
            print(json.dumps(record, ensure_ascii=False), file=file)
    return number


def _write_csv(path: Path, records: Records) -> int:
    number = 0
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = None
        for number, record in enumerate(records, start=1):  # noqa: B007 - the count is the result
            if writer is None:
                writer = csv.DictWriter(file, list(record))
                writer.writeheader()
            writer.writerow(record)
    return number


def _write_parquet(path: Path, records: Records) -> int:
    number, writer, schema = 0, None, None
    for batch in _batches(records):
        table = pa.Table.from_pylist(batch, schema=schema)
        if writer is None:
            schema = _without_nulls(table.schema)
            table = table.cast(schema)
            writer = pq.ParquetWriter(path, schema, compression="zstd")
        writer.write_table(table)
        number += len(batch)
    if writer is None:
        pq.write_table(pa.table({}), path)
    else:
        writer.close()
    return number


def _without_nulls(schema: pa.Schema) -> pa.Schema:
    """Columns of which the first rows hold nothing are taken for text."""
    fields = (f.with_type(pa.string()) if pa.types.is_null(f.type) else f for f in schema)
    return pa.schema(list(fields))


def _batches(records: Records) -> Iterator[list[Mapping[str, Any]]]:
    iterator = iter(records)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def write_folder(path: Path, splits: Mapping[str, Records]) -> dict[str, int]:
    """Save a `datasets` folder: a `Dataset` for one split, a `DatasetDict` for several.

    Raises:
        StoreError: there is something already, or it cannot be written.
    """
    if path.exists():
        raise StoreError("--to", f"{path} is there already", "Name a new folder")
    try:
        with _as_dataset(splits) as (data, numbers):
            data.save_to_disk(str(path))
    except OSError as error:
        shutil.rmtree(path, ignore_errors=True)
        raise StoreError("--to", f"{path} cannot be written ({error})", "Name a folder") from error
    return numbers


def push(name: str, splits: Mapping[str, Records]) -> dict[str, int]:
    """Push to the hub, as a private dataset.

    Raises:
        StoreError: the hub does not take it.
    """
    try:
        with _as_dataset(splits) as (data, numbers):
            data.push_to_hub(name, private=True)
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise StoreError(
            "--push",
            f"the hub did not take {name!r} ({reason[0]})",
            "Check name, network and the token in HF_TOKEN",
        ) from error
    return numbers


class _as_dataset:
    """The splits as a dataset, over Parquet files that live as long as the block."""

    def __init__(self, splits: Mapping[str, Records]):
        self._splits = splits
        self._folder = tempfile.TemporaryDirectory(prefix="evenfill-export-")

    def __enter__(self) -> tuple[Any, dict[str, int]]:
        from datasets import Dataset, DatasetDict, disable_progress_bars

        disable_progress_bars()
        numbers, parts = {}, {}
        for name, records in self._splits.items():
            path = Path(self._folder.name) / f"{name}.parquet"
            numbers[name] = write_file(path, records)
            parts[name] = Dataset.from_parquet(str(path), cache_dir=self._folder.name)
        data = next(iter(parts.values())) if len(parts) == 1 else DatasetDict(parts)
        return data, numbers

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()
