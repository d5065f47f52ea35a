"""One start of a run: folder, figures and coordinator, brought together."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
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
from synth.labeller import TopicLabeller
from synth.lock import RunLock
from synth.models import BUILTIN_MODEL, describe
from synth.plan import Plan, check_resumable
from synth.report import Timing, versions
from synth.restore import restore
from synth.segments import accepted_schema
from synth.vector_cache import VectorCache, cache_path
from synth.writer import PURPOSE, RunWriter


class Session:
    """One start of a run: its manifest, its writers and its coordinator.

    Holds the folder's lock from construction to `close`.

    Args:
        plan: the checked run.
        accept_changes: go on although the config differs from the folder's.
        clock: seconds, monotonic.

    Raises:
        StoreError: the folder cannot be used.
    """

    def __init__(
        self, plan: Plan, accept_changes: bool, clock: Callable[[], float] = time.monotonic
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
        self.writer.write_state(*self.state())

    def engine_is_up(self) -> None:
        """The first replica is ready: generation starts to count."""
        if self._engine_up is None:
            self._engine_up = self._clock()

    def committed(self, records: int) -> None:
        """Note when the first record of the session became durable."""
        if records and self._first_record is None and self._engine_up is not None:
            self._first_record = self._clock() - self._engine_up

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

    def close(self) -> None:
        """Write the closing figures and the dataset card, and free the folder."""
        with suppress(LostClaimError):  # then they are another run's
            self.writer.sweep()
            self.writer.write_state(*self.state())
            report = self.coordinator.report(self.timing())
            self.writer.write_card(dataset_card(self._plan.config, self._plan.specs, report))
        self.writer.close()


def _utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _new_run_id(plan: Plan) -> str:
    """Eight hex digits from seed, config and specs: the same run anywhere has the same ids."""
    return hashlib.sha256(plan.fingerprint.encode()).hexdigest()[:8]
