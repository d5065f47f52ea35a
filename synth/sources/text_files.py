"""Text files: their lines, whichever bytes they hold, and transcripts."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from synth.sources.rows import Raw, SourceError, Unreadable

Records = Iterator[Raw | Unreadable]

MOST = (
    512 * 1024 * 1024
)  # bytes of a file, or characters of a line, that are held in memory at once
_BLOCK = 4096
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_PARQUET = b"PAR1"
_TURN = re.compile(
    r"(?:^|\n)(user|agent|client|counsel+or|seeker|supporter|therapist):[ \t]*", re.I
)


@dataclass(frozen=True, slots=True)
class Opening:
    """How a file begins.

    Attributes:
        text: up to 4096 bytes, from the first that is not blank.
        is_parquet: whether it is Parquet, and no text.
    """

    text: str
    is_parquet: bool = False

    @property
    def is_transcript(self) -> bool:
        """Whether a speaker's name comes first."""
        return bool(_TURN.match(self.text))


def read_opening(path: Path) -> Opening:
    """Look at a file's first bytes.

    Raises:
        SourceError: it is empty, binary, or in another encoding.
    """
    with open(path, "rb") as file:
        head = file.read(_BLOCK)
        if head.startswith(_PARQUET):
            return Opening("", is_parquet=True)
        if head.startswith(_UTF_16):
            raise SourceError(
                str(path), "is UTF-16, not UTF-8", "Convert it: `iconv -f utf-16 -t utf-8`"
            )
        head = head.removeprefix(codecs.BOM_UTF8)
        while head and not head.strip():
            head = file.read(_BLOCK)
    if not head:
        raise SourceError(str(path), "is empty", "Give a file with rows")
    if b"\0" in head:
        raise SourceError(
            str(path), "is a binary file", "Give CSV, JSON, JSON lines, Parquet or a transcript"
        )
    return Opening(head.decode(errors="replace").lstrip())


def text_lines(path: Path) -> Iterator[str]:
    """A file's lines with their ends; bytes that are not UTF-8 come as lone surrogates.

    Raises:
        SourceError: a line that is too long to be held in memory.
    """
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        number = 1
        while line := file.readline(MOST):
            if len(line) == MOST:
                what = f"is longer than {MOST >> 20} million characters"
                raise SourceError(f"{path}:{number}", what, "Convert the file to JSON lines")
            yield line
            number += 1


def whole_text(path: Path) -> str:
    """A file's text; bytes that are not UTF-8 come as lone surrogates.

    Raises:
        SourceError: it is too large to be held in memory.
    """
    if path.stat().st_size > MOST:
        what = f"is one document of more than {MOST >> 20} MiB"
        raise SourceError(str(path), what, "Convert it to JSON lines, which are read row by row")
    return path.read_text(encoding="utf-8-sig", errors="surrogateescape")


def read_transcript(path: Path) -> Records:
    """One dialogue a file: `user:` and `agent:` blocks."""
    parts = _TURN.split(whole_text(path))[1:]
    turns = [
        {"role": role.lower(), "content": text.strip()}
        for role, text in zip(parts[::2], parts[1::2], strict=True)
    ]
    yield Raw(str(path), {"turns": turns})
