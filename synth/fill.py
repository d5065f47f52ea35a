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
from synth.config import DatasetConfig, RunConfig, Targets, checked
from synth.errors import ConfigError
from synth.existing import whole_path
from synth.plan import Plan, make_plan, specs_of
from synth.records import Record
from synth.report import Snapshot, Status
from synth.segments import read_rows
from synth.store import RunFiles
from synth.targets import as_asked

_RECORD = tuple(Record.model_fields)
_EXAMPLES_LIKE = 2  # rows that a prompt shows when it is to write like them


@dataclass(frozen=True)
class Request:
    """What is wanted; at most one of `topics`, `total`, `floor` and `like` says how much of what.

    Without any of them the config's targets count, or else as many rows as there are, shared out
    by the topics' weights.

    Attributes:
        topics: topic id -> new records, exactly so many.
        total: sum of what the topics are to hold, old and new, shared out as the config says; a
            topic that holds more already keeps it.
        floor: rows that every topic is to have, old and new together.
        like: dataset whose topics' shares and manner the new records take.
        count: new records like those; as many as `like` has rows unless it is given.
        facets: facet -> value that every new record has.
        examples: rows that a prompt shows, to be written like; as the config says unless it is
            given, and 2 with `like`.

    Raises:
        ConfigError: two of them contradict each other, or a number is below 1.
    """

    topics: Mapping[str, int] = field(default_factory=dict)
    total: int | None = None
    floor: int | None = None
    like: str | None = None
    count: int | None = None
    facets: Mapping[str, str] = field(default_factory=dict)
    examples: int | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("topics", "total", "floor", "like")
                 if getattr(self, name) not in (None, {})]  # fmt: skip
        if len(given) > 1:
            one, other = (f"--{name.removesuffix('s')}" for name in given[:2])
            raise ConfigError(other, f"is given beside {one}", "Give one of them")
        if self.count is not None and self.like is None:
            raise ConfigError("--count", "is given without --like", "Use --total or --topic ID=N")
        for name in ("total", "floor", "count"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise ConfigError(f"--{name}", f"is {number}", "Give 1 or more")


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
    how = _dataset(dataset, request, config)
    update: dict[str, Any] = {"dataset": how} | ({"out": out} if out else {})
    config = config.model_copy(update=update)
    targets = _targets(request, config, base)
    facets = dict(config.targets.facets) | dict(request.facets)
    targets = targets.model_copy(update={"facets": facets})
    return make_plan(config.model_copy(update={"targets": targets}), base)


def _dataset(dataset: str | DatasetConfig, request: Request, config: RunConfig) -> DatasetConfig:
    """How the dataset is read and shown, its paths whole."""
    given: dict[str, Any] = {}
    if isinstance(dataset, DatasetConfig):
        given = dataset.model_dump(exclude_unset=True)
    elif config.dataset:
        given = config.dataset.model_dump(exclude_unset=True)
    if isinstance(dataset, str):
        given["location"] = whole_path(dataset, Path())
    if request.topics or request.like is not None:
        given["counted"] = False
    if request.like is not None:
        given["like"] = whole_path(request.like, Path())
        given.setdefault("examples", _EXAMPLES_LIKE)
    if request.examples is not None:
        given["examples"] = request.examples
    return checked(DatasetConfig, given, "dataset")


def _targets(request: Request, config: RunConfig, base: Path) -> Targets:
    if request.topics:
        return checked(Targets, {"policy": "explicit", "topics": dict(request.topics)}, "--topic")
    if request.like is not None:
        count = {} if request.count is None else {"total": request.count}
        return checked(Targets, {"policy": "like"} | count, "--like")
    topics = len(specs_of(config, base).topics)
    return as_asked(config.targets, request.total, request.floor, topics)


def carry_out(
    plan: Plan,
    address: str | None,
    accept_changes: bool,
    show: Callable[[Snapshot], None],
    say: Callable[[str], None],
) -> RunResult:
    """Run a plan to its end; see `fill`. Where nothing is missing, nothing is started."""
    if not any(plan.targets.values()):
        reason = "nothing is missing"
        status = Status.COMPLETE
        return RunResult(
            status, reason, 0, {"status": status, "reason": reason, "accepted": 0}, plan.files
        )
    from actors.launch import Options, execute

    snapshot = execute(plan, Options(address, accept_changes), show, say)
    report = store.read_report(plan.files)
    return RunResult(snapshot.status, snapshot.reason, report["accepted"], report, plan.files)
