"""A large dataset through `evenfill gaps`: time and memory, twice, the second time from the cache.

    python -m benchmarks.scale --rows 1000000

The rows are made up, and their vectors are drawn from a digest of each text: a million texts
through a real embedder would measure nothing but the embedder, whose own rate is printed for scale.
All else is what a user gets: reader, labeller, cache, neighbour search, report.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synth.config import EmbedderConfig, RunConfig, Targets
from synth.embedding import Embedder
from synth.gaps.assess import assess
from synth.gaps.shipped import ShippedLabels
from synth.gaps.survey import Surveyor
from synth.plan import specs_of
from synth.protocol import Vectors
from synth.sources import open_source
from synth.topic_model import LabelRule, topic_scorer
from synth.vector_cache import VectorCache

REPO = Path(__file__).parent.parent
DIM = 384
COPIES = 20  # one row in so many repeats an earlier one
TIMED = 512  # rows through the real embedder
WORDS = (
    "my mother work night sleep money friend husband child doctor alone tired angry school move "
    "house talk leave years stopped feeling nobody always sister father phone morning drive cannot"
).split()


class DigestEmbedder:
    """Unit vectors drawn from a digest of each text."""

    dim = DIM

    def embed(self, texts: Sequence[str]) -> Vectors:
        """n x d, the same for the same text."""
        seeds = (hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
        drawn = [
            np.random.Generator(np.random.SFC64(int.from_bytes(seed))).standard_normal(
                DIM, dtype=np.float32
            )
            for seed in seeds
        ]
        if not drawn:
            return np.zeros((0, DIM), dtype=np.float32)
        vectors = np.stack(drawn)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def make_rows(path: Path, rows: int) -> None:
    """Write a dataset of made-up rows."""
    rng = random.Random(7)
    with open(path, "w", encoding="utf-8") as file:
        for number in range(rows):
            of = rng.randrange(number) if number and number % COPIES == 0 else number
            words = random.Random(of).choices(WORDS, k=40)
            row = {"question": f"{of} {' '.join(words)}.", "answer": " ".join(reversed(words))}
            file.write(json.dumps(row) + "\n")


def survey(path: Path, cache: VectorCache) -> dict[str, Any]:
    """One look at the dataset, without the safety gate: seconds, rows, peak memory."""
    config = RunConfig()
    specs = specs_of(config, REPO)
    scorer = topic_scorer(specs, cache, EmbedderConfig())
    surveyor = Surveyor(scorer, cache, LabelRule(), ShippedLabels(specs.topics))
    made, started = cache.made, time.monotonic()
    found = assess(
        open_source(str(path)),
        surveyor,
        Targets(),
        specs,
        look_for_harm=False,
        write=lambda _: None,
    )
    return {
        "seconds": round(time.monotonic() - started, 1),
        "rows": found.survey.rows,
        "embedded": cache.made - made,
        "near_at_0.95": round(found.redundant[0.95], 4),
        "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="evenfill-scale-") as folder:
        path = Path(folder) / "rows.jsonl"
        make_rows(path, options.rows)
        print(json.dumps({"file_gib": round(path.stat().st_size / 2**30, 3)}), flush=True)
        for turn in ("first", "second"):
            cache = VectorCache(DigestEmbedder(), Path(folder) / "vectors.sqlite")
            print(json.dumps({turn: survey(path, cache)}), flush=True)
        kept = sum(file.stat().st_size for file in Path(folder).glob("vectors.sqlite*"))
        print(json.dumps({"cache_gib": round(kept / 2**30, 2)}), flush=True)
        texts = [row.question for row, _ in zip(open_source(str(path)), range(TIMED), strict=False)]
    embedder = Embedder(EmbedderConfig())
    embedder.embed(texts[:32])
    started = time.monotonic()
    embedder.embed(texts)
    rate = TIMED / (time.monotonic() - started)
    print(json.dumps({"real_embedder_texts_per_s": round(rate)}))


if __name__ == "__main__":
    main()
