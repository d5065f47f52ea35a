"""The verb that writes what trainers read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from synth.cli.common import JsonOption, out


def export(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Run folder.")],
    shape: Annotated[
        str,
        typer.Option(
            "--format",
            help="evenfill, instruction, context-response, messages, sharegpt, or own: the "
            "columns of the dataset that was filled.",
        ),
    ] = "messages",
    to: Annotated[
        Path | None,
        typer.Option(help="A .jsonl, .csv or .parquet file, or a folder for `datasets`."),
    ] = None,
    push: Annotated[
        str | None, typer.Option(metavar="NAME", help="Push to the hub, private, instead.")
    ] = None,
    eval_share: Annotated[
        float, typer.Option(help="Share held out, up to 0.5; near neighbours stay together.")
    ] = 0.0,
    near: Annotated[
        float, typer.Option(help="Cosine from which two records stay together, 0.5 to 1.")
    ] = 0.8,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 7,
    merge: Annotated[
        bool, typer.Option("--merge", help="With --format own: the old rows first.")
    ] = False,
    reviewed_only: Annotated[
        bool, typer.Option("--reviewed-only", help="Only what a reviewer accepted or edited.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier export of that name.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a run's records in a trainer's form, less what reviewers rejected."""
    from synth.export import Export
    from synth.export import export as write
    from synth.store import run_files

    files = run_files(folder)
    if to is None and push is None:
        to = Path(f"{Path(folder).name or 'export'}-{shape}.jsonl")
    how = Export(shape, to, push, eval_share, near, seed, merge, reviewed_only, force)
    done = write(files, how)
    card = str(done.card) if done.card else None
    if as_json:
        told = {
            "records": done.records,
            "left_out": done.left_out,
            "skipped": done.skipped,
            "files": {split: str(path) for split, path in done.files.items()},
            "card": card,
            "notes": list(done.notes),
        }
        print(json.dumps(told))
        return
    for split, number in done.records.items():
        place = done.files.get(split, push)
        out.print(f"{place}: {number} records ({split})", markup=False, highlight=False)
    if done.left_out:
        out.print(f"{done.left_out} records were left out", highlight=False)
    for note in done.notes:
        out.print(note, markup=False, highlight=False)
    if card:
        out.print(f"card: {card}", markup=False, highlight=False)
