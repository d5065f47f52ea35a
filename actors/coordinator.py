"""The coordinator actor: one event loop around the coordinator's logic, and the group commit."""

from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import ray

from actors.metrics import RayMetrics
from synth.errors import UserError
from synth.events import Compacted, FleetNews, StoreFailing, StoreRecovered
from synth.plan import Plan
from synth.protocol import NO_EPOCH, AnswerBatch, Holding, QuestionBatch, Reply
from synth.report import Snapshot, Status
from synth.session import Session

_TICK_S = 0.1
_REPORT_S = 5.0  # between refreshes of report.json
_RETRY_S = 2.0  # between attempts to write what could not be written

# Calls that an actor takes at once: `commit` waits inside for the disk, one call per
# micro-batch of every replica, and must not keep leases and reservations out.
MAX_CONCURRENCY = 100_000


class CoordinatorActor:
    """Owns coverage, index and store of one run; made an actor at launch. Call `open` first.

    Args:
        accept_changes: resume although the config differs.
        pieces: the pickled `Plan`, cut up.
    """

    def __init__(self, accept_changes: bool, *pieces: bytes):
        self._plan: Plan = pickle.loads(b"".join(pieces))
        self._accept_changes = accept_changes
        self._session: Session | None = None
        self._metrics: RayMetrics | None = None
        self._committing: asyncio.Task[None] | None = None
        self._durable: asyncio.Future[None] | None = None
        self._closed = False

    def __repr__(self) -> str:
        return "coordinator"  # what Ray's dashboard calls the actor

    async def open(self) -> UserError | None:
        """Take the run folder and rebuild from it; returns the user's mistake, if there is one.

        A coordinator that Ray restarts opens again at the first call that reaches it.
        """
        try:
            await self._opened()
        except UserError as error:
            return error
        return None

    async def _opened(self) -> Session:
        if self._session is None:
            rebuilt = ray.get_runtime_context().was_current_actor_reconstructed
            self._session = Session(self._plan, self._accept_changes, rebuilt=rebuilt)
            self._metrics = RayMetrics(self._session.run_id, self._session.measure())
            self._accept_changes = True
            self._durable = asyncio.get_running_loop().create_future()
            self._committing = asyncio.create_task(self._commit_loop(self._session))
        return self._session

    async def lease(self, replica: str, epoch: int, want: int) -> Reply:
        run = await self._opened()
        run.engine_is_up()
        return self._stranger(run, epoch) or run.coordinator.lease(replica, want)

    async def reserve(self, replica: str, epoch: int, batch: QuestionBatch) -> Reply:
        run = await self._opened()
        return self._stranger(run, epoch) or run.coordinator.reserve(replica, batch)

    async def commit(self, replica: str, epoch: int, batch: AnswerBatch) -> Reply:
        """Answers once the batch is durable, or when the store has given up and the run ends."""
        run = await self._opened()
        if stranger := self._stranger(run, epoch):
            return stranger
        run.coordinator.commit(replica, batch)
        if run.coordinator.waiting and self._durable is not None:
            await asyncio.shield(self._durable)
        return run.coordinator.lease(replica, 0)

    async def rejoin(self, replica: str, holdings: Sequence[Holding]) -> Reply:
        """Take over what a replica has in hand from an earlier start of the coordinator."""
        return (await self._opened()).coordinator.rejoin(replica, holdings)

    @staticmethod
    def _stranger(run: Session, epoch: int) -> Reply | None:
        """The reply to a replica that still believes in an earlier start."""
        known = epoch in (NO_EPOCH, run.epoch)
        return None if known else Reply(epoch=run.epoch, rejoin=True)

    async def replica_lost(self, replica: str) -> None:
        """Take back what a dead replica held."""
        (await self._opened()).coordinator.replica_lost(replica)

    async def stop(self, status: Status, reason: str) -> None:
        """Lease nothing more."""
        (await self._opened()).stop(status, reason)

    async def snapshot(self, news: FleetNews | None = None) -> Snapshot:
        """Where the run stands; `news` is what became of the replicas meanwhile."""
        run = await self._opened()
        if news is not None:
            run.hear_of_fleet(news)
        return run.coordinator.snapshot(run.generate_s)

    async def close(self) -> Snapshot:
        """Commit what waits, write the closing figures and free the folder."""
        run = await self._opened()
        self._closed = True
        if self._committing:
            await self._committing
        await self._compact(run, 2)
        run.end()
        self._export(run)
        error = await self._try_for_a_while(run, run.close)
        if error and run.coordinator.outcome()[0] is not Status.FAILED:
            raise error
        return run.coordinator.snapshot(run.generate_s)

    async def _commit_loop(self, run: Session) -> None:
        """Write a segment when enough waits or enough time has passed; refresh the report."""
        store = self._plan.config.store
        last_commit, last_report = float("-inf"), time.monotonic()
        while True:
            now = time.monotonic()
            waiting = run.coordinator.waiting
            due = now - last_commit >= store.commit_seconds or waiting >= store.commit_records
            if waiting and (due or self._closed):
                if not await self._commit(run):
                    return
                last_commit = time.monotonic()
            elif self._closed and not waiting:
                return
            if now - last_report >= _REPORT_S:
                run.coordinator.expire()
                self._check_wall_time(run)
                await self._refresh(run)
                last_report = now
            await asyncio.sleep(_TICK_S)

    async def _commit(self, run: Session) -> bool:
        """Make everything that waits durable; False when the store cannot be written to."""
        batch = run.coordinator.take_batch()
        loop = asyncio.get_running_loop()
        durable, self._durable = self._durable, loop.create_future()
        started = time.monotonic()
        error = await self._try_for_a_while(run, run.writer.write, batch)
        if error is not None:
            run.stop(Status.FAILED, f"the store cannot be written to ({error})")
            for future in (durable, self._durable):
                if future:
                    future.set_result(None)
            return False
        run.coordinator.settle(batch)
        seconds = time.monotonic() - started
        run.committed(len(batch.accepted), len(batch.rejected), seconds)
        if durable:
            durable.set_result(None)
        every = self._plan.config.store.compact_segments
        if run.writer.commits % every == 0:
            await self._compact(run, every)
        return True

    async def _compact(self, run: Session, at_least: int) -> None:
        """Merge small segments; what is wrong with the store shows at the next commit, not here."""
        started = time.monotonic()
        with suppress(OSError, UserError):
            merged = await asyncio.to_thread(run.writer.compact, at_least)
            if merged:
                run.events.add(Compacted(segments=merged, seconds=time.monotonic() - started))

    async def _try_for_a_while(
        self, run: Session, write: Callable[..., None], *arguments: object
    ) -> Exception | None:
        """Write, trying again for `store.retry` seconds; why it failed, if it did."""
        started = time.monotonic()
        failed = False
        while True:
            try:
                await asyncio.to_thread(write, *arguments)
            except UserError as error:  # the folder is another run's, or holds what is not ours
                return error
            except OSError as error:
                if not failed:
                    failed = True
                    run.events.add(StoreFailing(error=str(error)))
                if time.monotonic() > started + self._plan.config.store.retry:
                    return error
                await asyncio.sleep(_RETRY_S)
            else:
                if failed:
                    run.events.add(StoreRecovered(seconds=time.monotonic() - started))
                return None

    async def _refresh(self, run: Session) -> None:
        """Refresh figures and events; what is wrong with the store shows at the next commit."""
        run.watch_topics()
        self._export(run)
        for write in (partial(run.writer.write_state, *run.state()), run.events.flush):
            with suppress(OSError, UserError):
                await asyncio.to_thread(write)

    def _export(self, run: Session) -> None:
        if self._metrics is not None:
            self._metrics.emit(run.measure())

    def _check_wall_time(self, run: Session) -> None:
        limit = self._plan.config.budget.wall_time
        if limit is not None and run.timing().wall_s >= limit:
            reason = f"the wall time of {limit:g} s is spent; raise budget.wall_time to go on"
            run.stop(Status.BUDGET, reason)
