"""How long does a run take to be back at work? Opens a folder of synthetic records.

    python -m benchmarks.resume --records 100000

Prints seconds and memory of opening a session: reading every segment, rebuilding index,
coverage and exact repeats.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from synth.config import load_config
from synth.plan import make_plan
from synth.segments import SegmentWriter, accepted_schema
from synth.session import Session
from synth.specs import SITUATION

REPO = Path(__file__).parent.parent
DIM = 384
SEGMENT = 500
WORDS = [f"{a}{b}" for a in ("ka", "lo", "mi", "nu", "pe") for b in ("ran", "tis", "vol", "zem")]


def rows(count: int, topics: list[str], rng: random.Random, first: int) -> list[dict[str, Any]]:
    """Records of the size of real ones."""
    vectors = np.random.default_rng(first).standard_normal((count, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        {
            "id": f"00000000-001-{first + i:08d}-000",
            "topic": topics[(first + i) % len(topics)],
            "requested_topic": topics[(first + i) % len(topics)],
            "facets": {SITUATION: "does this and that", "voice": "plain"},
            "question": f"{first + i} " + " ".join(rng.choices(WORDS, k=80)),
            "answer": f"{first + i} " + " ".join(rng.choices(WORDS, k=200)),
            "nearest_similarity": 0.5,
            "embedding": vectors[i],
            "prompt_tokens": 700,
            "completion_tokens": 300,
        }
        for i in range(count)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        config = load_config(
            None, [f"out={scratch}/run", f"targets.total={options.records * 2}",
                   "targets.policy=uniform"],
        )  # fmt: skip
        plan = make_plan(config, REPO)
        Session(plan, accept_changes=False).close()
        schema = accepted_schema(DIM, list(plan.specs.facets))
        writer = SegmentWriter(plan.files.accepted, schema, 1)
        rng = random.Random(0)
        for first in range(0, options.records, SEGMENT):
            writer.append(rows(SEGMENT, list(plan.specs.topics), rng, first))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        session = Session(plan, accept_changes=False)
        seconds = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        held = session.coordinator.snapshot(0.0).accepted
        session.close()
    figures = {
        "records": held,
        "segments": options.records // SEGMENT,
        "open_s": round(seconds, 2),
        "peak_mib_before": before >> 10,
        "peak_mib_after": after >> 10,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
