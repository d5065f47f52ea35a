"""How well the labeller files questions that people filed, by cross-validation.

    python -m benchmarks.topics counselchat_dev.csv --json

Each question counts once, whatever the number of its answers, and is never in two folds. A guess is
right when it is one of the topics that the question's rows name. The shipped weights may have seen
these questions, so all are trained anew here.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import KFold

from benchmarks.train_topics import (
    Labelled,
    cached_embedder,
    labelled_rows,
    the_specs,
    train,
    written,
)
from synth.topic_model import PooledTopics, Scores, Shares, TaughtTopics
from synth.vector_cache import Embeds

SEEDS = (0, 1, 2)
COUPLES = {"relationships", "intimacy", "marriage", "relationship-dissolution"}  # filed at random


def figures(
    topics: Sequence[str], labels: Sequence[Sequence[str]], scores: npt.NDArray[Any]
) -> dict[str, Any]:
    """Shares of texts with a right topic first, and among the first three.

    `top1_couples_as_one`: as if the topics about couples were a single one.
    """
    order = np.argsort(-scores, axis=1)[:, :3]
    hits = [
        [topics[column] in right for column in columns]
        for columns, right in zip(order, labels, strict=True)
    ]
    return {
        "top1": round(float(np.mean([hit[0] for hit in hits])), 3),
        "top3": round(float(np.mean([any(hit) for hit in hits])), 3),
        "top1_couples_as_one": round(
            float(
                np.mean(
                    [
                        hit[0] or (topics[columns[0]] in COUPLES and bool(COUPLES & set(right)))
                        for hit, columns, right in zip(hits, order, labels, strict=True)
                    ]
                )
            ),
            3,
        ),
    }


def confusions(
    topics: Sequence[str], labels: Sequence[Sequence[str]], scores: Scores
) -> list[tuple[str, str, int]]:
    """Right topic, guess, and how often; the most frequent ones."""
    guesses = [topics[column] for column in scores.argmax(axis=1)]
    wrong = Counter(
        (right[0], guess)
        for right, guess in zip(labels, guesses, strict=True)
        if guess not in right
    )
    return [(right, guess, count) for (right, guess), count in wrong.most_common(12)]


def cross_validated(
    base: PooledTopics, texts: Labelled, embedder: Embeds, folds: int
) -> tuple[Scores, dict[str, Any]]:
    """Scores of each text by a model taught the other folds, and the spread over shuffles."""
    vectors = embedder.embed(texts.texts)
    asked_for = np.array(texts.texts)
    first = np.array(texts.first)
    runs = []
    for seed in SEEDS:
        scores = np.zeros((len(first), len(base.topics)), dtype=np.float32)
        for known, asked in KFold(folds, shuffle=True, random_state=seed).split(vectors):
            taught = TaughtTopics(base, asked_for[known], vectors[known], list(first[known]))
            scores[asked] = taught.scores(asked_for[asked], vectors[asked])
        runs.append(scores)
    each = [figures(base.topics, texts.topics, scores) for scores in runs]
    mean = {name: round(float(np.mean([run[name] for run in each])), 3) for name in each[0]}
    return runs[0], mean | {"runs": each}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", help="rows whose labels name our topics")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    specs, embedder = the_specs(), cached_embedder()
    texts = labelled_rows(options.dataset, specs)
    vectors = embedder.embed(texts.texts)
    topics = list(specs.topics)
    names = embedder.embed([specs.topics[topic].name for topic in topics])
    messages = written()
    weights = train(specs, messages.texts, embedder.embed(messages.texts), messages.first)

    def by(shares: Shares) -> dict[str, Any]:
        scorer = PooledTopics(specs, embedder, weights, shares)
        return figures(topics, texts.topics, scorer.scores(texts.texts, vectors))

    base = PooledTopics(specs, embedder, weights)
    taught, mean = cross_validated(base, texts, embedder, options.folds)
    found: dict[str, Any] = {
        "questions": len(texts.texts),
        "nearest topic name": figures(topics, texts.topics, vectors @ names.T),
        "topic specs": by(Shares(meaning=0, words=0, specs=1)),
        "written messages, words": by(Shares(meaning=0, words=1, specs=0)),
        "written messages, meaning": by(Shares(meaning=1, words=0, specs=0)),
        "pooled": by(Shares()),
        f"and {options.folds - 1} of {options.folds} folds": mean,
        "confusions": confusions(topics, texts.topics, taught),
    }
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        if name != "confusions":
            print(f"{name}: {value}")
    for right, guess, count in found["confusions"]:
        print(f"{count:4d} {right} taken for {guess}")


if __name__ == "__main__":
    main()
