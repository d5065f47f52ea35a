"""The verb that fills a dataset."""

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
from synth.cli.datasets import (
    ColumnsOption,
    DatasetArgument,
    FormOption,
    OnBadOption,
    check_on_bad,
    read_columns,
)
from synth.errors import ConfigError


def _pairs(option: str, given: list[str] | None) -> dict[str, str]:
    """`["a=1", "b=2"]` as a mapping."""
    found: dict[str, str] = {}
    for text in given or []:
        name, sign, value = text.partition("=")
        if not (sign and name.strip() and value.strip()):
            raise ConfigError(option, f"is {text!r}", f"Write {option} NAME=VALUE")
        if name.strip() in found:
            raise ConfigError(option, f"names {name.strip()!r} twice", "Name each once")
        found[name.strip()] = value.strip()
    return found


def _numbers(option: str, given: list[str] | None) -> dict[str, int]:
    pairs = _pairs(option, given)
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
        int | None, typer.Option(min=1, help="Rows wanted in all, old and new, by weight.")
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
        int, typer.Option(min=0, max=8, help="Rows shown to the model, to be written like.")
    ] = 0,
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
    on_bad: OnBadOption = "stop",
    config: ConfigOption = None,
    options: SetOption = None,
    address: AddressOption = None,
    accept_changes: AcceptOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write only what a dataset lacks, distinct from what is there; or resume that."""
    from synth.config import DatasetConfig
    from synth.display import run_display
    from synth.fill import Request, carry_out, plan_fill

    loaded, base = load(config, overrides(options, folder=folder))
    check_on_bad(on_bad)
    how = DatasetConfig(
        location=dataset,
        form=form,
        columns=read_columns(columns),
        on_bad="skip" if on_bad == "skip" else "stop",
        train=train,
        trust_labels=trust_labels,
    )
    request = Request(
        topics=_numbers("--topic", topic),
        total=total,
        floor=floor,
        like=like,
        count=count,
        facets=_pairs("--facet", facet),
        examples=examples,
    )
    err.print(f"reading {dataset}", markup=False, highlight=False)
    plan = plan_fill(how, request, loaded, base)
    missing = {topic: number for topic, number in plan.targets.items() if number}
    if not missing:
        if as_json:
            print(json.dumps({"status": "complete", "reason": "nothing is missing", "accepted": 0}))
        else:
            out.print(f"{dataset}: nothing is missing", markup=False, highlight=False)
        return
    err.print(
        f"{sum(missing.values())} records are missing, of {len(missing)} topics", highlight=False
    )
    with run_display(err if as_json else out) as display:
        result = carry_out(plan, address, accept_changes, display.show, display.say)
    if as_json:
        print(json.dumps(result.report))
    else:
        print_report(dict(result.report))
        out.print(f"{plan.files.root}: {result.reason}", markup=False, highlight=False)
    raise typer.Exit(exit_code(result.status))
