"""The dataset that a run fills: what it holds, and pairs of it to write like."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from synth.config import DatasetConfig, RecordConfig, RunConfig
from synth.errors import ConfigError
from synth.gaps.assess import surveyor_for
from synth.gates import Draft, Severity, Stage
from synth.gates.registry import Gates
from synth.prompts import Example
from synth.records import bounds
from synth.sources import OnBad, Row, Source, open_source
from synth.specs import Specs
from synth.topic_model import Label

_CANDIDATES = 4  # pairs looked at for each one that is shown


@dataclass(frozen=True)
class Existing:
    """A dataset as a run needs to know it.

    Attributes:
        rows: topic -> rows about it.
        digest: 16 hex digits over all texts.
        examples: topic -> pairs to write like; none unless the config asks for them.
    """

    rows: Mapping[str, int]
    digest: str
    examples: Mapping[str, Sequence[Example]] = field(default_factory=dict)


def existing_id(row: Row) -> str:
    """What a refusal names when a candidate is too close to this row."""
    return f"row-{row.number}"


def open_existing(dataset: DatasetConfig, location: str | None = None) -> Source:
    """Open a run's dataset, or one in the same form at another place."""
    return open_source(
        location or dataset.location, dataset.form, dataset.columns, OnBad(dataset.on_bad)
    )


def look_at(config: RunConfig, dataset: DatasetConfig, specs: Specs) -> Existing:
    """Count a dataset's rows by topic, and choose the examples that prompts will show.

    Raises:
        UserError: the dataset cannot be read, or the embedder cannot be loaded.
    """
    surveyor = surveyor_for(config, specs, dataset.train, dataset.trust_labels)
    digest = hashlib.sha256()
    candidates = _Candidates(config.record, dataset.examples * _CANDIDATES, config.seed)

    def take_in(row: Row, topic: str | None, label: Label) -> None:  # noqa: ARG001
        digest.update(f"{row.question}\x1f{row.answer}\x1e".encode(errors="replace"))
        candidates.add(row, topic)

    survey = surveyor.survey(open_existing(dataset), take_in)
    if dataset.like is not None and dataset.examples:
        candidates = _Candidates(config.record, dataset.examples * _CANDIDATES, config.seed)
        like = open_existing(dataset, dataset.like)
        surveyor.survey(like, lambda row, topic, label: candidates.add(row, topic))  # noqa: ARG005
    examples = candidates.chosen(Gates(config.gates), specs, dataset.examples)
    if dataset.examples and not any(examples.values()):
        raise ConfigError(
            "dataset.examples",
            f"no row of {dataset.like or dataset.location} could be shown: none keeps to the "
            "bounds of a record and passes its gates",
            "Raise record.max_question_words and record.max_answer_words, or show none",
        )
    return Existing(survey.existing, digest.hexdigest()[:16], examples)


class _Candidates:
    """A seeded sample of each topic's rows that keep to the bounds of a record."""

    def __init__(self, record: RecordConfig, most: int, seed: int):
        self._bounds = {stage: bounds(record, stage) for stage in Stage}
        self._most = most
        self._seed = seed
        self._rows: dict[str, list[tuple[bytes, Row]]] = {}

    def add(self, row: Row, topic: str | None) -> None:
        """Take a row in, if it may be drawn."""
        if not self._most or topic is None or not self._fits(row):
            return
        lot = hashlib.blake2b(
            f"{self._seed} {row.question}".encode(errors="replace"), digest_size=8
        ).digest()
        rows = self._rows.setdefault(topic, [])
        rows.append((lot, row))
        rows.sort(key=lambda drawn: drawn[0])
        del rows[self._most :]

    def _fits(self, row: Row) -> bool:
        texts = ((Stage.QUESTION, row.question), (Stage.ANSWER, row.answer))
        return all(
            self._bounds[stage].min_words <= len(text.split()) <= self._bounds[stage].max_words
            for stage, text in texts
        )

    def chosen(self, gates: Gates, specs: Specs, number: int) -> dict[str, tuple[Example, ...]]:
        """`number` safe pairs for each topic: its own, or those of the richest ones."""
        if not number:
            return {}
        own = {
            topic: self._safe(rows, gates, specs.topics[topic].name, number)
            for topic, rows in self._rows.items()
        }
        richest = sorted(own, key=lambda topic: (-len(own[topic]), topic))
        common = [pair for topic in richest for pair in own[topic][:1]]
        return {
            topic: tuple(dict.fromkeys([*own.get(topic, ()), *common]))[:number]
            for topic in specs.topics
        }

    @staticmethod
    def _safe(
        rows: Sequence[tuple[bytes, Row]], gates: Gates, name: str, number: int
    ) -> list[Example]:
        found: list[Example] = []
        for _, row in rows:
            drafts = (
                Draft(Stage.QUESTION, row.question),
                Draft(Stage.ANSWER, row.answer, row.question),
            )
            findings = (finding for draft in drafts for finding in gates.findings(draft))
            if not any(finding.severity is Severity.RED for finding in findings):
                found.append(Example(name, row.question, row.answer))
            if len(found) == number:
                break
        return found
