"""Sentence embeddings: float32 and L2-normalised, so that an inner product is a cosine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from synth.config import EmbedderConfig
from synth.errors import ModelError
from synth.models import BUILTIN, resolve_embedder
from synth.protocol import Vectors


class Embedder:
    """A sentence-transformers model on one device.

    Always float32: in bfloat16 two runs over the same text differ by up to 0.002, and a pair
    could cross the threshold after it was judged.

    Args:
        config: which model, and where it runs.
        threads: CPU threads for this process's torch, or None to leave them alone.

    Raises:
        ModelError: the model cannot be loaded.
    """

    def __init__(self, config: EmbedderConfig, threads: int | None = None):
        path = resolve_embedder(config.name)
        import torch
        from sentence_transformers import SentenceTransformer

        if threads is not None:
            torch.set_num_threads(threads)
        device = config.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self._model = SentenceTransformer(
                path, device=device, local_files_only=config.name == BUILTIN
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(
                "embedder.name",
                f"{config.name!r} cannot be loaded ({str(error).splitlines()[0]})",
                "Give a sentence-transformers model",
            ) from error

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self._model.get_embedding_dimension())

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of `texts`, n x d."""
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        vectors = self._model.encode(
            list(texts), batch_size=64, normalize_embeddings=True, show_progress_bar=False
        )
        return cast(Vectors, np.asarray(vectors, dtype=np.float32))
