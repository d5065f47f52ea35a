"""The `evenfill` command."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from synth import __version__
from synth.errors import EngineFailure, UserError

if TYPE_CHECKING:
    from synth.audit import Summary
    from synth.config import RunConfig
    from synth.report import Status
    from synth.sources import Source

EXIT_DONE, EXIT_FAILED, EXIT_USER, EXIT_UNMET, EXIT_INTERRUPTED = 0, 1, 2, 3, 130

_SHOWN_BAD = 5  # malformed rows that are shown one by one

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Fill every topic of a dataset evenly with synthetic counselling conversations.",
)
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


def _overrides(
    options: list[str] | None, total: int | None = None, folder: str | None = None
) -> list[str]:
    found = list(options or [])
    if total is not None:
        found.append(f"targets.total={total}")
    if folder is not None:
        found.append(f"out={json.dumps(folder, ensure_ascii=False)}")
    return found


def _load(config: Path | None, overrides: list[str]) -> tuple[RunConfig, Path]:
    """The run config, and the folder that its relative spec paths start from."""
    from synth.config import load_config

    return load_config(config, overrides), config.parent if config else Path()


def _exit_code(status: Status) -> int:
    codes = {"complete": EXIT_DONE, "interrupted": EXIT_INTERRUPTED, "failed": EXIT_FAILED}
    return codes.get(status, EXIT_UNMET)


def _print_report(report: dict[str, Any]) -> None:
    from synth.display import closing_lines, closing_table

    out.print(closing_table(report))
    for line in closing_lines(report):
        out.print(line, markup=False, highlight=False)


@app.command()
@user_errors
def run(
    config: ConfigOption = None,
    total: Annotated[int | None, typer.Option(help="Records over all topics.")] = None,
    folder: Annotated[
        str | None, typer.Option("--out", help="Run folder: a path, or s3://bucket/folder.")
    ] = None,
    options: SetOption = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to join; without it Ray starts here.")
    ] = None,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Resume although the config differs.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run, or resume, until every topic holds its target."""
    from actors.launch import Options, execute
    from synth.display import run_display
    from synth.plan import make_plan
    from synth.store import read_report

    plan = make_plan(*_load(config, _overrides(options, total, folder)))
    with run_display(err if as_json else out) as display:
        snapshot = execute(plan, Options(address, accept_changes), display.show, display.say)
    report = read_report(plan.files)
    if as_json:
        print(json.dumps(report))
    else:
        _print_report(report)
        out.print(f"{plan.files.root}: {snapshot.reason}", markup=False, highlight=False)
    raise typer.Exit(_exit_code(snapshot.status))


@app.command()
@user_errors
def preview(
    topic: Annotated[str | None, typer.Option(help="Topic id; all topics otherwise.")] = None,
    count: Annotated[int, typer.Option("-n", min=1, help="Records to show.")] = 3,
    config: ConfigOption = None,
    options: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the prompts and a few records; stores nothing."""
    from synth.preview import preview_records

    status, shown = preview_records(*_load(config, _overrides(options)), topic, count, err)
    if as_json:
        print(json.dumps(shown))
    for item in [] if as_json else shown:
        out.rule(f"{item['topic']}: {item['id']}")
        for message in item["prompt"]:
            out.print(f"{message['role']}: ", style="bold", end="")
            out.print(message["content"], markup=False, highlight=False)
        out.print("\nquestion: ", style="bold", end="")
        out.print(item["question"], markup=False, highlight=False)
        out.print("\nanswer: ", style="bold", end="")
        out.print(item["answer"], markup=False, highlight=False)
    raise typer.Exit(_exit_code(status))


@app.command()
@user_errors
def validate(
    config: ConfigOption = None, options: SetOption = None, as_json: JsonOption = False
) -> None:
    """Check config and topic specs, without an engine."""
    from synth.plan import make_plan

    plan = make_plan(*_load(config, _overrides(options)))
    if as_json:
        resolved = plan.config.model_dump(mode="json")
        print(json.dumps({"valid": True, "config": resolved, "targets": plan.targets}))
        return
    filled = sum(target > 0 for target in plan.targets.values())
    out.print(
        f"valid: {sum(plan.targets.values())} records over {filled} of {len(plan.targets)} "
        f"topics, model {plan.config.model.name}, into {plan.files.root}",
        highlight=False,
        markup=False,
    )


@app.command()
@user_errors
def topics(
    topic: Annotated[str | None, typer.Argument(help="A topic's id, to see it whole.")] = None,
    config: ConfigOption = None,
    options: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the topics with weights and targets, or show one in full."""
    from synth.errors import ConfigError, did_you_mean
    from synth.plan import make_plan

    plan = make_plan(*_load(config, _overrides(options)))
    specs = plan.specs.topics
    if topic is not None:
        if topic not in specs:
            hint = did_you_mean(topic, specs)
            raise ConfigError(
                "TOPIC", f"there is no topic {topic!r}{hint}", "See `evenfill topics`"
            )
        dumped = specs[topic].model_dump(mode="json") | {"target": plan.targets[topic]}
        if as_json:
            print(json.dumps(dumped))
        else:
            _print_spec(dumped)
        return
    rows: list[dict[str, Any]] = [
        {"id": t, "name": s.name, "weight": s.weight, "risk": s.risk, "target": plan.targets[t]}
        for t, s in specs.items()
    ]
    if as_json:
        print(json.dumps(rows))
        return
    table = Table()
    for name in rows[0]:
        table.add_column(name, justify="right" if name in ("weight", "target") else "left")
    for row in rows:
        table.add_row(*(f"{v:g}" if isinstance(v, float) else str(v) for v in row.values()))
    out.print(table)


def _print_spec(spec: dict[str, Any]) -> None:
    for key, value in spec.items():
        out.print(f"{key}: ", style="bold", end="")
        if isinstance(value, list):
            out.print("".join(f"\n  - {line}" for line in value), markup=False, highlight=False)
        elif isinstance(value, dict):
            lines = (f"\n  {k}: {v}" for k, v in value.items())
            out.print("".join(lines), markup=False, highlight=False)
        else:
            out.print(str(value).strip(), markup=False, highlight=False)


@app.command()
@user_errors
def status(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Run folder.")],
    as_json: JsonOption = False,
) -> None:
    """Coverage, rates and time left of a run, live or ended."""
    from synth.display import duration
    from synth.lock import in_use_by
    from synth.store import read_report, run_files

    files = run_files(folder)
    report = read_report(files)
    holder = in_use_by(files)
    left = None
    if holder and report["rates"]["accepted_per_s"]:
        left = (report["target"] - report["accepted"]) / report["rates"]["accepted_per_s"]
    if not holder and report["status"] == "running":
        report |= {"status": "interrupted", "reason": "its process ended without a word"}
    if as_json:
        print(json.dumps(report | {"live": holder is not None, "seconds_left": left}))
        return
    _print_report(report)
    if holder:
        out.print(f"running: {holder}", markup=False, highlight=False)
        if left is not None:
            out.print(f"about {duration(left)} left", highlight=False)
    elif report["reason"]:
        out.print(report["reason"], markup=False, highlight=False)


@app.command()
@user_errors
def doctor(
    config: ConfigOption = None, options: SetOption = None, as_json: JsonOption = False
) -> None:
    """Tell what engine, devices, memory and models are here, and what would be wrong."""
    from synth.doctor import examine

    findings = examine(*_load(config, _overrides(options)))
    if as_json:
        print(json.dumps([finding.as_dict() for finding in findings]))
    else:
        for finding in findings:
            mark = {"ok": "[green]ok  [/]", "note": "[yellow]note[/]", "bad": "[red]bad [/]"}
            out.print(mark[finding.level], end=" ")
            out.print(f"{finding.subject}: {finding.text}", markup=False, highlight=False)
    if any(finding.level == "bad" for finding in findings):
        raise typer.Exit(EXIT_USER)


@app.command()
@user_errors
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
    loaded, _ = _load(config, _overrides(options))
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
    table = Table(title=f"{dataset}: {summary.rows} rows, read as {source.form}")
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
