"""Verbs over a dataset that exists."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from synth.cli.common import (
    ConfigOption,
    JsonOption,
    SetOption,
    load,
    out,
    overrides,
)

if TYPE_CHECKING:
    from synth.audit import Summary
    from synth.sources import Source

_SHOWN_BAD = 5  # malformed rows that are shown one by one


def audit(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="File, folder or hub id.")],
    form: Annotated[
        str | None, typer.Option(help="Its form, if the content does not tell.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="question=COLUMN,answer=COLUMN[,topic=COLUMN]")
    ] = None,
    on_bad: Annotated[
        str, typer.Option("--on-bad", help="stop or skip: what to do with a malformed row.")
    ] = "stop",
    flagged: Annotated[
        Path | None, typer.Option("--out", help="JSON lines of the flagged rows, with spans.")
    ] = None,
    config: ConfigOption = None,
    options: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the gates over an existing dataset; with --json one line per row."""
    from synth.audit import Summary
    from synth.audit import audit as run_audit
    from synth.gates.registry import AUDIT_CHOICES, Gates

    source = _open(dataset, form, columns, on_bad)
    loaded, _ = load(config, overrides(options))
    gates = Gates(loaded.gates if "gates" in loaded.model_fields_set else AUDIT_CHOICES)
    summary = Summary()
    with _lines_to(flagged) as write:
        for audited in run_audit(source, gates):
            summary.add(audited)
            if as_json:
                print(json.dumps(audited.as_dict(), ensure_ascii=False))
            if audited.flags:
                texts = {"question": audited.row.question, "answer": audited.row.answer}
                write(audited.as_dict() | texts)
    if not as_json:
        _print_audit(dataset, source, summary)


def _open(dataset: str, form: str | None, columns: str | None, on_bad: str) -> Source:
    from synth.errors import ConfigError
    from synth.sources import OnBad, open_source

    if on_bad not in list(OnBad):
        raise ConfigError("--on-bad", f"is {on_bad!r}", "Give stop or skip")
    mapping = None
    if columns is not None:
        pairs = [part.partition("=") for part in columns.split(",")]
        if not all(column for _, _, column in pairs):
            raise ConfigError("--columns", f"is {columns!r}", "Write question=COLUMN,answer=COLUMN")
        mapping = {part.strip(): column.strip() for part, _, column in pairs}
    return open_source(dataset, form, mapping, OnBad(on_bad))


@contextmanager
def _lines_to(path: Path | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that appends one JSON line to a new file, or does nothing without one."""
    if path is None:
        yield lambda _: None
        return
    from synth.errors import StoreError

    try:
        file = open(path, "w", encoding="utf-8")  # noqa: SIM115 - closed below
    except OSError as error:
        raise StoreError("--out", f"{path} cannot be written ({error})", "Name a file") from error
    with file:
        yield lambda data: print(json.dumps(data, ensure_ascii=False), file=file)


def _print_audit(dataset: str, source: Source, summary: Summary) -> None:
    table = Table(title=f"{dataset}: {summary.rows} rows, read as {source.form.name}")
    for name in ("gate", "rule", "severity", "rows", "share"):
        table.add_column(name, justify="right" if name in ("rows", "share") else "left")
    for (gate, rule, severity), count in summary.rules.most_common():
        table.add_row(gate, rule, severity, str(count), f"{count / summary.rows:.1%}")
    out.print(table)
    counts = ", ".join(
        f"{summary.severities[level]} {level}" for level in ("red", "yellow", "none")
    )
    out.print(f"rows: {counts}", highlight=False)
    for bad in source.malformed[:_SHOWN_BAD]:
        out.print(f"skipped {bad.place}: {bad.problem}", markup=False, highlight=False)
    if len(source.malformed) > _SHOWN_BAD:
        out.print(f"skipped {len(source.malformed)} rows in all", highlight=False)
