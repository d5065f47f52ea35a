"""One start of a run: folder, figures and coordinator, brought together."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from synth import store
from synth.card import dataset_card
from synth.claim import LostClaimError
from synth.config import content_of
from synth.coordinator import Coordinator
from synth.embedding import Embedder
from synth.event_log import EventLog
from synth.events import Committed, FleetNews, RunEnded, RunOpened, RunStopping, TopicWatch
from synth.labeller import TopicLabeller
from synth.lock import RunLock
from synth.metrics import CommitFigures, Measurement, measure
from synth.models import BUILTIN_MODEL, describe
from synth.plan import Plan, check_resumable
from synth.report import Status, Timing, versions
from synth.restore import restore
from synth.segments import accepted_schema
from synth.vector_cache import VectorCache, cache_path
from synth.writer import PURPOSE, RunWriter


class Session:
    """One start of a run: its manifest, its writers, its events and its coordinator.

    Holds the folder's lock from construction to `close`.

    Args:
        plan: the checked run.
        accept_changes: go on although the config differs from the folder's.
        clock: seconds, monotonic.
        rebuilt: another coordinator of the same driver held the run before and died.

    Raises:
        StoreError: the folder cannot be used.
    """

    def __init__(
        self,
        plan: Plan,
        accept_changes: bool,
        clock: Callable[[], float] = time.monotonic,
        rebuilt: bool = False,
    ):
        self._plan = plan
        self._clock = clock
        store.prepare(plan.files)
        lock = RunLock(plan.files, PURPOSE)
        manifest = check_resumable(plan, accept_changes)
        config = plan.config
        on_cpu = config.embedder.model_copy(update={"device": "cpu"})  # GPUs are the engines'
        embedder = Embedder(on_cpu, threads=1)
        schema = accepted_schema(embedder.dim, list(plan.specs.facets))
        self.writer = RunWriter(plan.files, lock, schema)
        self.epoch = self.writer.epoch
        self.run_id = str(manifest["run_id"]) if manifest else _new_run_id(plan)
        self._past = Timing(**manifest["timing"]) if manifest else Timing()
        self._created = manifest["created_at"] if manifest else _utc_now()
        self._started = clock()
        self._engine_up: float | None = None
        self._first_record: float | None = None
        kept = VectorCache(embedder, cache_path(config.embedder) if config.dataset else None)
        restored = restore(plan, kept, self.run_id, self.epoch)
        self.coordinator = Coordinator(
            run_id=self.run_id,
            epoch=self.epoch,
            config=config,
            model_name=describe(config.model.name, BUILTIN_MODEL),
            balancer=restored.balancer,
            index=restored.index,
            labeller=TopicLabeller(plan.specs, embedder.embed_kept, config.topic_gate),
            tally=restored.tally,
            repeats=restored.repeats,
            decided=restored.decided,
            clock=clock,
        )
        self.events = EventLog(plan.files.events, self.epoch)
        self._topics = TopicWatch()
        self._tally = restored.tally
        self._commits = CommitFigures()
        self._replicas: Mapping[str, int] = {}
        self.events.add(self._opening(manifest is not None, rebuilt))
        self.watch_topics()
        self.writer.write_state(*self.state())
        self.events.flush()

    def engine_is_up(self) -> None:
        """The first replica is ready: generation starts to count."""
        if self._engine_up is None:
            self._engine_up = self._clock()

    def _opening(self, resumed: bool, rebuilt: bool) -> RunOpened:
        snapshot = self.coordinator.snapshot(0.0)
        again = "coordinator_restarted" if rebuilt else "run_resumed"
        return RunOpened(
            event=again if resumed else "run_started",
            run=self.run_id,
            epoch=self.epoch,
            accepted=snapshot.accepted,
            target=snapshot.target,
            fingerprint=self._plan.fingerprint,
            versions=versions(),
        )

    def committed(self, accepted: int, rejected: int, seconds: float) -> None:
        """Note a commit, and when the first record of the session became durable."""
        if accepted and self._first_record is None and self._engine_up is not None:
            self._first_record = self._clock() - self._engine_up
        self._commits.add(seconds)
        self.events.add(Committed(accepted=accepted, rejected=rejected, seconds=seconds))
        self.watch_topics()

    def hear_of_fleet(self, news: FleetNews) -> None:
        """Take in what the driver tells of the replicas."""
        self._replicas = news.states
        self.events.add(*news.events)

    def watch_topics(self) -> None:
        """Note what has become of the topics since the last call."""
        self.events.add(*self._topics.news(self.coordinator.snapshot(0.0)))

    def measure(self) -> list[Measurement]:
        """The figures of this moment, as metrics."""
        coordinator = self.coordinator
        figures = coordinator.snapshot(self.generate_s), self._tally, coordinator.waiting
        return list(measure(*figures, self._replicas, self._commits))

    @property
    def generate_s(self) -> float:
        """Seconds of this session since the first replica was ready."""
        return self._clock() - self._engine_up if self._engine_up is not None else 0.0

    def timing(self) -> Timing:
        """All sessions' seconds, this one included."""
        now = self._clock()
        start = (self._engine_up or now) - self._started
        return self._past.plus(
            Timing(now - self._started, start, self.generate_s, self._first_record)
        )

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What `run.json` and `report.json` should say now."""
        timing = self.timing()
        report = self.coordinator.report(timing)
        return (
            {
                "run_id": self.run_id,
                "epoch": self.epoch,
                "status": report["status"],
                "reason": report["reason"],
                "created_at": self._created,
                "updated_at": _utc_now(),
                "holder": self.writer.holder,
                "strays": self.writer.strays,
                "fingerprint": self._plan.fingerprint,
                "digest": self._plan.digest,
                "dataset_digest": self._plan.existing.texts if self._plan.existing else None,
                "content": content_of(self._plan.config),
                "config": self._plan.config.model_dump(mode="json"),
                "targets": dict(self._plan.targets),
                "timing": asdict(timing),
                "versions": versions(),
            },
            report,
        )

    def stop(self, status: Status, reason: str) -> None:
        """Lease nothing more; the first reason given stands."""
        if not self.coordinator.snapshot(0.0).stopping:
            self.events.add(RunStopping(status=status, reason=reason))
        self.coordinator.stop(status, reason)

    def end(self) -> None:
        """Note that this start is over; what comes is `close`."""
        snapshot = self.coordinator.snapshot(self.generate_s)
        self.events.add(
            RunEnded(
                status=snapshot.status,
                reason=snapshot.reason,
                accepted=snapshot.accepted,
                target=snapshot.target,
                generate_s=self.generate_s,
            )
        )

    def close(self) -> None:
        """Write the closing figures, the dataset card and the events, and free the folder."""
        with suppress(LostClaimError):  # then they are another run's
            self.writer.sweep()
            self.writer.write_state(*self.state())
            report = self.coordinator.report(self.timing())
            self.writer.write_card(dataset_card(self._plan.config, self._plan.specs, report))
        self.events.flush()
        self.writer.close()


def _utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _new_run_id(plan: Plan) -> str:
    """Eight hex digits from seed, config and specs: the same run anywhere has the same ids."""
    return hashlib.sha256(plan.fingerprint.encode()).hexdigest()[:8]
