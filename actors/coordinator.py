"""The coordinator actor: one event loop around the coordinator's logic, and the group commit."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from synth.config import RunConfig
from synth.errors import UserError
from synth.protocol import AnswerBatch, QuestionBatch, Reply
from synth.report import Snapshot, Status
from synth.runs import Session, make_plan

_TICK_S = 0.1
_REPORT_S = 5.0  # between refreshes of report.json


class CoordinatorActor:
    """Owns coverage, index and store of one run; made an actor at launch. Call `open` first."""

    def __init__(self, config: RunConfig, base: str, accept_changes: bool):
        self._config = config
        self._base = Path(base)
        self._accept_changes = accept_changes
        self._session: Session | None = None
        self._committing: asyncio.Task[None] | None = None
        self._durable = asyncio.Event()
        self._closed = False

    async def open(self) -> UserError | None:
        """Take the run folder and rebuild from it; returns the user's mistake, if there is one."""
        try:
            plan = make_plan(self._config, self._base)
            self._session = Session(plan, self._accept_changes)
        except UserError as error:
            return error
        self._committing = asyncio.create_task(self._commit_loop(self._session))
        return None

    @property
    def _run(self) -> Session:
        if self._session is None:
            raise RuntimeError("the coordinator is not open")
        return self._session

    async def engine_is_up(self) -> None:
        """The first replica is ready."""
        self._run.engine_is_up()

    async def lease(self, replica: str, want: int) -> Reply:
        return self._run.coordinator.lease(replica, want)

    async def reserve(self, replica: str, batch: QuestionBatch) -> Reply:
        return self._run.coordinator.reserve(replica, batch)

    async def commit(self, replica: str, batch: AnswerBatch) -> Reply:
        """Answers once the batch is durable."""
        reply = self._run.coordinator.commit(replica, batch)
        if self._run.coordinator.waiting:
            await self._durable.wait()
        return reply

    async def replica_lost(self, replica: str) -> int:
        """Take back what a dead replica held."""
        return self._run.coordinator.replica_lost(replica)

    async def stop(self, status: Status, reason: str) -> None:
        """Lease nothing more."""
        self._run.coordinator.stop(status, reason)

    async def snapshot(self) -> Snapshot:
        """Where the run stands. Raises what broke the commit loop, if anything did."""
        if self._committing and self._committing.done() and not self._closed:
            self._committing.result()
        return self._run.coordinator.snapshot(self._run.generate_s)

    async def close(self) -> Snapshot:
        """Commit what waits, write the closing figures and free the folder."""
        run = self._run
        self._closed = True
        if self._committing:
            await self._committing
        run.close()
        return run.coordinator.snapshot(run.generate_s)

    async def _commit_loop(self, run: Session) -> None:
        """Write a segment when enough waits or enough time has passed; refresh the report."""
        store = self._config.store
        last_commit = last_report = time.monotonic()
        while True:
            now = time.monotonic()
            waiting = run.coordinator.waiting
            due = now - last_commit >= store.commit_seconds or waiting >= store.commit_records
            if waiting and (due or self._closed):
                await self._commit(run)
                last_commit = time.monotonic()
            elif not waiting:
                last_commit = now
                if self._closed:
                    return
            if now - last_report >= _REPORT_S:
                run.coordinator.expire()
                self._check_wall_time(run)
                await asyncio.to_thread(run.save)
                last_report = now
            await asyncio.sleep(_TICK_S)

    async def _commit(self, run: Session) -> None:
        batch = run.coordinator.take_batch()
        durable, self._durable = self._durable, asyncio.Event()
        await asyncio.to_thread(batch.write, run.accepted, run.rejected)
        run.coordinator.settle(batch)
        run.committed(len(batch.accepted))
        durable.set()

    def _check_wall_time(self, run: Session) -> None:
        limit = self._config.budget.wall_time
        if limit is not None and run.timing().wall_s >= limit:
            run.coordinator.stop(Status.BUDGET, f"the wall time of {limit:g} s is spent")
