"""Check a run folder by what is in it and nothing else: the promises of a finished run.

    python -m tests.check_folder DIR [EARLIER.json]

EARLIER.json, if given, holds digests of records that were seen before a kill; each must
still be there, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq


def records(folder: Path) -> list[dict[str, object]]:
    """All accepted records, in the order of their segments."""
    paths = sorted((folder / "accepted").glob("*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def digests(folder: Path) -> dict[str, str]:
    """Record id -> digest of everything that the record holds."""
    return {
        str(row["id"]): hashlib.sha256(repr(sorted(row.items())).encode()).hexdigest()
        for row in records(folder)
    }


def problems(folder: Path, earlier: dict[str, str], *, complete: bool = True) -> list[str]:
    """Every promise that the folder breaks, in words."""
    found: list[str] = []
    manifest = json.loads((folder / "run.json").read_text())
    rows = records(folder)
    targets, counts = manifest["targets"], Counter(str(row["topic"]) for row in rows)
    for topic, target in targets.items():
        if counts[topic] > target or (complete and counts[topic] != target):
            found.append(f"{topic} holds {counts[topic]} of {target}")
    ids = Counter(str(row["id"]) for row in rows)
    found += [f"{name} is there {number} times" for name, number in ids.items() if number > 1]
    vectors = np.array([row["embedding"] for row in rows], dtype=np.float32).reshape(len(rows), -1)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    threshold = manifest["config"]["dedup"]["threshold"]
    if len(rows) and cosines.max() >= threshold:
        found.append(f"two records have a similarity of {cosines.max():.4f}")
    now = digests(folder)
    found += [f"{name} was committed and is gone" for name in earlier if name not in now]
    found += [
        f"{name} has changed" for name, digest in earlier.items() if now.get(name, digest) != digest
    ]
    report = json.loads((folder / "report.json").read_text())
    if complete and (report["status"] != "complete" or report["accepted"] != len(rows)):
        found.append(f"the report says {report['status']}, {report['accepted']} records")
    return found


if __name__ == "__main__":
    known = json.loads(Path(sys.argv[2]).read_text()) if len(sys.argv) > 2 else {}
    broken = problems(Path(sys.argv[1]), known)
    print("\n".join(broken) or "all promises are kept")
    sys.exit(bool(broken))
