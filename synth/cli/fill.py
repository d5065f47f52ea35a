"""The verb that fills a dataset."""

from __future__ import annotations

import json
from pathlib import Path
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
from synth.cli.datasets import (
    ColumnsOption,
    DatasetArgument,
    FormOption,
    OnBadOption,
    named_values,
    read_columns,
    read_on_bad,
)
from synth.errors import ConfigError


def _numbers(option: str, given: list[str] | None) -> dict[str, int]:
    pairs = named_values(option, given or [])
    for name, value in pairs.items():
        if not value.isdecimal() or not int(value):
            what = f"asks for {value!r} records of {name!r}"
            raise ConfigError(option, what, "Write a whole number above 0")
    return {name: int(value) for name, value in pairs.items()}


def fill(
    dataset: DatasetArgument,
    topic: Annotated[
        list[str] | None, typer.Option(metavar="ID=N", help="N new records of a topic.")
    ] = None,
    total: Annotated[
        int | None, typer.Option(min=1, help="Rows wanted in all, old and new, shared out.")
    ] = None,
    floor: Annotated[
        int | None, typer.Option(min=1, help="Rows wanted of every topic, old and new.")
    ] = None,
    like: Annotated[
        str | None, typer.Option(metavar="FILE", help="More of what these rows show.")
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="New records with --like; as many as it has else.")
    ] = None,
    facet: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Every new record is so.")
    ] = None,
    examples: Annotated[
        int | None,
        typer.Option(min=0, max=8, help="Rows shown to the model, to be written like."),
    ] = None,
    train: Annotated[
        str | None, typer.Option(help="Dataset with topic labels of yours, to learn from.")
    ] = None,
    trust_labels: Annotated[
        bool, typer.Option("--trust-labels", help="Take the dataset's own labels, not ours.")
    ] = False,
    folder: Annotated[
        str | None, typer.Option("--out", help="Run folder: a path, or s3://bucket/folder.")
    ] = None,
    form: FormOption = None,
    columns: ColumnsOption = None,
    on_bad: OnBadOption = None,
    config: ConfigOption = None,
    options: SetOption = None,
    address: AddressOption = None,
    accept_changes: AcceptOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write only what a dataset lacks, distinct from what is there; or resume that."""
    from synth.config import DatasetConfig, checked
    from synth.display import run_display
    from synth.existing import whole_path
    from synth.fill import Request, carry_out, plan_fill

    loaded, base = load(config, overrides(options, folder=folder))
    given = loaded.dataset.model_dump(exclude_unset=True) if loaded.dataset else {}
    said = {
        "form": form,
        "columns": read_columns(columns) or None,
        "on_bad": read_on_bad(on_bad),
        "train": whole_path(train, Path()) if train is not None else None,
        "trust_labels": trust_labels or None,
    }
    given |= {name: value for name, value in said.items() if value is not None}
    how = checked(DatasetConfig, given | {"location": whole_path(dataset, Path())}, "the options")
    request = Request(
        topics=_numbers("--topic", topic),
        total=total,
        floor=floor,
        like=like,
        count=count,
        facets=named_values("--facet", facet or []),
        examples=examples,
    )
    err.print(f"reading {dataset}", markup=False, highlight=False)
    plan = plan_fill(how, request, loaded, base)
    missing = {topic: number for topic, number in plan.targets.items() if number}
    if plan.existing and plan.existing.skipped:
        err.print(f"{plan.existing.skipped} malformed rows were skipped", highlight=False)
    err.print(
        f"{sum(missing.values())} records are missing, of {len(missing)} topics", highlight=False
    )
    with run_display(err if as_json else out) as display:
        result = carry_out(plan, address, accept_changes, display.show, display.say)
    if as_json:
        print(json.dumps(result.report))
    else:
        if missing:
            print_report(dict(result.report))
        out.print(f"{plan.files.root}: {result.reason}", markup=False, highlight=False)
    raise typer.Exit(exit_code(result.status))
