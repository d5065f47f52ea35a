"""Verbs over a dataset that exists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from synth.cli.common import ConfigOption, JsonOption, SetOption, err, load, out, overrides
from synth.cli.datasets import (
    ColumnsOption,
    DatasetArgument,
    FormOption,
    OnBadOption,
    lines_to,
    open_dataset,
    tell_malformed,
)
from synth.errors import did_you_mean

if TYPE_CHECKING:
    from synth.audit import Summary
    from synth.gaps import Gaps
    from synth.sources import Source
    from synth.specs import Specs

_SHOWN_FOREIGN = 3  # labels that name no topic


def audit(
    dataset: DatasetArgument,
    form: FormOption = None,
    columns: ColumnsOption = None,
    on_bad: OnBadOption = None,
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

    source = open_dataset(dataset, form, columns, on_bad)
    loaded, _ = load(config, overrides(options))
    gates = Gates(loaded.gates if "gates" in loaded.model_fields_set else AUDIT_CHOICES)
    summary = Summary()
    with lines_to(flagged, "--out", dataset) as write:
        for audited in run_audit(source, gates):
            summary.add(audited)
            if as_json:
                print(json.dumps(audited.as_dict(), ensure_ascii=False))
            if audited.flags:
                texts = {"question": audited.row.question, "answer": audited.row.answer}
                write(audited.as_dict() | texts)
    if as_json:
        tell_malformed(source, err)
    else:
        _print_audit(dataset, source, summary)


def _print_audit(dataset: str, source: Source, summary: Summary) -> None:
    title = f"{dataset}: {summary.rows} rows, read as {source.form.name}"
    table = Table(title=escape(title))
    for name in ("gate", "rule", "severity", "rows", "share"):
        table.add_column(name, justify="right" if name in ("rows", "share") else "left")
    for (gate, rule, severity), count in summary.rules.most_common():
        table.add_row(gate, rule, severity, str(count), f"{count / summary.rows:.1%}")
    out.print(table)
    counts = ", ".join(f"{number} {level}" for level, number in summary.severities.items())
    out.print(f"rows: {counts}", highlight=False)
    tell_malformed(source)


def gaps(
    dataset: DatasetArgument,
    total: Annotated[
        int | None, typer.Option(min=1, help="Rows wanted in all, shared out by weight.")
    ] = None,
    floor: Annotated[int | None, typer.Option(min=1, help="Rows wanted of every topic.")] = None,
    train: Annotated[
        str | None, typer.Option(help="Dataset with topic labels of yours, to learn from.")
    ] = None,
    trust_labels: Annotated[
        bool, typer.Option("--trust-labels", help="Take the dataset's own labels, not ours.")
    ] = False,
    labels: Annotated[Path | None, typer.Option(help="JSON lines: each row's topic.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the coverage: a .png, .svg or .pdf file.")
    ] = None,
    safety: Annotated[bool, typer.Option(help="Look for unsafe rows, by phrases.")] = True,
    form: FormOption = None,
    columns: ColumnsOption = None,
    on_bad: OnBadOption = None,
    config: ConfigOption = None,
    options: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show which topics of a dataset are thin, redundant or unsafe."""
    from synth.gaps.assess import assess, surveyor_for
    from synth.gaps.figure import check_picture, draw
    from synth.plan import specs_of
    from synth.targets import as_asked

    loaded, base = load(config, overrides(options))
    specs = specs_of(loaded, base)
    targets = as_asked(loaded.targets, total, floor, len(specs.topics))
    if picture is not None:
        check_picture(picture)
    source = open_dataset(dataset, form, columns, on_bad)
    taught_by = open_dataset(train, None, None, on_bad) if train is not None else None
    with lines_to(labels, "--labels", dataset, train) as write:
        surveyor = surveyor_for(loaded, specs, taught_by, trust_labels)
        found = assess(source, surveyor, targets, specs, safety, write)
    if as_json:
        print(json.dumps(found.as_dict(), ensure_ascii=False))
    else:
        _print_gaps(dataset, source, found, specs)
    if picture is not None:
        draw(found, specs.topics, picture, f"{Path(dataset).name}: {found.survey.rows} rows")


def _print_gaps(dataset: str, source: Source, found: Gaps, specs: Specs) -> None:
    survey = found.survey
    title = f"{dataset}: {survey.rows} rows, read as {source.form.name}"
    table = Table(title=escape(title))
    for name in ("topic", "existing", "target", "missing", "near 0.85"):
        table.add_column(name, justify="left" if name == "topic" else "right")
    for topic, gap in found.topics.items():
        table.add_row(
            specs.topics[topic].name,
            str(gap.existing),
            str(gap.target),
            f"[bold]{gap.deficit}[/]" if gap.deficit else "",
            f"{gap.redundant[0.85]:.0%}" if gap.existing else "",
        )
    out.print(table)
    near = ", ".join(f"{share:.1%} at {t:g}" for t, share in found.redundant.items())
    missing = sum(found.deficits.values())
    out.print(f"{missing} rows are missing; {survey.unknown} rows are about no topic known here")
    out.print(f"rows with a near neighbour: {near}", highlight=False)
    _print_facets(found, specs)
    compared = survey.comparison
    if compared.compared:
        out.print(
            f"labels that came with it: {compared.agreed} of {compared.compared} are ours too, "
            f"{compared.in_top} among our likeliest three",
            highlight=False,
        )
        for example in compared.examples[:3]:
            out.print(
                f"  row {example.row}: {example.shipped}, but {example.ours} "
                f"({example.confidence:.2f}): {example.opening} ...",
                markup=False,
                highlight=False,
            )
    for label, count in compared.foreign.most_common(_SHOWN_FOREIGN):
        hint = did_you_mean(label, [spec.name for spec in specs.topics.values()])
        out.print(
            f"label {label!r} of {count} rows names no topic known here{hint}",
            markup=False,
            highlight=False,
        )
    if found.safety is not None:
        red = found.safety.severities["red"]
        out.print(
            f"rows that are unsafe by their phrases, or name somebody: {red} "
            "(`evenfill audit` looks closer)",
            highlight=False,
        )
    tell_malformed(source)


def _print_facets(found: Gaps, specs: Specs) -> None:
    stated = found.survey.facets
    for facet in sorted({facet for facet, _ in stated}):
        values = specs.facets.get(facet, ())
        counts = {value: stated[facet, value] for value in values if stated[facet, value]}
        told = ", ".join(f"{value} {count}" for value, count in counts.items())
        out.print(f"{facet} where a row states it: {told}", highlight=False)
