"""The `evenfill` command."""

from __future__ import annotations

from typing import Annotated

import typer

from synth import __version__
from synth.cli import bench, checks, data, export, fill, people, runs, submit
from synth.cli.common import user_errors

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Fill every topic of a dataset evenly with synthetic counselling conversations.",
)

for verb in (  # in the order of `evenfill --help`
    runs.run,
    runs.preview,
    checks.validate,
    checks.topics,
    runs.status,
    data.gaps,
    fill.fill,
    data.audit,
    export.export,
    people.review,
    people.agreement,
    submit.submit,
    checks.doctor,
):
    app.command()(user_errors(verb))
app.command(context_settings=bench.SETTINGS)(user_errors(bench.bench))


def _version(value: bool) -> None:
    if value:
        print(f"evenfill {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Fill every topic of a dataset evenly."""


def main() -> None:
    """Entry point of the console command."""
    app(prog_name="evenfill")
