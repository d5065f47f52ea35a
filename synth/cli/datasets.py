"""Options of the verbs over a dataset that exists."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synth.cli.common import out
from synth.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from synth.sources import Source

_SHOWN_BAD = 5  # malformed rows that are shown one by one

DatasetArgument = Annotated[
    str, typer.Argument(metavar="DATASET", help="File, folder or hub id.", show_default=False)
]
FormOption = Annotated[str | None, typer.Option(help="Its form, if the content does not tell.")]
ColumnsOption = Annotated[
    str | None, typer.Option(help="question=COLUMN,answer=COLUMN[,topic=COLUMN]")
]
OnBadOption = Annotated[
    str, typer.Option("--on-bad", help="stop or skip: what to do with a malformed row.")
]


def read_columns(text: str | None) -> dict[str, str]:
    """`question=Q,answer=A` as a mapping; empty for None."""
    if text is None:
        return {}
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(column for _, _, column in pairs):
        raise ConfigError("--columns", f"is {text!r}", "Write question=COLUMN,answer=COLUMN")
    return {part.strip(): column.strip() for part, _, column in pairs}


def check_on_bad(value: str) -> None:
    """Refuse anything but stop and skip."""
    if value not in ("stop", "skip"):
        raise ConfigError("--on-bad", f"is {value!r}", "Give stop or skip")


def open_dataset(dataset: str, form: str | None, columns: str | None, on_bad: str) -> Source:
    """Open a dataset as the options say."""
    from synth.sources import OnBad, open_source

    check_on_bad(on_bad)
    return open_source(dataset, form, read_columns(columns), OnBad(on_bad))


@contextmanager
def lines_to(path: Path | None, option: str) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that appends one JSON line to a new file, or does nothing without one."""
    if path is None:
        yield lambda _: None
        return
    try:
        file = open(path, "w", encoding="utf-8")  # noqa: SIM115 - closed below
    except OSError as error:
        raise StoreError(option, f"{path} cannot be written ({error})", "Name a file") from error
    with file:
        yield lambda data: print(json.dumps(data, ensure_ascii=False), file=file)


def tell_malformed(source: Source) -> None:
    """Name the first rows that were skipped, and how many there were."""
    for bad in source.malformed[:_SHOWN_BAD]:
        out.print(f"skipped {bad.place}: {bad.problem}", markup=False, highlight=False)
    if len(source.malformed) > _SHOWN_BAD:
        out.print(f"skipped {len(source.malformed)} rows in all", highlight=False)
