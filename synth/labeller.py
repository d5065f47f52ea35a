"""What a text is about: scores against every topic, from the topic specs alone.

A topic is known by the embeddings of its name, its description, what belongs in it and its
situations. A text's score for a topic is the mean cosine to the topic's eight closest lines:
one matching line may be an accident, eight are a subject.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from synth.config import TopicGateConfig
from synth.protocol import Vectors
from synth.specs import Specs, TopicSpec

_CLOSEST_LINES = 8


def spec_lines(spec: TopicSpec) -> list[str]:
    """The lines that stand for a topic."""
    return [
        spec.name,
        f"{spec.name}: {' '.join(spec.description.split())}",
        *spec.belongs,
        *(f"{spec.name}: {line}" for line in spec.belongs),
        *spec.situations,
    ]


@dataclass(frozen=True, slots=True)
class Filing:
    """Where a question belongs: `topic` is None when it is about none that wants it."""

    topic: str | None
    best: str
    score: float
    best_score: float

    @property
    def filed_score(self) -> float:
        """The score for the topic that it is filed under."""
        return self.best_score if self.topic == self.best else self.score


class TopicLabeller:
    """Scores texts against topics and decides where a question is filed.

    Args:
        specs: the topics.
        embed: texts -> vectors, n x d, L2-normalised.
        config: margins and the lowest score.
    """

    def __init__(
        self, specs: Specs, embed: Callable[[Sequence[str]], Vectors], config: TopicGateConfig
    ):
        self._config = config
        self.topics = list(specs.topics)
        lines = {topic: spec_lines(spec) for topic, spec in specs.topics.items()}
        vectors = embed([line for topic in self.topics for line in lines[topic]])
        counts = [len(lines[topic]) for topic in self.topics]
        self._there = np.arange(max(counts)) < np.array(counts)[:, None]  # topics x lines
        self._lines = np.zeros((*self._there.shape, vectors.shape[1]), np.float32)
        self._lines[self._there] = vectors

    def scores(self, vectors: Vectors) -> npt.NDArray[np.float32]:
        """Scores of n texts for each topic in `topics`, n x topics, in [-1, 1]."""
        cosines = vectors @ self._lines.reshape(-1, self._lines.shape[2]).T
        cosines = cosines.reshape(-1, *self._there.shape)
        cosines[:, ~self._there] = -np.inf
        closest = np.partition(cosines, -_CLOSEST_LINES, axis=2)[:, :, -_CLOSEST_LINES:]
        return cast(npt.NDArray[np.float32], closest.mean(axis=2))

    def as_filed(self, vector: Vectors, topic: str) -> Filing:
        """The filing of a question that is known to be filed under `topic`."""
        scores = self.scores(vector[None])[0]
        best_at = int(scores.argmax())
        score = float(scores[self.topics.index(topic)])
        return Filing(topic, self.topics[best_at], score, float(scores[best_at]))

    def file(
        self, scores: npt.NDArray[np.float32], wanted: str, with_room: Container[str]
    ) -> Filing:
        """Where to file a question that was asked for `wanted`.

        Args:
            scores: its row of `scores`.
            wanted: the topic of its slot.
            with_room: topics that can take another record.
        """
        best_at = int(scores.argmax())
        best, best_score = self.topics[best_at], float(scores[best_at])
        score = float(scores[self.topics.index(wanted)])
        behind = best_score - score
        topic = None
        if score >= self._config.min_score and behind <= self._config.margin:
            topic = wanted
        elif (
            best_score >= self._config.refile_min_score
            and behind >= self._config.refile_margin
            and best in with_room
        ):
            topic = best
        return Filing(topic, best, score, best_score)
