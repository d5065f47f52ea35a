"""The verb that runs a benchmark."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from synth.cli.common import JsonOption, out

# What follows the name belongs to the benchmark, options and all.
SETTINGS = {"allow_interspersed_args": False, "ignore_unknown_options": True}


def bench(
    name: Annotated[
        str | None, typer.Argument(help="The benchmark; without it all are listed.")
    ] = None,
    arguments: Annotated[
        list[str] | None, typer.Argument(help="Its own arguments; NAME --help tells them.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a benchmark, or list them."""
    from benchmarks.catalogue import BENCHMARKS, run

    if name is not None:
        run(name, [*(["--json"] if as_json else []), *(arguments or [])])
    elif as_json:
        print(json.dumps(BENCHMARKS))
    else:
        for each, what in BENCHMARKS.items():
            out.print(f"{each}: {what}", markup=False, highlight=False)
