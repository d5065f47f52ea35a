"""Which similarity makes two questions duplicates? Pairs of real and of synthetic questions.

    python benchmarks/threshold.py ../shared/data

Prints, for CounselChat (written by people) and the early MentalChat16K file (written by a
model), the share of questions whose nearest other question is at or above each threshold,
and the pairs just around 0.85 to read.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np

from synth.config import EmbedderConfig
from synth.embedding import Embedder

THRESHOLDS = (0.75, 0.80, 0.85, 0.90, 0.95)


def main(folder: Path) -> None:
    with open(folder / "counselchat_dev.csv", encoding="utf-8") as file:
        by_id = {row["questionID"]: row for row in csv.DictReader(file)}
    people = [f"{row['questionTitle']} {row['questionText']}" for row in by_id.values()]
    with open(folder / "mentalchat16k_early_779.jsonl", encoding="utf-8") as file:
        model = [json.loads(line)["instruction"] for line in file]
    embedder = Embedder(EmbedderConfig())
    for name, texts in (("CounselChat, people", people), ("MentalChat16K early, a model", model)):
        vectors = embedder.embed(texts)
        cosines = vectors @ vectors.T
        np.fill_diagonal(cosines, -1)
        nearest = cosines.max(axis=1)
        shares = "  ".join(f"{t:.2f}: {np.mean(nearest >= t):6.1%}" for t in THRESHOLDS)
        print(f"{name}, {len(texts)} questions: {shares}")
        rows, columns = np.where(np.triu((cosines >= 0.80) & (cosines < 0.90)))
        order = np.argsort(cosines[rows, columns])
        for at in order[:: max(1, len(order) // 8)][:8]:
            i, j = rows[at], columns[at]
            print(f"  {cosines[i, j]:.3f}\n    {texts[i][:150]}\n    {texts[j][:150]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
