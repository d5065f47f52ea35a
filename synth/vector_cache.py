"""Embeddings of existing texts, kept by content: the second look at a dataset is quick."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from synth.config import EmbedderConfig
from synth.models import cache_dir, embedder_revision
from synth.protocol import Vectors

_ASKED_AT_ONCE = 500  # keys in one SQL statement
_log = logging.getLogger(__name__)
_WAIT_S = 60.0  # for another process that writes


class Embeds(Protocol):
    """What makes vectors of texts that are not kept yet."""

    @property
    def dim(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of `texts`, n x d."""
        ...


class VectorCache:
    """An embedder that remembers what it has embedded, in one SQLite file per model.

    Args:
        embedder: makes what is missing.
        path: of the file; None keeps nothing.

    Attributes:
        made: vectors that were not kept before.
    """

    def __init__(self, embedder: Embeds, path: Path | None):
        self._embedder = embedder
        self._path = path
        self.made = 0
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with closing(self._connect(path)) as base:
                    base.execute("PRAGMA journal_mode=WAL")
                    base.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB, vector BLOB)")
                    base.execute("CREATE UNIQUE INDEX IF NOT EXISTS keys ON vectors (key)")
            except (OSError, sqlite3.Error) as error:
                self._go_without(error)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._embedder.dim

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of `texts`, n x d; each distinct text is embedded once, ever."""
        if self._path is not None:
            try:
                return self._embedded(self._path, texts)
            except sqlite3.Error as error:
                self._go_without(error)
        self.made += len(texts)
        return self._embedder.embed(texts)

    def _go_without(self, error: Exception) -> None:
        _log.warning("%s cannot keep vectors (%s); going on without", self._path, error)
        self._path = None

    def _embedded(self, path: Path, texts: Sequence[str]) -> Vectors:
        keys = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts]
        with closing(self._connect(path)) as base:
            known = self._known(base, keys)
            new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
            if new:
                vectors = self._embedder.embed(list(new.values()))
                self.made += len(new)
                known.update(zip(new, vectors, strict=True))
                rows = [(key, vector.tobytes()) for key, vector in zip(new, vectors, strict=True)]
                with base:
                    base.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)
        out = np.zeros((len(keys), self.dim), dtype=np.float32)
        for row, key in enumerate(keys):
            out[row] = known[key]
        return out

    def _known(self, base: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, Vectors]:
        found: dict[bytes, Vectors] = {}
        distinct = list(dict.fromkeys(keys))
        for start in range(0, len(distinct), _ASKED_AT_ONCE):
            part = distinct[start : start + _ASKED_AT_ONCE]
            marks = ",".join("?" * len(part))
            asked = f"SELECT key, vector FROM vectors WHERE key IN ({marks})"
            for key, vector in base.execute(asked, part):
                found[key] = cast(Vectors, np.frombuffer(vector, dtype=np.float32))
        return found

    @staticmethod
    def _connect(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=_WAIT_S)


def cache_path(config: EmbedderConfig) -> Path | None:
    """The cache file of a model; None for one in a folder, whose content may change."""
    revision = embedder_revision(config.name)
    if revision is None:
        return None
    name = f"{config.name} {revision} {version('sentence-transformers')}"
    key = hashlib.sha256(name.encode()).hexdigest()[:12]
    return cache_dir() / "vectors" / f"{key}.sqlite"
