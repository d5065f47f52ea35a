"""Train the labeller of existing rows on the messages in `benchmarks/topics`.

    python -m benchmarks.train_topics --labelled counselchat_dev.csv

Two minutes on two cores. Writes `synth/data/topic_weights.npz`: two multinomial logistic
regressions, on the built-in embedder's vectors and on words and pairs of words, their intercepts
moved halfway from the messages' shares of the topics to the specs' weights. `--labelled` adds a
dataset whose own labels name our topics.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from synth.config import EmbedderConfig
from synth.embedding import Embedder
from synth.gaps.shipped import ShippedLabels
from synth.protocol import Vectors
from synth.sources import open_source
from synth.specs import Specs, find_specs_dir, load_specs
from synth.topic_model import NONE, WEIGHTS, word_vectorizer
from synth.vector_cache import Embeds, VectorCache, cache_path

HERE = Path(__file__).parent
OUT = HERE.parent / "synth" / "data" / WEIGHTS
INVERSE_PENALTY = 1.0  # of 0.3, 1, 3 and 10 the best on questions that were not trained on
INVERSE_PENALTY_OF_WORDS = 10.0
LEAST_TEXTS = 6  # that a word or a pair is in
TOWARDS_WEIGHTS = 0.5
SHARE_OF_NONE = 0.02  # of the rows of a counselling dataset, about no topic


@dataclass(frozen=True)
class Labelled:
    """Different texts; of each the topics that it is filed under, the first one first."""

    texts: list[str]
    topics: list[tuple[str, ...]]

    @property
    def first(self) -> list[str]:
        """The topic of each text that counts when there may be only one."""
        return [topics[0] for topics in self.topics]


def written() -> Labelled:
    """The messages written for training."""
    rows = [
        json.loads(line)
        for path in sorted((HERE / "topics").glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    return Labelled([row["text"] for row in rows], [(row["topic"],) for row in rows])


def labelled_rows(location: str, specs: Specs) -> Labelled:
    """A dataset's questions, each once, under all our topics that its rows' labels name."""
    shipped = ShippedLabels(specs.topics)
    found: dict[str, dict[str, None]] = {}
    for row in open_source(location):
        known = shipped.read(row.topic) if row.topic else ()
        if known and row.question:
            found.setdefault(row.subject, {}).update(dict.fromkeys(known))
    return Labelled(list(found), [tuple(topics) for topics in found.values()])


def train(
    specs: Specs, texts: Sequence[str], vectors: Vectors, topics: Sequence[str]
) -> Mapping[str, Any]:
    """Weights as `PooledTopics` reads them."""
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000).fit(vectors, topics)
    vectorizer = word_vectorizer(min_df=LEAST_TEXTS)
    words = vectorizer.fit_transform(texts)
    of_words = LogisticRegression(C=INVERSE_PENALTY_OF_WORDS, max_iter=1000).fit(words, topics)
    labels = [str(label) for label in model.classes_]
    total = sum(spec.weight for spec in specs.topics.values())
    shares = {topic: spec.weight / total for topic, spec in specs.topics.items()}
    shares[NONE] = SHARE_OF_NONE
    wanted = np.array([shares[label] for label in labels])
    seen = np.array([list(topics).count(label) / len(topics) for label in labels])
    shift = TOWARDS_WEIGHTS * np.log(wanted / seen)
    return {
        "labels": json.dumps(labels),
        "coef": model.coef_.astype(np.float16),
        "bias": model.intercept_ + shift,
        "vocabulary": json.dumps(list(vectorizer.get_feature_names_out())),
        "idf": vectorizer.idf_.astype(np.float16),
        "word_coef": of_words.coef_.astype(np.float16),
        "word_bias": of_words.intercept_ + shift,
    }


def the_specs() -> Specs:
    """The shipped topics."""
    return load_specs(find_specs_dir("topic_specs", HERE.parent))


def cached_embedder() -> Embeds:
    """The built-in embedder, which remembers."""
    config = EmbedderConfig()
    return VectorCache(Embedder(config), cache_path(config))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labelled", nargs="*", default=[], metavar="DATASET")
    options = parser.parse_args()
    specs = the_specs()
    parts = [written(), *(labelled_rows(location, specs) for location in options.labelled)]
    texts = [text for part in parts for text in part.texts]
    topics = [topic for part in parts for topic in part.first]
    np.savez_compressed(OUT, **train(specs, texts, cached_embedder().embed(texts), topics))
    print(json.dumps({"texts": len(texts), "topics": len(set(topics)), "out": str(OUT)}))


if __name__ == "__main__":
    main()
