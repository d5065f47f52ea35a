"""How far to trust the labeller: its gate on real questions with the platform's own label.

    python benchmarks/on_topic.py ../shared/data/counselchat_dev.csv

Prints top-1 and top-3 agreement, and for several margins the share of questions that keep the
label that people gave them, against the share of other topics that would pass as well.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

from synth.config import EmbedderConfig, TopicGateConfig
from synth.embedding import Embedder
from synth.labeller import TopicLabeller
from synth.specs import find_specs_dir, load_specs

MARGINS = (0.02, 0.05, 0.08, 0.10)
LOWEST = (0.25, 0.30)


def main(path: Path) -> None:
    with open(path, encoding="utf-8") as file:
        rows = {row["questionID"]: row for row in csv.DictReader(file)}.values()
    texts = [f"{row['questionTitle']} {row['questionText']}" for row in rows]
    embedder = Embedder(EmbedderConfig())
    specs = load_specs(find_specs_dir("topic_specs", Path(__file__).parent.parent))
    labeller = TopicLabeller(specs, embedder.embed, TopicGateConfig())
    scores = labeller.scores(embedder.embed(texts))
    labels = np.array([labeller.topics.index(row["topic"]) for row in rows])
    at = np.arange(len(labels))
    ranks = (scores > scores[at, labels][:, None]).sum(axis=1)
    print(f"{len(texts)} questions, {len(set(labels))} topics")
    print(f"top-1 {np.mean(ranks == 0):.3f}, top-3 {np.mean(ranks < 3):.3f}")
    print("margin  lowest  own label passes  another topic passes")
    for margin in MARGINS:
        for lowest in LOWEST:
            passes = (scores >= lowest) & (scores >= scores.max(axis=1, keepdims=True) - margin)
            own = passes[at, labels].mean()
            others = (passes.sum() - passes[at, labels].sum()) / (passes.size - len(labels))
            print(f"{margin:6.2f}  {lowest:6.2f}  {own:16.3f}  {others:20.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
