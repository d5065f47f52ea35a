"""Runs as jobs of a Ray cluster, through its Jobs API."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from actors.joining import knock
from synth.errors import ConfigError, EngineFailure

_POLL_S = 1.0
_PATIENCE_S = 120.0  # a head that does not answer for so long is taken for gone
# Until a job that was told to stop is killed: a run books what it has in hand.
_STOP_S = 90
_OUT = "evenfill_out"
_OVERRIDES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_NOISY = ("dashboard.modules.job.sdk", "dashboard.modules.dashboard_sdk",
          "_private.runtime_env.packaging")  # fmt: skip


@dataclass(frozen=True)
class Job:
    """A job as the cluster tells of it.

    Attributes:
        id: Ray's submission id.
        out: the run folder, if Evenfill submitted the job.
        status: Ray's word: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.
        message: what Ray has to say about it.
        exit_code: of the run's process, once that ended by itself.
    """

    id: str
    out: str | None
    status: str
    message: str
    exit_code: int | None

    @property
    def ended(self) -> bool:
        return self.status in ("SUCCEEDED", "FAILED", "STOPPED")


class Jobs:
    """The jobs of one cluster.

    Args:
        address: of the cluster's dashboard, such as http://head:8265.

    Raises:
        ConfigError: no Jobs API answers there, or it does not let us in.
    """

    def __init__(self, address: str):
        self.address = address.rstrip("/")
        _check_address(self.address)
        from ray.job_submission import JobSubmissionClient

        for name in _NOISY:
            logging.getLogger(f"ray.{name}").setLevel(logging.WARNING)
        with self._explained():
            try:
                self._client = JobSubmissionClient(self.address)
            except RuntimeError as error:  # something else that speaks HTTP
                raise ConnectionError(str(error)) from error

    def submit(self, folder: Path, command: Sequence[str], out: str) -> str:
        """Have a command run on the head, in a copy of `folder`; the job's id.

        The id is the run folder's, with a number: of two submissions in the same moment the
        cluster takes one.

        Raises:
            ConfigError: a job is at work on that run folder.
        """
        prefix = f"evenfill-{hashlib.sha256(out.encode()).hexdigest()[:8]}-"
        numbers = [0]
        for job in self.all():
            number = job.id.removeprefix(prefix)
            if job.id.startswith(prefix) and number.isdecimal():
                if not job.ended:
                    raise self._in_use(out, job.id)
                numbers.append(int(number))
        job_id = f"{prefix}{max(numbers) + 1}"
        patience = {"RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_S)}
        try:
            with self._explained():
                self._client.submit_job(
                    # `exec`: a signal to the job is to reach the run, not a shell around it.
                    entrypoint=f"exec {shlex.join(command)}",
                    submission_id=job_id,
                    runtime_env={"working_dir": str(folder), "env_vars": patience},
                    metadata={_OUT: out},
                )
        except RuntimeError as error:
            if any(job.id == job_id for job in self.all()):
                raise self._in_use(out, job_id) from error
            why = _last_line(error)
            raise EngineFailure(f"the cluster did not take the job ({why})") from error
        return job_id

    @staticmethod
    def _in_use(out: str, job_id: str) -> ConfigError:
        return ConfigError(
            "out",
            f"{out} is being filled by the job {job_id}",
            f"Rejoin it with --job {job_id}, stop it with --job {job_id} --stop, or give "
            "another --out",
        )

    def all(self) -> list[Job]:
        """Every job that the cluster remembers."""
        with self._explained():
            found = self._client.list_jobs()
        return [_job(details) for details in found if details.submission_id]

    def get(self, job_id: str) -> Job:
        """A job by its id.

        Raises:
            ConfigError: there is none.
        """
        with self._explained():
            try:
                return _job(self._client.get_job_info(job_id))
            except RuntimeError as error:
                known = ", ".join(job.id for job in self.all() if job.out) or "none"
                raise ConfigError(
                    "--job",
                    f"the cluster at {self.address} knows no job {job_id!r}",
                    f"Known jobs: {known}",
                ) from error

    def stop(self, job_id: str) -> None:
        """Tell a job to stop; it commits what it has in hand, and is killed after 90 s."""
        with self._explained():
            self._client.stop_job(job_id)

    def follow(self, job_id: str, write: Callable[[str], object]) -> Job:
        """Write a job's log, from its beginning, until it ends; how it ended.

        Raises:
            EngineFailure: the cluster does not answer any more.
        """
        from aiohttp import ClientError

        written = 0

        async def tail() -> None:
            nonlocal written
            skip = written
            async for text in self._client.tail_job_logs(job_id):
                new, skip = text[skip:], max(0, skip - len(text))
                written += len(new)
                write(new)

        answered = time.monotonic()
        while True:
            with suppress(ClientError, RuntimeError, OSError):
                asyncio.run(tail())
            try:
                job = self.get(job_id)
            except ConfigError as error:
                if time.monotonic() - answered > _PATIENCE_S:
                    raise EngineFailure(f"the job {job_id} is out of sight ({error})") from error
            else:
                answered = time.monotonic()
                if job.ended:
                    return job
            time.sleep(_POLL_S)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What the client raises, as a user's mistake where it may be one."""
        from ray.exceptions import AuthenticationError
        from requests.exceptions import RequestException

        try:
            yield
        except AuthenticationError as error:
            raise ConfigError(
                "--address",
                f"the cluster at {self.address} wants its token ({_first_line(error)})",
                "Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the cluster's token",
            ) from error
        except (RequestException, ConnectionError, KeyError) as error:
            raise ConfigError(
                "--address",
                f"no Ray Jobs API answers at {self.address} ({_first_line(error)})",
                "Give the address of the cluster's dashboard, such as http://head:8265",
            ) from error


def _check_address(address: str) -> None:
    """Refuse what Ray's client would wait for, or would silently pass over."""
    parts = urlsplit(address)
    try:
        host, port = parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        host = port = None
    if parts.scheme not in ("http", "https") or host is None or port is None:
        raise ConfigError(
            "--address",
            f"{address!r} is not the address of a dashboard",
            "Give one such as http://head:8265",
        )
    for name in _OVERRIDES:
        if os.environ.get(name, address).rstrip("/") != address:
            raise ConfigError(
                "--address",
                f"is {address}, but {name} is {os.environ[name]}, which Ray's client goes to",
                f"Unset {name}",
            )
    try:
        knock(host, port)
    except OSError as error:
        raise ConfigError(
            "--address",
            f"nothing answers at {address} ({error})",
            "Give the address of a running cluster's dashboard, such as http://head:8265",
        ) from error


def _job(details: Any) -> Job:
    return Job(
        details.submission_id,
        (details.metadata or {}).get(_OUT),
        str(details.status.value),
        details.message or "",
        details.driver_exit_code,
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
