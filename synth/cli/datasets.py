"""Options of the verbs over a dataset that exists."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from synth.cli.common import out
from synth.errors import ConfigError, StoreError
from synth.sources.rows import OnBad

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
    str | None,
    typer.Option("--on-bad", help="stop (the default) or skip: what to do with a malformed row."),
]


def read_columns(text: str | None) -> dict[str, str]:
    """`question=Q,answer=A` as a mapping; empty for None."""
    if text is None:
        return {}
    return named_values("--columns", text.split(","))


def named_values(option: str, given: Sequence[str]) -> dict[str, str]:
    """`["a=1", "b=2"]` as a mapping."""
    found: dict[str, str] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not (sign and name.strip() and value.strip()):
            raise ConfigError(option, f"is {text!r}", f"Write {option} NAME=VALUE")
        if name.strip() in found:
            raise ConfigError(option, f"names {name.strip()!r} twice", "Name each once")
        found[name.strip()] = value.strip()
    return found


def read_on_bad(text: str | None) -> OnBad | None:
    """What --on-bad says, if anything."""
    if text is None:
        return None
    if text not in list(OnBad):
        raise ConfigError("--on-bad", f"is {text!r}", "Give stop or skip")
    return OnBad(text)


def open_dataset(dataset: str, form: str | None, columns: str | None, on_bad: str | None) -> Source:
    """Open a dataset as the options say."""
    from synth.sources import open_source

    how = read_on_bad(on_bad) or OnBad.STOP
    return open_source(dataset, form, read_columns(columns), how)


@contextmanager
def lines_to(
    path: Path | None, option: str, *inputs: str | None
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that writes one JSON line to a file, or does nothing without one.

    The file is there when all went well; until then an older one of that name stays as it is.

    Args:
        path: of the file.
        option: that named it.
        inputs: what is being read, which the file must not be.

    Raises:
        StoreError: it cannot be written.
    """
    if path is None:
        yield lambda _: None
        return
    for place in inputs:
        if place and Path(place).exists() and path.resolve().is_relative_to(Path(place).resolve()):
            raise StoreError(option, f"{path} is what is being read", "Name another file")
    aside = path.with_name(f".{path.name}.part")
    try:
        file = open(aside, "w", encoding="utf-8")  # noqa: SIM115 - closed below
    except OSError as error:
        raise StoreError(option, f"{path} cannot be written ({error})", "Name a file") from error
    try:
        with file:
            yield lambda data: print(json.dumps(data, ensure_ascii=False), file=file)
        os.replace(aside, path)
    except OSError as error:
        raise StoreError(option, f"{path} cannot be written ({error})", "Mend that") from error
    finally:
        aside.unlink(missing_ok=True)


def tell_malformed(source: Source, to: Console = out) -> None:
    """Name the first rows that were skipped, and how many there were."""
    for bad in source.malformed[:_SHOWN_BAD]:
        to.print(f"skipped {bad.place}: {bad.problem}", markup=False, highlight=False)
    if source.malformed_count > _SHOWN_BAD:
        to.print(f"skipped {source.malformed_count} rows in all", highlight=False)
