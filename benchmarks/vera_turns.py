"""VERA-MH's transcripts as pairs that `evenfill audit` reads, one for each exchange.

    python -m benchmarks.vera_turns FOLDER > vera.jsonl

Each exchange is the client's latest message and the agent's reply; `id` is the file and its number.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

_TURN = re.compile(r"^(user|agent): ", re.MULTILINE)


def exchanges(text: str) -> Iterator[tuple[str, str]]:
    """(message, reply) pairs of a transcript whose turns begin with `user:` or `agent:`."""
    parts = _TURN.split(text)[1:]
    turns = [(side, said.strip()) for side, said in zip(parts[::2], parts[1::2], strict=True)]
    for (side, said), (other, reply) in pairwise(turns):
        if (side, other) == ("user", "agent"):
            yield said, reply


def main(folder: Path) -> None:
    for path in sorted(folder.glob("*.txt")):
        for number, (question, answer) in enumerate(exchanges(path.read_text(encoding="utf-8"))):
            row = {"id": f"{path.stem}#{number}", "question": question, "answer": answer}
            print(json.dumps(row, ensure_ascii=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
