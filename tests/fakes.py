"""Stand-ins for the parts that a pure test does not need: vectors and topics by agreement."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

import numpy as np

from synth.balancer import Balancer
from synth.config import RunConfig, TopicGateConfig
from synth.coordinator import Coordinator
from synth.files import LocalFolder
from synth.index import DuplicateIndex, ExactRepeats
from synth.labeller import Filing, TopicLabeller
from synth.protocol import Candidate, QuestionBatch, Tokens, Vectors
from synth.report import Tally, TopicTally
from synth.segments import REJECTED_SCHEMA, SegmentWriter, accepted_schema
from synth.specs import Specs
from synth.verdicts import Decided

DIM = 64


def vector_of(text: str, dim: int = DIM) -> Vectors:
    """A unit vector that depends on nothing but the text."""
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    vector = np.random.default_rng(seed).standard_normal(dim).astype(np.float32)
    return vector / np.linalg.norm(vector)


def near(vector: Vectors, cosine: float, seed: int = 0) -> Vectors:
    """A unit vector at a given cosine to `vector`."""
    noise = np.random.default_rng(seed).standard_normal(len(vector)).astype(np.float32)
    noise -= (noise @ vector) * vector
    noise /= np.linalg.norm(noise)
    return (cosine * vector + np.sqrt(1 - cosine**2) * noise).astype(np.float32)


class AgreeingLabeller(TopicLabeller):
    """Believes that every question is about what it was asked for, unless told otherwise."""

    def __init__(self, specs: Specs, about: Mapping[str, str] | None = None):
        super().__init__(
            specs, lambda texts: np.zeros((len(texts), DIM), np.float32), TopicGateConfig()
        )
        self._about = dict(about or {})

    def file(self, scores: np.ndarray, wanted: str, with_room: Container[str]) -> Filing:
        believed = np.where(
            np.array(self.topics) == self._about.get(wanted, wanted), 0.9, 0.3
        ).astype(scores.dtype)
        return super().file(believed, wanted, with_room)


class Bench:
    """A coordinator with fake vectors, a store on disk, and a clock that is moved by hand."""

    def __init__(
        self,
        specs: Specs,
        config: RunConfig,
        targets: Mapping[str, int],
        folder: Path,
        about: Mapping[str, str] | None = None,
    ):
        self.now = 0.0
        full = {topic: targets.get(topic, 0) for topic in specs.topics}
        self.balancer = Balancer(
            specs, full, config.budget.attempts_per_record, config.record.facets, "0"
        )
        self.index = DuplicateIndex(DIM, config.dedup.threshold)
        self.tally = Tally({topic: TopicTally() for topic in specs.topics})
        self.coordinator = Coordinator(
            run_id="testrun",
            epoch=1,
            config=config,
            model_name="a model",
            balancer=self.balancer,
            index=self.index,
            labeller=AgreeingLabeller(specs, about),
            tally=self.tally,
            repeats=ExactRepeats(),
            decided=Decided(),
            clock=lambda: self.now,
        )
        accepted, rejected = LocalFolder(folder / "accepted"), LocalFolder(folder / "rejected")
        accepted.make()
        rejected.make()
        schema = accepted_schema(DIM, list(specs.facets))
        self.accepted = SegmentWriter(accepted, schema, 1)
        self.rejected = SegmentWriter(rejected, REJECTED_SCHEMA, 1)

    def commit(self) -> int:
        """Write and count what waits; the number of records."""
        batch = self.coordinator.take_batch()
        batch.write(self.accepted, self.rejected)
        self.coordinator.settle(batch)
        return len(batch.accepted)


def questions(
    slot_ids: Sequence[str], texts: Sequence[str], vectors: Sequence[Vectors] | None = None
) -> QuestionBatch:
    """A micro-batch of questions, each with its own vector unless they are given."""
    rows = [vector_of(text) for text in texts] if vectors is None else list(vectors)
    return QuestionBatch(
        tuple(
            Candidate(slot_id, text, Tokens(100, 20))
            for slot_id, text in zip(slot_ids, texts, strict=True)
        ),
        np.stack(rows) if rows else np.zeros((0, DIM), np.float32),
    )
