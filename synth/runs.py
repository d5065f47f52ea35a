"""Open a run: check the folder, compare configs, rebuild everything from the store."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from synth import prompts, store
from synth.balancer import Balancer
from synth.config import RunConfig, content_of, differences, fingerprint
from synth.coordinator import Coordinator
from synth.durable import remove_leftovers, write_durably
from synth.embedding import Embedder
from synth.errors import StoreError
from synth.index import DuplicateIndex, ExactRepeats
from synth.labeller import TopicLabeller
from synth.models import BUILTIN_MODEL, describe
from synth.outbox import Decided
from synth.protocol import Reason, Tokens
from synth.report import Tally, Timing, TopicTally, versions
from synth.segments import (
    REJECTED_SCHEMA,
    SegmentWriter,
    accepted_schema,
    last_epoch,
    read_rows,
    remove_superseded,
)
from synth.specs import SITUATION, Specs, find_specs_dir, load_specs
from synth.store import RunFiles
from synth.targets import share_out

_REMEMBERED_EPOCHS = 8  # starts whose verdicts a replica may still ask for
_RESTORED = (
    "id",
    "topic",
    "requested_topic",
    "facets",
    "question",
    "answer",
    "embedding",
    "nearest_similarity",
    "prompt_tokens",
    "completion_tokens",
)
_RESTORED_REFUSALS = (
    "id",
    "topic",
    "requested_topic",
    "stage",
    "attempt",
    "reason",
    "prompt_tokens",
    "completion_tokens",
)


@dataclass(frozen=True)
class Plan:
    """A run that passed every check which needs no engine.

    Attributes:
        targets: topic id -> records.
        files: the run folder, as an absolute path.
    """

    config: RunConfig
    specs: Specs
    targets: Mapping[str, int]
    files: RunFiles

    @property
    def digest(self) -> str:
        """The specs' digest, the prompts' version included."""
        return f"{self.specs.digest}-p{prompts.VERSION}"

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.config, self.digest)


def make_plan(config: RunConfig, base: Path) -> Plan:
    """Load the specs and share out the targets.

    Args:
        config: the run config.
        base: the folder of the config file, or the current one.

    Raises:
        UserError: whatever is wrong with specs, targets or the output path.
    """
    specs = load_specs(find_specs_dir(config.topics, base))
    targets = share_out(config.targets, {t: spec.weight for t, spec in specs.topics.items()})
    return Plan(config, specs, targets, store.run_files(config.out))


def check_resumable(plan: Plan, accept_changes: bool) -> dict[str, Any] | None:
    """The manifest of the run that is already in the folder, or None for a new run.

    Raises:
        StoreError: the folder holds a run with another config, and the user did not agree.
    """
    manifest = store.read_manifest(plan.files)
    if manifest is None or manifest.get("fingerprint") == plan.fingerprint:
        return manifest
    changes = differences(manifest.get("content", {}), content_of(plan.config))
    if any(change.startswith("embedder.") for change in changes):
        raise StoreError(
            str(plan.files.root),
            f"holds vectors of another embedder ({'; '.join(changes)})",
            "Keep the embedder, or give another --out",
        )
    if accept_changes:
        return manifest
    if manifest.get("digest") != plan.digest:
        changes.append(f"topic specs or prompts: {manifest.get('digest')} -> {plan.digest}")
    raise StoreError(
        str(plan.files.root),
        "holds a run with another config (" + "; ".join(changes or ["unknown difference"]) + ")",
        "Run with the old config, give another --out, or agree with --accept-changes",
    )


@dataclass(frozen=True)
class Restored:
    """What a store holds, taken into the parts of a coordinator."""

    balancer: Balancer
    index: DuplicateIndex
    repeats: ExactRepeats
    tally: Tally
    decided: Decided


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
        self._files = plan.files
        store.prepare(plan.files)
        self._lock = store.RunLock(plan.files, "an evenfill run")
        manifest = check_resumable(plan, accept_changes)
        self.epoch = 1 + max(
            int(manifest["epoch"]) if manifest else 0,
            last_epoch(plan.files.accepted),
            last_epoch(plan.files.rejected),
        )
        self.run_id = str(manifest["run_id"]) if manifest else _new_run_id(plan)
        self._past = Timing(**manifest["timing"]) if manifest else Timing()
        self._created = manifest["created_at"] if manifest else _utc_now()
        self._started = clock()
        self._engine_up: float | None = None
        self._first_record: float | None = None
        for folder in (plan.files.accepted, plan.files.rejected):
            remove_leftovers(folder)
            remove_superseded(folder)
        config = plan.config
        on_cpu = config.embedder.model_copy(update={"device": "cpu"})  # GPUs are the engines'
        embedder = Embedder(on_cpu, threads=1)
        restored = _restore(plan, embedder.dim, self.run_id, self.epoch)
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
        schema = accepted_schema(embedder.dim, list(plan.specs.facets))
        self.accepted = SegmentWriter(plan.files.accepted, schema, self.epoch)
        self.rejected = SegmentWriter(plan.files.rejected, REJECTED_SCHEMA, self.epoch)
        self.save()

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

    def save(self) -> None:
        """Refresh `run.json` and `report.json`."""
        self.write_state(self.state())

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
                "fingerprint": self._plan.fingerprint,
                "digest": self._plan.digest,
                "content": content_of(self._plan.config),
                "config": self._plan.config.model_dump(mode="json"),
                "targets": dict(self._plan.targets),
                "timing": asdict(timing),
                "versions": versions(),
            },
            report,
        )

    def write_state(self, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
        """Write what `state` said; may run on another thread."""
        manifest, report = state
        store.write_json(self._files.manifest, manifest)
        store.write_json(self._files.report, report)

    def close(self) -> None:
        """Write the closing figures and the dataset card, and free the folder."""
        from synth.card import dataset_card

        self.save()
        report = self.coordinator.report(self.timing())
        card = dataset_card(self._plan.config, self._plan.specs, report)
        write_durably(self._files.card, card.encode())
        self._lock.release()


def _utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _new_run_id(plan: Plan) -> str:
    """Eight hex digits from seed, config and specs: the same run anywhere has the same ids."""
    return hashlib.sha256(plan.fingerprint.encode()).hexdigest()[:8]


def _restore(plan: Plan, dim: int, run_id: str, epoch: int) -> Restored:
    """Rebuild coverage, index and counts from the segments alone."""
    config = plan.config
    balancer = Balancer(
        plan.specs,
        plan.targets,
        config.budget.attempts_per_record,
        config.record.facets,
        f"{config.seed}-{epoch}",
    )
    tally = Tally({topic: TopicTally() for topic in plan.specs.topics})
    index, repeats = DuplicateIndex(dim, config.dedup.threshold), ExactRepeats()
    decided = Decided()
    recent = tuple(f"{run_id}-{e:03d}-" for e in range(max(1, epoch - _REMEMBERED_EPOCHS), epoch))
    asked: dict[str, str] = {}  # slot id -> the topic that it was asked for
    for batch in _compatible_rows(plan, dim):
        flat = batch.column("embedding").flatten().to_numpy()
        rows = batch.drop_columns(["embedding"]).to_pylist()
        ids = [row["id"] for row in rows]
        index.add(ids, flat.reshape(len(rows), dim), [row["question"] for row in rows])
        for row in rows:
            facets = {name: value for name, value in row["facets"].items() if value is not None}
            balancer.cover(row["topic"], facets.pop(SITUATION), facets)
            repeats.claim(row["question"], row["id"])
            repeats.claim(row["answer"], row["id"])
            tokens = Tokens(row["prompt_tokens"], row["completion_tokens"])
            tally.accept(row["topic"], row["requested_topic"], tokens, row["nearest_similarity"])
            asked[row["id"]] = row["requested_topic"]
            if row["id"].startswith(recent):
                decided.committed[row["id"]] = row["topic"]
    for batch in read_rows(plan.files.rejected, _RESTORED_REFUSALS):
        for row in batch.to_pylist():
            _check_topic(plan, row["topic"])
            tokens = Tokens(row["prompt_tokens"], row["completion_tokens"])
            tally.reject(row["topic"], row["reason"], tokens)
            if row["id"].startswith(recent):
                key = (row["id"], row["stage"], row["attempt"])
                decided.refused[key] = (row["topic"], row["reason"])
            if row["reason"] not in (Reason.INTERRUPTED, Reason.EXPIRED):
                asked[row["id"]] = row["requested_topic"]
    attempts = Counter(asked.values())
    for topic, counts in tally.topics.items():
        balancer.restore(topic, counts.accepted, attempts[topic])
    _check_against_plan(plan, tally)
    return Restored(balancer, index, repeats, tally, decided)


def _compatible_rows(plan: Plan, dim: int) -> Iterator[pa.RecordBatch]:
    """The accepted rows, as long as they fit this plan's topics, facets and vectors."""
    expected = accepted_schema(dim, list(plan.specs.facets))
    for batch in read_rows(plan.files.accepted, _RESTORED):
        for name in ("facets", "embedding"):
            if batch.schema.field(name).type != expected.field(name).type:
                raise StoreError(
                    str(plan.files.root),
                    f"holds records whose {name!r} have another form",
                    "Keep facets and embedder as they were, or give another --out",
                )
        for topic in pc.unique(batch.column("topic")).to_pylist():
            _check_topic(plan, topic)
        yield batch


def _check_topic(plan: Plan, topic: str) -> None:
    if topic not in plan.specs.topics:
        raise StoreError(
            str(plan.files.root),
            f"holds records of topic {topic!r}, which has no spec any more",
            "Bring the spec back, or give another --out",
        )


def _check_against_plan(plan: Plan, tally: Tally) -> None:
    for topic, target in plan.targets.items():
        held = tally.topics[topic].accepted
        if held > target:
            raise StoreError(
                str(plan.files.root),
                f"topic {topic!r} already holds {held} records, but its target is {target}",
                "Raise the target, or give another --out",
            )
    threshold = plan.config.dedup.threshold
    if tally.max_similarity is not None and tally.max_similarity >= threshold:
        raise StoreError(
            str(plan.files.root),
            f"holds a pair of records with similarity {tally.max_similarity:.4f}, but "
            f"dedup.threshold is {threshold}",
            "Raise the threshold, or give another --out",
        )
