"""What a row of an existing dataset is about.

Three opinions, pooled: linear models on a text's embedding and on its words, both trained by
`benchmarks/train_topics.py` on messages that were written for it and shipped as weights, and the
topic specs (see `synth/labeller.py`). The weights are for the shipped topics and the built-in
embedder; for any others the specs alone tell. Rows that the user has labelled make either better.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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

    def scores(self, texts: Sequence[str], vectors: Vectors) -> Scores:
        """Probabilities, n x topics; what is missing to 1 is about none of them.

        Args:
            texts: n of them.
            vectors: their embeddings, n x d.
        """
        ...


class SpecTopics:
    """Topics known by their specs alone."""

    def __init__(self, specs: Specs, embedder: Embeds):
        self._labeller = TopicLabeller(specs, embedder.embed, TopicGateConfig())
        self._floor = TopicGateConfig().min_score
        self.topics: Sequence[str] = self._labeller.topics

    def logits(self, vectors: Vectors) -> Scores:
        """n x (topics + 1); a cosine at the topic gate's floor stands for no topic."""
        cosines = self._labeller.scores(vectors)
        floor = np.full((len(cosines), 1), self._floor, dtype=np.float32)
        return np.float32(_SPEC_SHARPNESS) * np.hstack([cosines, floor])

    def scores(self, texts: Sequence[str], vectors: Vectors) -> Scores:  # noqa: ARG002
        """See `TopicScorer`."""
        return softmax(self.logits(vectors))[:, :-1]


@dataclass(frozen=True)
class Shares:
    """What each opinion weighs in the pool; 1 together."""

    meaning: float = 0.5
    words: float = 0.25
    specs: float = 0.25


class PooledTopics:
    """The shipped weights and the specs, for any part of the topics that the weights know.

    Their probabilities are pooled by weighted geometric means.

    Args:
        specs: topics, all of which the weights know.
        embedder: the one that the weights were trained for.
        weights: as `benchmarks/train_topics.py` makes them.
        shares: what each opinion weighs.
    """

    def __init__(
        self, specs: Specs, embedder: Embeds, weights: Mapping[str, Any], shares: Shares = Shares()
    ):
        self._specs = SpecTopics(specs, embedder)
        self._shares = shares
        self.topics = self._specs.topics
        labels = json.loads(str(weights["labels"]))
        kept = [labels.index(label) for label in (*self.topics, NONE)]
        self._meaning = _Linear(weights["coef"][kept], weights["bias"][kept])
        self._words = _Linear(weights["word_coef"][kept], weights["word_bias"][kept])
        vocabulary = json.loads(str(weights["vocabulary"]))
        self._vectorizer = word_vectorizer(vocabulary=vocabulary)
        self._vectorizer.idf_ = weights["idf"].astype(np.float32)

    def scores(self, texts: Sequence[str], vectors: Vectors) -> Scores:
        """See `TopicScorer`."""
        pooled = self._shares.meaning * log_softmax(self._meaning.logits(vectors))
        words = self._vectorizer.transform(texts)
        pooled += self._shares.words * log_softmax(self._words.logits(words))
        pooled += self._shares.specs * log_softmax(self._specs.logits(vectors))
        return softmax(pooled)[:, :-1]


class _Linear:
    def __init__(self, coef: npt.NDArray[Any], bias: npt.NDArray[Any]):
        self._coef = np.ascontiguousarray(coef.T, dtype=np.float32)  # features x labels
        self._bias = bias.astype(np.float32)

    def logits(self, features: Any) -> Scores:
        return np.asarray(features @ self._coef + self._bias)


def word_vectorizer(**settings: Any) -> Any:
    """What makes a text's words and pairs of words, weighed by how rare they are, a row."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        ngram_range=(1, 2),
        strip_accents="unicode",
        sublinear_tf=True,
        dtype=np.float32,
        **settings,
    )


class TaughtTopics:
    """Another scorer, corrected by rows that the user has labelled.

    A linear correction of its log-probabilities, fitted to the labels by maximum likelihood and
    pulled towards none: a few rows change little, many rows decide.

    Args:
        base: the scorer to start from.
        texts: of the labelled rows.
        vectors: theirs, n x d.
        labels: their topics, all known to `base`.
    """

    _PULL = 1.0  # chosen by cross-validation, see docs/topics.md
    _PULL_OF_BIAS = 0.1

    def __init__(
        self, base: TopicScorer, texts: Sequence[str], vectors: Vectors, labels: Sequence[str]
    ):
        self.topics = base.topics
        self._base = base
        wanted = np.zeros((len(labels), len(self.topics) + 1))
        wanted[np.arange(len(labels)), [self.topics.index(label) for label in labels]] = 1
        base_logits = self._base_logits(texts, vectors)
        self._coef, self._bias = self._fitted(base_logits, vectors.astype(float), wanted)

    def _base_logits(self, texts: Sequence[str], vectors: Vectors) -> npt.NDArray[Any]:
        scores = self._base.scores(texts, vectors)
        none = np.clip(1 - scores.sum(axis=1, keepdims=True), 0, 1)
        return np.log(np.hstack([scores, none]) + _EPSILON)

    def _fitted(
        self, base: npt.NDArray[Any], vectors: npt.NDArray[Any], wanted: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        from scipy.optimize import minimize

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

    def scores(self, texts: Sequence[str], vectors: Vectors) -> Scores:
        """See `TopicScorer`."""
        logits = self._base_logits(texts, vectors) + vectors @ self._coef.T + self._bias
        return np.asarray(softmax(logits)[:, :-1], dtype=np.float32)


def softmax(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Probabilities by row."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def log_softmax(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Logarithms of probabilities by row."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def topic_scorer(specs: Specs, embedder: Embeds, config: EmbedderConfig) -> TopicScorer:
    """The best scorer there is for these topics and this embedder."""
    weights = shipped_weights() if config.name == BUILTIN else None
    if weights is not None and set(specs.topics) <= set(json.loads(str(weights["labels"]))):
        return PooledTopics(specs, embedder, weights)
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
