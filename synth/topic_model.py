"""What a row of an existing dataset is about.

A linear model on the embedding of a text, trained by `benchmarks/train_topics.py` on messages that
were written for it and shipped as weights, for the shipped topics and the built-in embedder. For
any other topics or embedder, the topic specs alone tell (see `synth/labeller.py`). Rows that the
user has labelled make either better.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from synth.config import EmbedderConfig, TopicGateConfig
from synth.labeller import TopicLabeller
from synth.models import BUILTIN
from synth.protocol import Vectors
from synth.specs import Specs
from synth.vector_cache import Embeds

WEIGHTS = "topic_weights.npz"
NONE = "none"  # the weights' class of texts that are about no topic
_SPEC_SHARPNESS = 25.0  # of a softmax over mean cosines, which lie close together
_SHOWN = 3
_EPSILON = 1e-6

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Label:
    """A row's topic: None when it is about none, or when no topic is likely enough.

    Attributes:
        top: the likeliest topics with their probabilities, falling.
        also: further topics that are nearly as likely.
    """

    topic: str | None
    top: tuple[tuple[str, float], ...]
    also: tuple[str, ...]

    @property
    def confidence(self) -> float:
        """Probability of the likeliest topic."""
        return self.top[0][1]


@dataclass(frozen=True)
class LabelRule:
    """When a score is a label: the topic is likelier than none, and likely enough.

    Attributes:
        least: probability below which a text's topic is unknown.
        also: share of the likeliest topic's probability from which another one counts, too.
    """

    least: float = 0.2
    also: float = 0.6


class TopicScorer(Protocol):
    """Probabilities of topics."""

    topics: Sequence[str]

    def scores(self, vectors: Vectors) -> Scores:
        """Probabilities, n x topics; what is missing to 1 is about none of them."""
        ...


class LinearTopics:
    """The shipped weights, for any part of the topics that they know.

    Args:
        topics: ids, all of which the weights know.
        weights: arrays `labels`, `coef` (labels x d) and `bias`.
    """

    def __init__(self, topics: Sequence[str], weights: dict[str, Any]):
        self.topics = topics
        labels = json.loads(str(weights["labels"]))
        self._columns = [labels.index(topic) for topic in topics]
        self._kept = [*self._columns, labels.index(NONE)]
        self._coef = weights["coef"].astype(np.float32)
        self._bias = weights["bias"].astype(np.float32)

    def scores(self, vectors: Vectors) -> Scores:
        """See `TopicScorer`."""
        logits = (vectors @ self._coef.T + self._bias)[:, self._kept]
        return softmax(logits)[:, :-1]


class SpecTopics:
    """Topics known by their specs alone."""

    def __init__(self, specs: Specs, embedder: Embeds):
        self._labeller = TopicLabeller(specs, embedder.embed, TopicGateConfig())
        self._floor = TopicGateConfig().min_score
        self.topics: Sequence[str] = self._labeller.topics

    def scores(self, vectors: Vectors) -> Scores:
        """See `TopicScorer`; a cosine at the topic gate's floor stands for no topic."""
        cosines = self._labeller.scores(vectors)
        floor = np.full((len(cosines), 1), self._floor, dtype=np.float32)
        return softmax(_SPEC_SHARPNESS * np.hstack([cosines, floor]))[:, :-1]


class TaughtTopics:
    """Another scorer, corrected by rows that the user has labelled.

    A linear correction of its log-probabilities, fitted to the labels by maximum likelihood and
    pulled towards none: a few rows change little, many rows decide.

    Args:
        base: the scorer to start from.
        vectors: of the labelled rows, n x d.
        labels: their topics, all known to `base`.
    """

    _PULL = 1.0  # chosen by cross-validation, see docs/topics.md
    _PULL_OF_BIAS = 0.1

    def __init__(self, base: TopicScorer, vectors: Vectors, labels: Sequence[str]):
        self.topics = base.topics
        self._base = base
        wanted = np.zeros((len(labels), len(self.topics) + 1))
        wanted[np.arange(len(labels)), [self.topics.index(label) for label in labels]] = 1
        self._coef, self._bias = self._fitted(vectors.astype(float), wanted)

    def _logits(self, vectors: Vectors) -> npt.NDArray[Any]:
        scores = self._base.scores(vectors)
        none = np.clip(1 - scores.sum(axis=1, keepdims=True), 0, 1)
        return np.log(np.hstack([scores, none]) + _EPSILON)

    def _fitted(
        self, vectors: npt.NDArray[Any], wanted: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        from scipy.optimize import minimize

        base = self._logits(vectors)
        classes, dim = wanted.shape[1], vectors.shape[1]

        def loss(flat: npt.NDArray[Any]) -> tuple[float, npt.NDArray[Any]]:
            coef, bias = flat[: classes * dim].reshape(classes, dim), flat[classes * dim :]
            found = softmax(base + vectors @ coef.T + bias)
            error = found - wanted
            value = -(wanted * np.log(found + _EPSILON)).sum()
            value += 0.5 * self._PULL * ((coef**2).sum() + self._PULL_OF_BIAS * (bias**2).sum())
            slope = error.T @ vectors + self._PULL * coef
            return float(value), np.concatenate(
                [slope.ravel(), error.sum(axis=0) + self._PULL * self._PULL_OF_BIAS * bias]
            )

        start = np.zeros(classes * dim + classes)
        flat = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
        return flat[: classes * dim].reshape(classes, dim), flat[classes * dim :]

    def scores(self, vectors: Vectors) -> Scores:
        """See `TopicScorer`."""
        logits = self._logits(vectors) + vectors @ self._coef.T + self._bias
        return np.asarray(softmax(logits)[:, :-1], dtype=np.float32)


def softmax(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Probabilities by row."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def topic_scorer(specs: Specs, embedder: Embeds, config: EmbedderConfig) -> TopicScorer:
    """The best scorer there is for these topics and this embedder."""
    weights = shipped_weights() if config.name == BUILTIN else None
    if weights is not None and set(specs.topics) <= set(json.loads(str(weights["labels"]))):
        return LinearTopics(list(specs.topics), weights)
    return SpecTopics(specs, embedder)


def shipped_weights() -> dict[str, Any] | None:
    """The weights that come with the package; None in a checkout that was never trained."""
    with as_file(files("synth") / "data" / WEIGHTS) as path:
        return dict(np.load(path)) if path.exists() else None


def labels_of(topics: Sequence[str], scores: Scores, rule: LabelRule) -> list[Label]:
    """What each row of `scores` says."""
    order = np.argsort(-scores, axis=1)[:, :_SHOWN]
    found = []
    for row, columns, none in zip(scores, order, 1 - scores.sum(axis=1), strict=True):
        top = tuple((topics[column], round(float(row[column]), 4)) for column in columns)
        best = row[columns[0]]
        topic = top[0][0] if best >= max(rule.least, none) else None
        also = tuple(
            topics[column] for column in columns[1:] if topic and row[column] >= rule.also * best
        )
        found.append(Label(topic, top, also))
    return found
