"""Verbs that make a run or look at one."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from synth.cli.common import (
    AcceptOption,
    AddressOption,
    ConfigOption,
    JsonOption,
    SetOption,
    err,
    exit_code,
    load,
    out,
    overrides,
    print_report,
)

_SHOWN_EVENTS = 5


def run(
    config: ConfigOption = None,
    total: Annotated[int | None, typer.Option(help="Records over all topics.")] = None,
    folder: Annotated[
        str | None, typer.Option("--out", help="Run folder: a path, or s3://bucket/folder.")
    ] = None,
    options: SetOption = None,
    address: AddressOption = None,
    accept_changes: AcceptOption = False,
    submitted_by: Annotated[str | None, typer.Option(hidden=True)] = None,
    as_json: JsonOption = False,
) -> None:
    """Run, or resume, until every topic holds its target."""
    from actors.launch import Options, execute
    from synth.display import run_display
    from synth.packing import check_version
    from synth.plan import make_plan
    from synth.store import read_report

    if submitted_by is not None:
        check_version(submitted_by)
    plan = make_plan(*load(config, overrides(options, total, folder)))
    with run_display(err if as_json else out) as display:
        snapshot = execute(plan, Options(address, accept_changes), display.show, display.say)
    report = read_report(plan.files)
    if as_json:
        print(json.dumps(report))
    else:
        print_report(report)
        out.print(f"{plan.files.root}: {snapshot.reason}", markup=False, highlight=False)
    raise typer.Exit(exit_code(snapshot.status))


def preview(
    topic: Annotated[str | None, typer.Option(help="Topic id; all topics otherwise.")] = None,
    count: Annotated[int, typer.Option("-n", min=1, help="Records to show.")] = 3,
    config: ConfigOption = None,
    options: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the prompts and a few records; stores nothing."""
    from synth.preview import preview_records

    status, shown = preview_records(*load(config, overrides(options)), topic, count, err)
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
    raise typer.Exit(exit_code(status))


def status(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Run folder.")],
    as_json: JsonOption = False,
) -> None:
    """Coverage, rates and time left of a run, live or ended."""
    from synth.display import duration, event_line
    from synth.event_log import last_events
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
    events = last_events(files.events, _SHOWN_EVENTS)
    if as_json:
        more = {"live": holder is not None, "seconds_left": left}
        print(json.dumps(report | more | {"events": [e.model_dump(mode="json") for e in events]}))
        return
    print_report(report)
    for event in events:
        out.print(event_line(event), markup=False, highlight=False)
    if holder:
        out.print(f"running: {holder}", markup=False, highlight=False)
        if left is not None:
            out.print(f"about {duration(left)} left", highlight=False)
    elif report["reason"]:
        out.print(report["reason"], markup=False, highlight=False)
