"""What every verb of the `evenfill` command shares: options, errors and exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console

from synth.credentials import refuse_credentials
from synth.errors import EngineFailure, UserError

if TYPE_CHECKING:
    from synth.config import RunConfig
    from synth.report import Status

EXIT_DONE, EXIT_FAILED, EXIT_USER, EXIT_UNMET, EXIT_INTERRUPTED = 0, 1, 2, 3, 130

out = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 110)
err = Console(stderr=True, soft_wrap=True)

P = ParamSpec("P")
R = TypeVar("R")

ConfigOption = Annotated[Path | None, typer.Option("--config", help="Run config, a YAML file.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. targets.policy=uniform."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON.")]

AddressOption = Annotated[
    str | None, typer.Option(help="Ray cluster to join; without it Ray starts here.")
]
AcceptOption = Annotated[
    bool, typer.Option("--accept-changes", help="Resume although the config differs.")
]


def user_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Turn a user's mistake into one line and exit code 2, a failed run into exit code 1."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except UserError as error:
            err.print(f"error: {error}", markup=False, highlight=False)
            raise typer.Exit(EXIT_USER) from error
        except EngineFailure as error:
            err.print(f"failed: {error}", markup=False, highlight=False)
            raise typer.Exit(EXIT_FAILED) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(EXIT_INTERRUPTED) from error

    return wrapped


def check_arguments(arguments: Sequence[str]) -> None:
    """Leave with a message if there is a secret in a command: every user of the machine sees those.

    Args:
        arguments: what stands after the command's name.
    """
    option = ""
    try:
        for argument in arguments:
            is_option = argument.startswith("--")
            option = argument.partition("=")[0] if is_option else option
            refuse_credentials(option or "an argument", argument)
            option = option if is_option else ""
    except UserError as error:
        err.print(f"error: {error}", markup=False, highlight=False)
        sys.exit(EXIT_USER)


def overrides(
    options: list[str] | None, total: int | None = None, folder: str | None = None
) -> list[str]:
    found = list(options or [])
    if total is not None:
        found.append(f"targets.total={total}")
    if folder is not None:
        found.append(f"out={json.dumps(folder, ensure_ascii=False)}")
    return found


def load(config: Path | None, overrides: list[str]) -> tuple[RunConfig, Path]:
    """The run config, and the folder that its relative spec paths start from."""
    from synth.config import load_config

    return load_config(config, overrides), config.parent if config else Path()


def print_report(report: dict[str, Any]) -> None:
    """A run's figures as a table and lines."""
    from synth.display import closing_lines, closing_table

    out.print(closing_table(report))
    for line in closing_lines(report):
        out.print(line, markup=False, highlight=False)


def exit_code(status: Status) -> int:
    codes = {"complete": EXIT_DONE, "interrupted": EXIT_INTERRUPTED, "failed": EXIT_FAILED}
    return codes.get(status, EXIT_UNMET)
