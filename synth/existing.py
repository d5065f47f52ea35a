"""The dataset that a run fills: what it holds, and pairs of it to write like."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from synth.config import DatasetConfig, RecordConfig, RunConfig
from synth.errors import ConfigError
from synth.gaps.assess import surveyor_for
from synth.gaps.survey import Survey
from synth.gates import Draft, Severity, Stage
from synth.gates.registry import Gates
from synth.prompts import Example
from synth.records import bounds
from synth.sources import OnBad, Row, Source, open_source
from synth.specs import Specs
from synth.topic_model import Label

_CANDIDATES = 4  # pairs looked at for each one that is shown


class TextDigest:
    """A digest over the texts of a dataset's rows, in their order."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, row: Row, topic: str | None = None) -> None:
        """Take a row in, and what it counts as."""
        self._hash.update(f"{row.question}\x1f{row.answer}\x1f{topic or ''}\x1e".encode())

    def hexdigest(self) -> str:
        """16 hex digits."""
        return self._hash.hexdigest()[:16]


@dataclass(frozen=True)
class Existing:
    """A dataset as a run needs to know it.

    Attributes:
        rows: topic -> rows about it.
        unknown: rows that are about no topic known here.
        skipped: malformed rows.
        like: topic -> rows of the dataset that new records are to be like.
        texts: `TextDigest` of its texts, and of those of the rows to write like.
        digest: the same with the topics that the rows count as.
        examples: topic -> pairs to write like; none unless the config asks for them.
    """

    rows: Mapping[str, int]
    unknown: int
    skipped: int
    like: Mapping[str, int]
    texts: str
    digest: str
    examples: Mapping[str, Sequence[Example]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Rows that could be read."""
        return sum(self.rows.values()) + self.unknown


def open_existing(dataset: DatasetConfig) -> Source:
    """Open a run's dataset."""
    return _open(dataset, dataset.location)


def existing_rows(dataset: DatasetConfig) -> Iterator[tuple[str, Row]]:
    """All that a run must not write again, with the ids that a refusal names."""
    for name, location in (("row", dataset.location), ("like", dataset.like)):
        if location is not None:
            for row in _open(dataset, location):
                yield f"{name}-{row.number}", row


def _open(dataset: DatasetConfig, location: str) -> Source:
    return open_source(location, dataset.form, dataset.columns, OnBad(dataset.on_bad))


def located(dataset: DatasetConfig, base: Path) -> DatasetConfig:
    """The dataset with its local paths, relative to `base`, made absolute."""
    return dataset.model_copy(
        update={
            name: whole_path(given, base)
            for name in ("location", "train", "like")
            if (given := getattr(dataset, name)) is not None
        }
    )


def whole_path(place: str, base: Path) -> str:
    """A path as an absolute one; a hub id as it is."""
    path = base / Path(place).expanduser()
    try:
        return str(path.resolve()) if path.exists() else place
    except OSError:  # no path at all, such as one that is too long
        return place


def open_train(dataset: DatasetConfig) -> Source | None:
    """The labelled rows that the labeller is to learn from, if there are any."""
    if dataset.train is None:
        return None
    return open_source(dataset.train, on_bad=OnBad(dataset.on_bad))


def look_at(config: RunConfig, dataset: DatasetConfig, specs: Specs) -> Existing:
    """Count a dataset's rows by topic, and choose the examples that prompts will show.

    Raises:
        UserError: the dataset cannot be read, or the embedder cannot be loaded.
    """
    surveyor = surveyor_for(config, specs, open_train(dataset), dataset.trust_labels)
    texts, digest = TextDigest(), TextDigest()

    def survey(location: str) -> tuple[Survey, _Candidates]:
        candidates = _Candidates(config.record, dataset.examples * _CANDIDATES, config.seed)

        def take_in(row: Row, topic: str | None, label: Label) -> None:  # noqa: ARG001
            texts.add(row)
            digest.add(row, topic)
            candidates.add(row, topic)

        return surveyor.survey(_open(dataset, location), take_in), candidates

    found, candidates = survey(dataset.location)
    like: Mapping[str, int] = {}
    if dataset.like is not None:
        alike, candidates = survey(dataset.like)
        like = alike.existing
        if not like:
            what = "none of its rows is about a topic known here"
            raise ConfigError(dataset.like, what, "Give rows to write like")
    examples = candidates.chosen(Gates(config.gates), specs, dataset.examples)
    if dataset.examples and not any(examples.values()):
        raise ConfigError(
            "dataset.examples",
            f"no row of {dataset.like or dataset.location} could be shown: none keeps to the "
            "bounds of a record and passes its gates",
            "Raise record.max_question_words and record.max_answer_words, or show none",
        )
    return Existing(
        found.existing,
        found.unknown,
        found.malformed_count,
        like,
        texts.hexdigest(),
        digest.hexdigest(),
        examples,
    )


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
        lot = hashlib.blake2b(f"{self._seed} {row.question}".encode(), digest_size=8).digest()
        rows = self._rows.setdefault(topic, [])
        if any(known == lot for known, _ in rows):
            return  # another answer to the same question
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
