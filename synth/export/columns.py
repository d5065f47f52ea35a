"""The columns of an export: one set of names and types that every record keeps to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import pyarrow as pa

from synth.errors import ConfigError, StoreError


class Columns:
    """Names and Arrow types of all columns, found by looking at records, batch by batch."""

    def __init__(self) -> None:
        self._types: dict[str, pa.DataType] = {}
        self._unfit: dict[str, str] = {}  # column -> why no one type holds it

    @classmethod
    def of(cls, records: Sequence[Mapping[str, Any]]) -> Columns:
        """The columns of a few records."""
        found = cls()
        found.add(records)
        return found

    def add(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Take a batch of records in; a column that some of them lack is empty there."""
        for name in dict.fromkeys(chain.from_iterable(records)):
            try:
                kind = pa.array([record.get(name) for record in records]).type
                self._types[name] = _joined(self._types.get(name, pa.null()), kind)
            except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
                self._types.setdefault(name, pa.null())
                self._unfit.setdefault(name, str(error).splitlines()[0])

    @property
    def names(self) -> tuple[str, ...]:
        """In the order in which they were first seen."""
        return tuple(self._types)

    @property
    def nested(self) -> list[str]:
        """Columns of lists or objects, which a cell of a plain table cannot hold."""
        return [name for name, kind in self._types.items() if pa.types.is_nested(kind)]

    def holds_text(self, name: str) -> bool:
        """Whether text fits into a column."""
        kind = self._types[name]
        return pa.types.is_null(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)

    def holds_lists(self, name: str) -> bool:
        """Whether it is a column of lists of texts."""
        kind = self._types[name]
        return pa.types.is_list(kind) and pa.types.is_string(kind.value_type)

    def schema(self) -> pa.Schema:
        """As Parquet and `datasets` need it; a column without any value is one of text.

        Raises:
            ConfigError: a column holds what no one type can hold.
        """
        for name, why in self._unfit.items():
            what = f"cannot be Parquet or a `datasets` folder: column {name!r} mixes types ({why})"
            raise ConfigError("--to", what, "End it in .jsonl, or mend that column of the dataset")
        return pa.schema(
            [
                (n, pa.string() if pa.types.is_null(kind) else kind)
                for n, kind in self._types.items()
            ]
        )

    def row(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """A record with every column, None where it has nothing.

        Raises:
            StoreError: it has a column that none of those had that were looked at.
        """
        for name in record:
            if name not in self._types:
                what = f"a record has a column {name!r} that was not there a moment ago"
                raise StoreError("the filled dataset", what, "Export when nobody changes it")
        return {name: record.get(name) for name in self._types}


def _joined(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    schemas = [pa.schema([("value", kind)]) for kind in (one, other)]
    return pa.unify_schemas(schemas, promote_options="permissive").field("value").type


def batches(
    records: Iterable[Mapping[str, Any]], size: int = 1024
) -> Iterable[list[Mapping[str, Any]]]:
    """Records in lists of at most `size`."""
    batch: list[Mapping[str, Any]] = []
    for record in records:
        batch.append(record)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
