"""The Grafana dashboard: well formed, and about the metrics that there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from synth.metrics import CATALOGUE
from synth.protocol import Reason
from tests.conftest import REPO

_WIDTH = 24  # columns of Grafana's grid


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Source(Part):
    type: Literal["prometheus"]
    uid: Literal["${datasource}"]


class Query(Part):
    datasource: Source
    editorMode: Literal["code"]
    expr: str
    legendFormat: str
    refId: str = Field(pattern="^[A-Z]$")
    instant: bool
    range: bool


class Place(Part):
    x: int = Field(ge=0)
    y: int = Field(ge=0)
    w: int = Field(ge=1, le=_WIDTH)
    h: int = Field(ge=1)


class Drawing(Part):
    fillOpacity: int = Field(ge=0, le=100)
    showPoints: Literal["never", "auto", "always"]
    stacking: dict[Literal["mode"], Literal["none", "normal", "percent"]]


class Defaults(Part):
    unit: Literal["short", "percentunit"]
    min: float
    max: float | None = None
    custom: Drawing | None = None


class FieldConfig(Part):
    defaults: Defaults
    overrides: list[None]


class Reduce(Part):
    calcs: list[Literal["lastNotNull"]]
    values: bool


class StatOptions(Part):
    reduceOptions: Reduce
    colorMode: Literal["value"]
    graphMode: Literal["none"]
    textMode: Literal["auto"]


class BarOptions(Part):
    reduceOptions: Reduce
    orientation: Literal["horizontal"]
    displayMode: Literal["basic"]
    valueMode: Literal["color"]


class Legend(Part):
    displayMode: Literal["list"]
    placement: Literal["bottom"]


class Tooltip(Part):
    mode: Literal["multi"]
    sort: Literal["desc"]


class SeriesOptions(Part):
    legend: Legend
    tooltip: Tooltip


class Panel(Part):
    id: int
    type: Literal["stat", "bargauge", "timeseries"]
    title: str = Field(min_length=1)
    description: str = Field(min_length=1)
    datasource: Source
    gridPos: Place
    fieldConfig: FieldConfig
    options: StatOptions | BarOptions | SeriesOptions
    targets: list[Query] = Field(min_length=1)


class Row(Part):
    id: int
    type: Literal["row"]
    title: str
    collapsed: Literal[False]
    gridPos: Place
    panels: list[Panel] = Field(max_length=0)


class SourceVariable(Part):
    name: Literal["datasource"]
    label: str
    type: Literal["datasource"]
    query: Literal["prometheus"]


class VariableQuery(Part):
    query: str
    refId: str


class QueryVariable(Part):
    name: Literal["run"]
    label: str
    type: Literal["query"]
    datasource: Source
    definition: str
    query: VariableQuery
    refresh: Literal[1, 2]
    sort: int
    multi: bool
    includeAll: bool


class Templating(Part):
    list: tuple[SourceVariable, QueryVariable]


class Span(Part):
    from_: str = Field(alias="from")
    to: str


class Dashboard(Part):
    uid: str = Field(pattern=r"^[\w-]{1,40}$")
    title: str
    tags: list[str]
    schemaVersion: int = Field(ge=36)
    version: int
    editable: bool
    refresh: str
    time: Span
    timezone: Literal["browser"]
    templating: Templating
    annotations: dict[Literal["list"], list[None]]
    panels: list[Panel | Row]


_EXPORTED = {f"ray_{metric.name}": {"run", *metric.labels} for metric in CATALOGUE}
_WORDS = {"sum", "max", "by", "rate", "sort", "or", "vector"}
_LABELS_OF_RAY = {"WorkerId"}
VLLM = "ray_vllm_"  # tests/actors/test_observability.py asks an engine for these


@pytest.fixture(scope="module")
def dashboard() -> Dashboard:
    return shipped_dashboard()


def shipped_dashboard() -> Dashboard:
    return Dashboard.model_validate_json((REPO / "cluster/grafana/evenfill.json").read_bytes())


def expressions(dashboard: Dashboard) -> list[str]:
    panels = [panel for panel in dashboard.panels if isinstance(panel, Panel)]
    return [query.expr for panel in panels for query in panel.targets]


def names_in(expression: str) -> set[str]:
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|by \([^)]*\)', " ", expression)
    return set(re.findall(r"[A-Za-z_:]\w*", bare)) - _WORDS


def uses(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Each metric of an expression, with the labels that it is asked for or summed by."""
    pattern = r"(?:by \(([^)]*)\) \(?(?:rate\()?)?(ray_\w+)(?:\{([^}]*)\})?"
    for grouped, name, matched in re.findall(pattern, expression):
        labels = {label.strip() for label in grouped.split(",") if label}
        yield name, labels | set(re.findall(r"(\w+)=~?\"", matched))


def test_panels_have_an_id_of_their_own_and_do_not_overlap(dashboard: Dashboard) -> None:
    ids = [panel.id for panel in dashboard.panels]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard.panels:
        place = panel.gridPos
        assert place.x + place.w <= _WIDTH
        cells = {
            (x, y)
            for x in range(place.x, place.x + place.w)
            for y in range(place.y, place.y + place.h)
        }
        assert not cells & taken, panel.title
        taken |= cells


def test_every_metric_asked_for_is_exported_and_every_one_exported_is_shown(
    dashboard: Dashboard,
) -> None:
    asked = {name for expression in expressions(dashboard) for name in names_in(expression)}
    assert {name for name in asked if not name.startswith(VLLM)} == set(_EXPORTED)
    assert dashboard.templating.list[1].query.query == (
        "label_values(ray_evenfill_target_records, run)"
    )


def test_labels_are_those_of_the_metric_and_our_metrics_are_asked_for_one_run(
    dashboard: Dashboard,
) -> None:
    seen = set()
    for expression in expressions(dashboard):
        for name, labels in uses(expression):
            seen.add(name)
            if name in _EXPORTED:
                assert "run" in labels, expression
                assert labels <= _EXPORTED[name], expression
            else:
                assert labels <= _LABELS_OF_RAY, expression
    assert seen == {name for e in expressions(dashboard) for name in names_in(e)}


def test_reasons_that_are_asked_for_exist(dashboard: Dashboard) -> None:
    wanted = re.findall(r'reason=~"([^"]*)"', " ".join(expressions(dashboard)))
    assert wanted
    assert {reason for group in wanted for reason in group.split("|")} <= set(Reason)


def test_counters_are_read_as_rates_and_gauges_are_not(dashboard: Dashboard) -> None:
    for expression in expressions(dashboard):
        for name in re.findall(r"rate\((ray_\w+)", expression):
            assert name.endswith("_total"), expression
        for name in re.findall(r"(?<!rate\()\b(ray_\w+_total)", expression):
            pytest.fail(f"{name} is no rate in {expression}")
