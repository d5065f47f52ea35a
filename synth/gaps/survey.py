"""One pass over a dataset: every row labelled and embedded, with bounded memory."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from synth.gaps.facets import stated_facets
from synth.gaps.shipped import ShippedLabels
from synth.protocol import Vectors
from synth.sources import Malformed, Row, Source
from synth.topic_model import Label, LabelRule, TopicScorer, labels_of
from synth.vector_cache import Embeds

CHUNK = 1024
_EXAMPLES = 20  # disagreements kept, the surest ones
_UNKNOWN = -1
_OPENING = 160  # characters of a row that an example shows
_FOREIGN = 1000  # different labels that name no topic; more are counted as one


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A row whose shipped label is another one than ours."""

    row: int
    shipped: str
    ours: str
    confidence: float
    opening: str


@dataclass
class Comparison:
    """Our labels against those that the dataset ships.

    Attributes:
        compared: rows with a shipped label that names a topic, and with a label of ours.
        agreed: rows in which ours is the shipped one.
        in_top: rows in which the shipped one is among our likeliest three.
        foreign: shipped labels that name no topic -> rows.
        confusions: (shipped, ours) -> rows.
        examples: disagreements of which we are surest.
    """

    compared: int = 0
    agreed: int = 0
    in_top: int = 0
    foreign: Counter[str] = field(default_factory=Counter)
    confusions: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: list[Disagreement] = field(default_factory=list)

    def add(self, row: Row, shipped: Sequence[str], label: Label) -> None:
        """Compare one row."""
        if label.topic is None:
            return
        self.compared += 1
        self.in_top += any(topic in shipped for topic, _ in label.top)
        if label.topic in shipped:
            self.agreed += 1
            return
        self.confusions[shipped[0], label.topic] += 1
        opening = " ".join(row.subject[: 2 * _OPENING].split())[:_OPENING]
        self.examples.append(
            Disagreement(row.number, shipped[0], label.topic, label.confidence, opening)
        )
        if len(self.examples) > 2 * _EXAMPLES:
            self._keep_surest()

    def add_foreign(self, label: str) -> None:
        """Count a label that names no topic."""
        if label not in self.foreign and len(self.foreign) >= _FOREIGN:
            label = "(others)"
        self.foreign[label] += 1

    def _keep_surest(self) -> None:
        self.examples.sort(key=lambda example: -example.confidence)
        del self.examples[_EXAMPLES:]

    def close(self) -> None:
        """No row is to come."""
        self._keep_surest()


@dataclass
class Survey:
    """What one pass found.

    Attributes:
        topics: ids, in the order of `topic_of`.
        topic_of: for each row with a question the position of its topic, or -1.
        vectors: of the same rows' questions, n x d, on disk when there are many.
        existing: topic -> rows.
        unknown: rows that are about no topic that we know.
        facets: (facet, value) -> rows that say so themselves.
        comparison: with the labels that the dataset ships.
        malformed: the first rows that could not be read.
        malformed_count: how many could not.
    """

    topics: Sequence[str]
    topic_of: npt.NDArray[np.int16]
    vectors: Vectors
    existing: Counter[str]
    unknown: int
    facets: Counter[tuple[str, str]]
    comparison: Comparison
    malformed: Sequence[Malformed]
    malformed_count: int

    @property
    def rows(self) -> int:
        """Rows that could be read."""
        return self.existing.total() + self.unknown


Item = TypeVar("Item")
OnLabel = Callable[[Row, str | None, Label], None]


class Surveyor:
    """Labels datasets.

    Args:
        scorer: of topics.
        embedder: of the texts.
        rule: when a score is a label.
        shipped: how a dataset's own labels are read.
        trust_shipped: take them where they name a topic, instead of ours.
    """

    def __init__(
        self,
        scorer: TopicScorer,
        embedder: Embeds,
        rule: LabelRule,
        shipped: ShippedLabels,
        trust_shipped: bool = False,
    ):
        self._scorer = scorer
        self._embedder = embedder
        self._rule = rule
        self._shipped = shipped
        self._trust_shipped = trust_shipped

    def labels(self, rows: Sequence[Row]) -> tuple[list[Label], Vectors]:
        """Labels of some rows, and the vectors of their questions."""
        questions = self._embedder.embed([row.question for row in rows])
        subjects = [row.subject for row in rows]
        vectors = self._embedder.embed(subjects) if any(row.title for row in rows) else questions
        scores = self._scorer.scores(subjects, vectors)
        return labels_of(self._scorer.topics, scores, self._rule), questions

    def survey(self, source: Source, on_label: OnLabel | None = None) -> Survey:
        """Read a dataset once.

        Args:
            source: its rows.
            on_label: called with each row, the topic that it counts under, and its label.

        Raises:
            SourceError: the dataset is at fault.
        """
        existing: Counter[str] = Counter()
        facets: Counter[tuple[str, str]] = Counter()
        comparison = Comparison()
        topic_of: list[npt.NDArray[np.int16]] = []
        unknown = 0
        vectors = _VectorFile(self._embedder.dim)
        position = {topic: at for at, topic in enumerate(self._scorer.topics)}
        for rows in chunks(source, CHUNK):
            labels, embedded = self.labels(rows)
            numbers = np.full(len(rows), _UNKNOWN, dtype=np.int16)
            for at, (row, label) in enumerate(zip(rows, labels, strict=True)):
                topic = self._topic(row, label, comparison)
                if topic is None:
                    unknown += 1
                else:
                    existing[topic] += 1
                    numbers[at] = position[topic]
                facets.update(stated_facets(row.question))
                if on_label:
                    on_label(row, topic, label)
            with_question = np.array([bool(row.question) for row in rows])
            topic_of.append(numbers[with_question])
            vectors.append(embedded[with_question])
        comparison.close()
        return Survey(
            self._scorer.topics,
            np.concatenate(topic_of) if topic_of else np.zeros(0, dtype=np.int16),
            vectors.whole(),
            existing,
            unknown,
            facets,
            comparison,
            source.malformed,
            source.malformed_count,
        )

    def _topic(self, row: Row, label: Label, comparison: Comparison) -> str | None:
        ours = label.topic if row.question else None
        if row.topic is None:
            return ours
        shipped = self._shipped.read(row.topic)
        if not shipped:
            comparison.add_foreign(row.topic)
            return ours
        if row.question:
            comparison.add(row, shipped, label)
        return shipped[0] if self._trust_shipped else ours


def chunks(rows: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of up to `size` rows."""
    iterator = iter(rows)
    while chunk := list(islice(iterator, size)):
        yield chunk


class _VectorFile:
    """Vectors that are written to a nameless file as they come, and mapped at the end."""

    def __init__(self, dim: int):
        self._dim = dim
        self._file: Any = tempfile.TemporaryFile(prefix="evenfill-")  # noqa: SIM115 - mapped below

    def append(self, vectors: Vectors) -> None:
        self._file.write(np.ascontiguousarray(vectors, dtype=np.float32).tobytes())

    def whole(self) -> Vectors:
        self._file.flush()
        if not self._file.tell():
            return np.zeros((0, self._dim), dtype=np.float32)
        return np.memmap(self._file, dtype=np.float32, mode="r").reshape(-1, self._dim)
