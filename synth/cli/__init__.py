"""The `evenfill` command."""

from __future__ import annotations

from typing import Annotated

import typer

from synth import __version__

# isort: off - imported for the verbs that they add, in the order of `evenfill --help`
from synth.cli import (
    checks,  # noqa: F401
    data,  # noqa: F401
    runs,  # noqa: F401
)
from synth.cli.common import app

# isort: on

__all__ = ["app", "main"]


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
