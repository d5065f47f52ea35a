"""The embedder: unit vectors that do not depend on company, and a cache that is only a cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from synth.embedding import Embedder

TEXTS = ["I cannot sleep.", "My brother and I do not talk any more.", "What is normal grief?"]


def test_vectors_have_length_one_and_do_not_depend_on_their_batch(embedder: Embedder) -> None:
    together = embedder.embed(TEXTS)
    alone = np.concatenate([embedder.embed([text]) for text in TEXTS])
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert together.dtype == np.float32
    assert embedder.embed([]).shape == (0, embedder.dim)


def test_kept_vectors_are_the_same_and_are_read_the_second_time(
    embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENFILL_CACHE", str(tmp_path))
    first = embedder.embed_kept(TEXTS)
    monkeypatch.setattr(embedder, "embed", lambda _: pytest.fail("embedded again"))
    np.testing.assert_array_equal(embedder.embed_kept(TEXTS), first)


def test_a_broken_cache_is_made_anew(
    embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENFILL_CACHE", str(tmp_path))
    first = embedder.embed_kept(TEXTS)
    (path,) = (tmp_path / "vectors").iterdir()
    path.write_bytes(path.read_bytes()[:40])
    np.testing.assert_array_equal(embedder.embed_kept(TEXTS), first)
