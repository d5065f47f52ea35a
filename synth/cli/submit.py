"""The verb that hands a run to a Ray cluster as a job."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from synth import __version__
from synth.cli.common import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_UNMET,
    EXIT_USER,
    AcceptOption,
    ConfigOption,
    JsonOption,
    SetOption,
    err,
    load,
    out,
    overrides,
)
from synth.errors import ConfigError, EngineFailure, StoreError

if TYPE_CHECKING:
    from actors.jobs import Job, Jobs
    from synth.plan import Plan

_EXIT_CODES = (EXIT_DONE, EXIT_FAILED, EXIT_USER, EXIT_UNMET, EXIT_INTERRUPTED)
_NO_SUCH_COMMAND = 127  # what a shell says of a command that is not installed


def submit(
    address: Annotated[str, typer.Option(help="The cluster's dashboard, e.g. http://head:8265.")],
    config: ConfigOption = None,
    total: Annotated[int | None, typer.Option(help="Records over all topics.")] = None,
    folder: Annotated[
        str | None, typer.Option("--out", help="Run folder: s3://bucket/folder, or a path there.")
    ] = None,
    options: SetOption = None,
    accept_changes: AcceptOption = False,
    job: Annotated[
        str | None, typer.Option("--job", metavar="ID", help="Rejoin a job instead.")
    ] = None,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the job of --job.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Follow the job's log to its end.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Hand a run to a Ray cluster as a job, and follow it; or rejoin one."""
    from actors.jobs import Jobs

    news = err if as_json else out
    given = config or total is not None or folder or options or accept_changes
    if job is None and stop:
        raise ConfigError("--stop", "is given without --job", "Name the job to stop")
    if job is not None and given:
        raise ConfigError("--job", "is given beside options of a new run", "Give one or the other")
    if job is None:
        jobs, job = _submitted(address, config, overrides(options, total, folder), accept_changes)
        news.print(f"job {job} submitted", highlight=False)
    else:
        jobs = Jobs(address)
        jobs.get(job)
        if stop:
            jobs.stop(job)
            news.print(f"job {job} was told to stop", highlight=False)
    again = f"evenfill submit --address {address} --job {job}"
    if not wait:
        news.print(f"follow it with `{again}`, stop it with `{again} --stop`", highlight=False)
        _print_json(as_json, address, jobs.get(job), None)
        return
    log = sys.stderr if as_json else sys.stdout
    try:
        ended = jobs.follow(job, lambda text: print(text, end="", file=log, flush=True))
    except KeyboardInterrupt as error:
        err.print("\nleft; the job goes on", highlight=False)
        err.print(f"rejoin it with `{again}`, stop it with `{again} --stop`", highlight=False)
        raise typer.Exit(EXIT_INTERRUPTED) from error
    code = exit_code_of(ended)
    _print_json(as_json, address, ended, code)
    news.print(f"job {job} ended: {ended.status.lower()}, exit code {code}", highlight=False)
    raise typer.Exit(code)


def _submitted(
    address: str, config: Path | None, changes: list[str], accept_changes: bool
) -> tuple[Jobs, str]:
    """Check a run as far as that is possible here, pack it and submit it."""
    from actors.jobs import Jobs
    from synth.packing import CONFIG_FILE, check_travels, pack
    from synth.plan import make_plan

    loaded, base = load(config, changes)
    check_travels(loaded, base)
    jobs = Jobs(address)
    plan = make_plan(loaded, base)
    _check_folder(plan, accept_changes)
    command = ["evenfill", "run", "--config", CONFIG_FILE, "--address", "auto"]
    command += ["--submitted-by", __version__]
    command += ["--accept-changes"] if accept_changes else []
    with TemporaryDirectory(prefix="evenfill-job-") as packed:
        pack(loaded, base, Path(packed))
        return jobs, jobs.submit(Path(packed), command, str(plan.files.root))


def _check_folder(plan: Plan, accept_changes: bool) -> None:
    """What `run` would find wrong with the run folder, if that can be read from here."""
    from synth.files import LocalFolder
    from synth.lock import IN_USE, in_use_by
    from synth.plan import check_resumable

    root = plan.files.root
    if isinstance(root, LocalFolder):
        err.print(f"{root} will be on the disk of the cluster's head", highlight=False)
        return
    try:
        root.names()
    except OSError as error:
        err.print(f"{root} cannot be read from here, only there ({error})", markup=False)
        return
    check_resumable(plan, accept_changes)
    if holder := in_use_by(plan.files):
        raise StoreError("out", f"{root} is in use by {holder}", IN_USE)


def exit_code_of(job: Job) -> int:
    """What the run itself ended with.

    Raises:
        ConfigError: the cluster has no Evenfill.
        EngineFailure: the run did not end by itself.
    """
    if job.status == "STOPPED":
        return EXIT_INTERRUPTED
    if job.exit_code == _NO_SUCH_COMMAND:
        raise ConfigError(
            "--address",
            "the cluster's head has no `evenfill` command",
            f"Install Evenfill {__version__} on every node",
        )
    if job.exit_code is None or job.exit_code not in _EXIT_CODES:
        reason = job.message.strip().splitlines() or ["no reason is known"]
        raise EngineFailure(f"the job {job.id} did not end by itself ({reason[0]})")
    return job.exit_code


def _print_json(as_json: bool, address: str, job: Job, code: int | None) -> None:
    if as_json:
        told = {"job": job.id, "address": address, "out": job.out}
        print(json.dumps(told | {"status": job.status, "exit_code": code}))
