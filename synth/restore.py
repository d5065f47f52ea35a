"""Rebuild a run from its segments alone: coverage, index, counts and verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from synth.balancer import Balancer
from synth.errors import StoreError
from synth.existing import TextDigest, existing_rows
from synth.gaps.survey import CHUNK, chunks
from synth.index import DuplicateIndex, ExactRepeats
from synth.plan import Plan
from synth.protocol import UNJUDGED
from synth.report import Tally, TopicTally
from synth.segments import TOKEN_COLUMNS, accepted_schema, read_rows
from synth.specs import SITUATION
from synth.vector_cache import Embeds
from synth.verdicts import Decided

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
    "scores",
    *TOKEN_COLUMNS,
)
_RESTORED_REFUSALS = (
    "id",
    "topic",
    "requested_topic",
    "stage",
    "attempt",
    "reason",
    *TOKEN_COLUMNS,
)


@dataclass(frozen=True)
class Restored:
    """What a store holds, taken into the parts of a coordinator."""

    balancer: Balancer
    index: DuplicateIndex
    repeats: ExactRepeats
    tally: Tally
    decided: Decided


def restore(plan: Plan, embedder: Embeds, run_id: str, epoch: int) -> Restored:
    """Rebuild coverage, index and counts from the segments, and from the dataset being filled."""
    config, dim = plan.config, embedder.dim
    balancer = Balancer(
        plan.specs,
        plan.targets,
        config.budget.attempts_per_record,
        config.record.facets,
        f"{config.seed}-{epoch}",
        config.targets.facets,
    )
    tally = Tally({topic: TopicTally() for topic in plan.specs.topics})
    index, repeats = DuplicateIndex(dim, config.dedup.threshold), ExactRepeats()
    _take_in_dataset(plan, embedder, index, repeats)
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
            tally.accept(row)
            asked[row["id"]] = row["requested_topic"]
            if row["id"].startswith(recent):
                decided.committed[row["id"]] = row["topic"]
    for batch in read_rows(plan.files.rejected, _RESTORED_REFUSALS):
        for row in batch.to_pylist():
            _check_topic(plan, row["topic"])
            tally.reject(row)
            if row["id"].startswith(recent):
                key = (row["id"], row["stage"], row["attempt"])
                decided.refused[key] = (row["topic"], row["reason"])
            if row["reason"] not in UNJUDGED:
                asked[row["id"]] = row["requested_topic"]
    attempts = Counter(asked.values())
    for topic, counts in tally.topics.items():
        balancer.restore(topic, counts.accepted, attempts[topic])
    _check_against_plan(plan, tally)
    return Restored(balancer, index, repeats, tally, decided)


def _take_in_dataset(
    plan: Plan, embedder: Embeds, index: DuplicateIndex, repeats: ExactRepeats
) -> None:
    """What is there already must not be written again, nor shown unasked: no openings."""
    if plan.config.dataset is None or plan.existing is None:
        return
    texts = TextDigest()
    for rows in chunks(existing_rows(plan.config.dataset), CHUNK):
        asked = [(name, row.question) for name, row in rows if row.question]
        vectors = embedder.embed([question for _, question in asked])
        index.add([name for name, _ in asked], vectors, [""] * len(asked))
        for name, row in rows:
            texts.add(row)
            for text in (row.question, row.answer):
                if text:
                    repeats.claim(text, name)
    if texts.hexdigest() != plan.existing.texts:
        what = "has changed since the run was planned"
        raise StoreError(plan.config.dataset.location, what, "Start again")


def _compatible_rows(plan: Plan, dim: int) -> Iterator[pa.RecordBatch]:
    """The accepted rows, as long as they fit this plan's topics, facets and vectors."""
    expected = accepted_schema(dim, list(plan.specs.facets))
    for batch in read_rows(plan.files.accepted, _RESTORED):
        for name in ("facets", "embedding", "scores"):
            if batch.schema.field(name).type != expected.field(name).type:
                raise StoreError(
                    str(plan.files.root),
                    f"holds records whose {name!r} have another form",
                    "Keep facets, embedder and version as they were, or give another --out",
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
