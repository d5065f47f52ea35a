"""Vectors that come and go: the questions whose answers are being written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synth.protocol import Vectors

_FIRST_ROWS = 256


@dataclass(frozen=True, slots=True)
class Reservation:
    """A reserved question's place: its row, and its first words."""

    row: int
    opening: str


class Reservations:
    """Reserved vectors, without gaps in one matrix, so that a batch is compared in one product."""

    def __init__(self, dim: int) -> None:
        self._matrix = np.empty((_FIRST_ROWS, dim), np.float32)
        self._ids: list[str] = []
        self._places: dict[str, Reservation] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, slot_id: str, vector: Vectors, opening: str) -> None:
        """Hold a vector under an id that holds none."""
        row = len(self._ids)
        if row == len(self._matrix):
            self._matrix = np.concatenate([self._matrix, np.empty_like(self._matrix)])
        self._matrix[row] = vector
        self._ids.append(slot_id)
        self._places[slot_id] = Reservation(row, opening)

    def discard(self, slot_id: str) -> None:
        """Forget a vector, if it is held; the last row moves to its place."""
        place = self._places.pop(slot_id, None)
        if place is None:
            return
        last = self._ids.pop()
        if last != slot_id:
            moved = self._places[last]
            self._matrix[place.row] = self._matrix[moved.row]
            self._ids[place.row] = last
            self._places[last] = Reservation(place.row, moved.opening)

    def vectors(self, slot_ids: Sequence[str]) -> Vectors:
        """Copies of the vectors of these ids, n x d."""
        return self._matrix[[self._places[slot_id].row for slot_id in slot_ids]]

    def opening(self, slot_id: str) -> str:
        """The first words of a reserved question."""
        return self._places[slot_id].opening

    def nearest(self, vectors: Vectors) -> list[tuple[str, float]]:
        """Id and cosine of the nearest to each of `vectors` (n x d); empty when none is held."""
        if not self._ids or not len(vectors):
            return []
        cosines = vectors @ self._matrix[: len(self._ids)].T
        best = cosines.argmax(axis=1)
        return [(self._ids[column], float(cosines[row, column])) for row, column in enumerate(best)]
