"""The duplicate index: committed questions in `NearestRows`, reserved ones beside it.

Reservations come and go, and an index is poor at forgetting, so what is reserved waits in a
matrix beside it (`synth/reservations.py`) and enters it only when it is committed. A
micro-batch is probed once; each of its rows is then held against the index, the reservations,
and its own batch-mates that were reserved before it.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from synth.nearest import NearestRows
from synth.protocol import Vectors
from synth.reservations import Reservations

# Vectors that are embedded again, in another batch, differ by about 1e-6; whoever checks a
# dataset must not find a pair at the threshold that was just below it here.
_SAFETY = 1e-4
_OPENING_WORDS = 14
_NOT_A_WORD = re.compile(r"[\W_]+")
_ASCII_WORDS = bytes(ord(chr(c).lower() if chr(c).isalnum() else " ") for c in range(256))


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The closest question to a given one: its id, their cosine, and its first words."""

    id: str
    similarity: float
    opening: str = ""


def opening(text: str) -> str:
    """The first words of a text: enough to tell a prompt what to keep away from."""
    return " ".join(text.split()[:_OPENING_WORDS])


def text_key(text: str) -> bytes:
    """Equal for texts that differ only in case, punctuation, spacing or Unicode form."""
    if text.isascii():  # the same in a seventh of the time
        plain = b" ".join(text.encode().translate(_ASCII_WORDS).split())
    else:
        folded = unicodedata.normalize("NFKC", text).casefold()
        plain = _NOT_A_WORD.sub(" ", folded).strip().encode(errors="replace")
    return hashlib.blake2b(plain, digest_size=16).digest()


class DuplicateIndex:
    """Finds the nearest neighbour of a question among all that are committed or reserved.

    Args:
        dim: length of a vector.
        threshold: cosine at or above which two questions are duplicates.
        committed: where committed vectors go; empty.
    """

    def __init__(self, dim: int, threshold: float, committed: NearestRows | None = None):
        self.threshold = threshold
        self._committed = NearestRows(dim) if committed is None else committed
        self._ids: list[str] = []
        self._openings: list[str] = []
        self._reserved = Reservations(dim)

    def __len__(self) -> int:
        """Committed vectors."""
        return len(self._ids)

    @property
    def reserved(self) -> int:
        """Reserved vectors."""
        return len(self._reserved)

    def add(self, ids: Sequence[str], vectors: Vectors, texts: Sequence[str]) -> None:
        """Take in questions that are known to be distinct: from a store or an existing dataset.

        Args:
            ids: of the questions, n.
            vectors: unit vectors, n x d.
            texts: whose first words a prompt may be told to keep away from; may be empty.
        """
        self._add(ids, vectors, [opening(text) for text in texts])

    def _add(self, ids: Sequence[str], vectors: Vectors, openings: Sequence[str]) -> None:
        if len(ids):
            self._committed.add(vectors)
            self._ids.extend(ids)
            self._openings.extend(openings)

    def probe(self, vectors: Vectors) -> Probe:
        """Search for all rows of `vectors` (n x d) at once; ask the probe row by row."""
        near = self._nearest_committed(vectors)
        for row, (name, similarity) in enumerate(self._reserved.nearest(vectors)):
            known = near[row]
            if known is None or similarity > known.similarity:
                near[row] = Neighbour(name, similarity, self._reserved.opening(name))
        return Probe(self, vectors, near)

    def _nearest_committed(self, vectors: Vectors) -> list[Neighbour | None]:
        if not self._ids or not len(vectors):
            return [None] * len(vectors)
        similarities, rows = self._committed.search(vectors)
        return [
            Neighbour(self._ids[row], float(similarity), self._openings[row]) if row >= 0 else None
            for similarity, row in zip(similarities, rows, strict=True)
        ]

    def too_close(self, neighbour: Neighbour | None) -> bool:
        """Whether a question with this nearest neighbour is a duplicate."""
        return neighbour is not None and neighbour.similarity >= self.threshold - _SAFETY

    def reserve(self, slot_id: str, vector: Vectors, text: str) -> None:
        """Hold a place for a question while its answer is written."""
        self._reserved.add(slot_id, vector, opening(text))

    def release(self, slot_id: str) -> None:
        """Give a reserved place back."""
        self._reserved.discard(slot_id)

    def vector(self, slot_id: str) -> Vectors:
        """The vector of a reserved question."""
        vector: Vectors = self._reserved.vectors([slot_id])[0]
        return vector

    def neighbours_before(self, slot_ids: Sequence[str]) -> list[Neighbour | None]:
        """Each reserved question's nearest among what is committed and those before it here."""
        if not slot_ids:
            return []
        vectors = self._reserved.vectors(slot_ids)
        near = self._nearest_committed(vectors)
        cosines = vectors @ vectors.T
        for row in range(1, len(slot_ids)):
            column = int(cosines[row, :row].argmax())
            similarity = float(cosines[row, column])
            known = near[row]
            if known is None or similarity > known.similarity:
                near[row] = Neighbour(slot_ids[column], similarity)
        return near

    def commit(self, slot_ids: Sequence[str]) -> None:
        """Move reserved questions into the index for good."""
        openings = [self._reserved.opening(slot_id) for slot_id in slot_ids]
        self._add(slot_ids, self._reserved.vectors(slot_ids), openings)
        for slot_id in slot_ids:
            self._reserved.discard(slot_id)


class Probe:
    """One micro-batch's search results, kept true while its own rows are being reserved."""

    def __init__(self, index: DuplicateIndex, vectors: Vectors, near: list[Neighbour | None]):
        self._index = index
        self._vectors = vectors
        self._near = near
        self._mates: list[tuple[str, int, str]] = []

    def nearest(self, row: int) -> Neighbour | None:
        """The closest question to row `row`, its reserved batch-mates included."""
        best = self._near[row]
        for slot_id, mate, first_words in self._mates:
            similarity = float(self._vectors[row] @ self._vectors[mate])
            if best is None or similarity > best.similarity:
                best = Neighbour(slot_id, similarity, first_words)
        return best

    def reserve(self, row: int, slot_id: str, text: str) -> None:
        """Reserve row `row`; later rows of the batch are held against it."""
        self._index.reserve(slot_id, self._vectors[row], text)
        self._mates.append((slot_id, row, opening(text)))


class ExactRepeats:
    """Normalised texts that were seen, by hash, each with the record that holds it."""

    def __init__(self) -> None:
        self._owners: dict[bytes, str] = {}

    def owner(self, text: str) -> str | None:
        """The id that holds this text, if any."""
        return self._owners.get(text_key(text))

    def claim(self, text: str, owner: str) -> bool:
        """Hold `text` for `owner`; False when another id has it."""
        return self._owners.setdefault(text_key(text), owner) == owner

    def release(self, text: str, owner: str) -> None:
        """Give a text back that was held by `owner`."""
        key = text_key(text)
        if self._owners.get(key) == owner:
            del self._owners[key]
