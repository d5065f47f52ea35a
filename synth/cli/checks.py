"""Verbs that tell what a run would be, without an engine."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from synth.cli.common import (
    EXIT_USER,
    ConfigOption,
    JsonOption,
    SetOption,
    load,
    out,
    overrides,
)


def validate(
    config: ConfigOption = None, options: SetOption = None, as_json: JsonOption = False
) -> None:
    """Check config and topic specs, without an engine."""
    from synth.plan import make_plan

    plan = make_plan(*load(config, overrides(options)))
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


def topics(
    topic: Annotated[str | None, typer.Argument(help="A topic's id, to see it whole.")] = None,
    config: ConfigOption = None,
    options: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the topics with weights and targets, or show one in full."""
    from synth.errors import ConfigError, did_you_mean
    from synth.plan import make_plan

    plan = make_plan(*load(config, overrides(options)))
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


def doctor(
    config: ConfigOption = None, options: SetOption = None, as_json: JsonOption = False
) -> None:
    """Tell what engine, devices, memory and models are here, and what would be wrong."""
    from synth.doctor import examine

    findings = examine(*load(config, overrides(options)))
    if as_json:
        print(json.dumps([finding.as_dict() for finding in findings]))
    else:
        for finding in findings:
            mark = {"ok": "[green]ok  [/]", "note": "[yellow]note[/]", "bad": "[red]bad [/]"}
            out.print(mark[finding.level], end=" ")
            out.print(f"{finding.subject}: {finding.text}", markup=False, highlight=False)
    if any(finding.level == "bad" for finding in findings):
        raise typer.Exit(EXIT_USER)
