"""Verbs for people who look at the records of a run."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from synth.cli.common import JsonOption, out

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from synth.agreement import Report
    from synth.gates.registry import Gates
    from synth.store import RunFiles


def review(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Run folder.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8765,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Records to look at, flagged ones first; all else.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the sample's order.")] = 7,
    to_csv: Annotated[
        Path | None, typer.Option("--to-csv", help="Write the records as CSV instead.")
    ] = None,
    from_csv: Annotated[
        Path | None, typer.Option("--from-csv", help="Take verdicts from such a file instead.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Look at records on a local web page: accept, reject or edit them."""
    from synth.review.app import ReviewApp
    from synth.review.queue import read_records
    from synth.review.table import read_table, write_table
    from synth.review.verdicts import Verdicts
    from synth.store import run_files

    files = run_files(folder)
    gates = _gates_of(files)
    records = read_records(files, seed, sample)
    verdicts = Verdicts(files.review)
    if to_csv is not None:
        written = write_table(records, verdicts.latest, to_csv)
        _tell(as_json, {"written": written}, f"{written} records are in {to_csv}")
    if from_csv is not None:
        new = read_table(records, verdicts.latest, from_csv)
        for verdict in new:
            verdicts.add(verdict)
        _tell(as_json, {"verdicts": len(new)}, f"{len(new)} new verdicts from {from_csv}")
    if to_csv is None and from_csv is None:
        _serve(ReviewApp(str(files.root), records, verdicts, gates).asgi(), port)


def agreement(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Run folder.")],
    human: Annotated[
        Path | None, typer.Option(help="CSV of human scores: id, rater, and the metrics.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """How far judges agree with each other and with people, and what sways them."""
    from synth.agreement import agreement_report, read_human
    from synth.errors import StoreError
    from synth.review.queue import read_records
    from synth.review.verdicts import Verdicts
    from synth.store import run_files

    files = run_files(folder)
    rows = list(read_records(files, 0).rows())
    if not any(row["judgements"] for row in rows):
        what = "holds no judgement"
        raise StoreError(str(files.root), what, "Give a run that had `judge` in its config")
    rated = read_human(human, (row["id"] for row in rows)) if human else {}
    report = agreement_report(rows, rated, Verdicts(files.review).latest)
    if as_json:
        print(json.dumps(report.as_dict()))
    else:
        _print_agreement(report)


def _print_agreement(report: Report) -> None:
    pairs = Table(title="Agreement")
    for name in ("raters", "metric", "records", "Cohen's kappa", "Spearman's rho"):
        pairs.add_column(name, justify="left" if name in ("raters", "metric") else "right")
    for pair in report.pairs:
        raters = f"{pair.one}, {pair.other}"
        pairs.add_row(
            raters, pair.metric, str(pair.records), _figure(pair.kappa), _figure(pair.spearman)
        )
    if report.pairs:
        out.print(pairs)
        alpha = ", ".join(f"{metric} {_figure(value)}" for metric, value in report.alpha.items())
        out.print(f"Krippendorff's alpha over all raters: {alpha}", highlight=False)
    else:
        out.print("One judge and no human scores: nobody to agree with.", highlight=False)
    for bias in report.bias:
        out.print(
            f"{bias.judge}: {bias.records} records; rho with length {_figure(bias.length)}; "
            f"topics rated alike: p {_figure(bias.topics_p)}; mean of what reviewers accepted "
            f"{_figure(bias.accepted)}, rejected {_figure(bias.rejected)}",
            markup=False,
            highlight=False,
        )
        ranked = sorted(bias.topics.items(), key=lambda item: item[1])
        lowest, highest = ranked[0], ranked[-1]
        out.print(
            f"{bias.judge}: lowest {lowest[0]} {lowest[1]:.2f}, highest {highest[0]} "
            f"{highest[1]:.2f}",
            markup=False,
            highlight=False,
        )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _tell(as_json: bool, figures: dict[str, int], words: str) -> None:
    if as_json:
        print(json.dumps(figures))
    else:
        out.print(words, markup=False, highlight=False)


def _gates_of(files: RunFiles) -> Gates:
    """The gates that the run itself had.

    Raises:
        StoreError: it is no run folder, or one of its gates cannot be had here.
    """
    from pydantic import ValidationError

    from synth.errors import StoreError
    from synth.gates.registry import GateChoice, Gates
    from synth.store import MANIFEST, read_manifest

    manifest = read_manifest(files)
    if manifest is None:
        raise StoreError(str(files.root), f"holds no {MANIFEST}", "Give the folder of a run")
    try:
        return Gates([GateChoice.model_validate(gate) for gate in manifest["config"]["gates"]])
    except ValidationError as error:
        what = f"names a gate that is not here ({error.errors()[0]['msg']})"
        raise StoreError(f"{files.root}/{MANIFEST}", what, "Install it") from error


def _serve(app: Starlette, port: int) -> None:
    """Serve on loopback until interrupted.

    Raises:
        ConfigError: the port is taken.
    """
    import uvicorn

    from synth.errors import ConfigError

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        what = f"port {port} cannot be used ({error.strerror})"
        raise ConfigError("--port", what, "Give another, or 0 for any") from error
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    out.print(f"review at {address}  (Ctrl-C ends it)", highlight=False)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
