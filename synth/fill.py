"""Fill the gaps of a dataset from Python; `evenfill fill` goes the same way.

from synth.fill import Request, fill

result = fill("mine.jsonl", Request(topics={"grief-and-loss": 10}), out="runs/grief")
for record in result.records():
    print(record.question, record.answer)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synth import store
from synth.config import DatasetConfig, RunConfig, Targets
from synth.errors import ConfigError
from synth.existing import open_existing
from synth.gaps.assess import surveyor_for
from synth.plan import Plan, make_plan, specs_of
from synth.records import Record
from synth.report import Snapshot, Status
from synth.segments import read_rows
from synth.store import RunFiles
from synth.targets import share_like

_RECORD = tuple(Record.model_fields)


@dataclass(frozen=True)
class Request:
    """What is wanted; at most one of `topics`, `total`, `floor` and `like` says how much of what.

    Without any of them the config's targets count, or else as many rows as there are, shared out
    by the topics' weights.

    Attributes:
        topics: topic id -> new records, exactly so many.
        total: rows that old and new ones are to be together, shared out by weight.
        floor: rows that every topic is to have, old and new together.
        like: dataset whose topics' shares and manner the new records take.
        count: new records like those; as many as `like` has rows unless it is given.
        facets: facet -> value that every new record has.
        examples: rows that a prompt shows, to be written like.
    """

    topics: Mapping[str, int] = field(default_factory=dict)
    total: int | None = None
    floor: int | None = None
    like: str | None = None
    count: int | None = None
    facets: Mapping[str, str] = field(default_factory=dict)
    examples: int = 0


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        status: and `reason`, as in `report.json`.
        accepted: records in the run folder.
        report: all figures.
        files: the run folder.
    """

    status: Status
    reason: str
    accepted: int
    report: Mapping[str, Any]
    files: RunFiles

    def records(self) -> Iterator[Record]:
        """Every record that was written, one after another."""
        for batch in read_rows(self.files.accepted, _RECORD):
            for row in batch.to_pylist():
                facets = {name: value for name, value in row["facets"].items() if value}
                yield Record(**row | {"facets": facets})


def fill(
    dataset: str | DatasetConfig,
    request: Request,
    config: RunConfig | None = None,
    *,
    out: str | None = None,
    address: str | None = None,
    accept_changes: bool = False,
    show: Callable[[Snapshot], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> RunResult:
    """Write what a dataset lacks, distinct from what is there; resumes like any run.

    Args:
        dataset: its location, or how to read it.
        request: what is wanted.
        config: the run config; its dataset and targets give way to the other arguments.
        out: run folder.
        address: of a Ray cluster; None starts Ray on this machine.
        accept_changes: resume although the config differs.
        show: called about twice a second with where the run stands.
        say: called with a line when something noteworthy happens.

    Raises:
        UserError: something the user has to mend.
        EngineFailure: the run could not start, or lost its coordinator.
    """
    plan = plan_fill(dataset, request, config or RunConfig(), out=out)
    return carry_out(plan, address, accept_changes, show, say)


def plan_fill(
    dataset: str | DatasetConfig,
    request: Request,
    config: RunConfig,
    base: Path | None = None,
    out: str | None = None,
) -> Plan:
    """The run that would fill a dataset, checked; see `fill`. `base` is the config's folder.

    Raises:
        UserError: something the user has to mend.
    """
    base = base or Path()
    how = DatasetConfig(location=dataset) if isinstance(dataset, str) else dataset
    update: dict[str, Any] = {"examples": request.examples or how.examples}
    if request.like is not None:
        update["like"] = request.like
    how = how.model_copy(update=update)
    config = config.model_copy(update={"dataset": how} | ({"out": out} if out else {}))
    targets = _targets(request, config, how, base)
    facets = dict(config.targets.facets) | dict(request.facets)
    targets = targets.model_copy(update={"facets": facets})
    return make_plan(config.model_copy(update={"targets": targets}), base)


def _targets(request: Request, config: RunConfig, how: DatasetConfig, base: Path) -> Targets:
    given = {
        "--topic": bool(request.topics),
        "--total": request.total is not None,
        "--floor": request.floor is not None,
        "--like": request.like is not None,
    }
    several = [option for option, there in given.items() if there]
    if len(several) > 1:
        raise ConfigError(several[1], f"is given beside {several[0]}", "Give one of them")
    if request.count is not None and request.like is None:
        raise ConfigError("--count", "is given without --like", "Use --total or --topic ID=N")
    if request.topics:
        return Targets(policy="explicit", topics=dict(request.topics))
    if request.total is not None:
        return Targets(policy="weight", total=request.total)
    specs = specs_of(config, base)
    if request.floor is not None:
        return Targets(policy="uniform", total=request.floor * len(specs.topics))
    if request.like is not None:
        surveyor = surveyor_for(config, specs, how.train, how.trust_labels)
        like = surveyor.survey(open_existing(how, request.like))
        if not like.existing:
            what = "none of its rows is about a topic known here"
            raise ConfigError(request.like, what, "Give rows to write like")
        count = request.count or like.rows
        return Targets(policy="explicit", topics=share_like(count, like.existing))
    if "targets" in config.model_fields_set:
        return config.targets
    return Targets(policy="weight", total=max(1, sum(1 for _ in open_existing(how))))


def carry_out(
    plan: Plan,
    address: str | None,
    accept_changes: bool,
    show: Callable[[Snapshot], None],
    say: Callable[[str], None],
) -> RunResult:
    """Run a plan to its end; see `fill`."""
    from actors.launch import Options, execute

    snapshot = execute(plan, Options(address, accept_changes), show, say)
    report = store.read_report(plan.files)
    return RunResult(snapshot.status, snapshot.reason, report["accepted"], report, plan.files)
