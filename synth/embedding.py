"""Sentence embeddings: float32 and L2-normalised, so that an inner product is a cosine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import cast

import numpy as np

from synth.config import EmbedderConfig
from synth.errors import ModelError
from synth.files import LocalFolder
from synth.models import BUILTIN, cache_dir, resolve_embedder, without_progress_bars
from synth.protocol import Vectors
from synth.weights import is_url


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
        # A copy from an object store is named by what it holds.
        self._name = Path(path).name if is_url(config.name) else config.name
        import torch
        from sentence_transformers import SentenceTransformer

        without_progress_bars()

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

    def embed_kept(self, texts: Sequence[str]) -> Vectors:
        """The same for texts that hardly change, such as topic specs: kept in the cache folder.

        A model in a local folder is not cached: its content may change under the same name.
        """
        if Path(self._name).expanduser().is_dir():
            return self.embed(texts)
        package = version("sentence-transformers")
        key = hashlib.sha256(json.dumps([self._name, package, list(texts)]).encode()).hexdigest()
        path = cache_dir() / "vectors" / f"{key[:32]}.npy"
        with suppress(OSError, ValueError):
            return cast(Vectors, np.load(path))
        vectors = self.embed(texts)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            LocalFolder(path.parent).write_with(path.name, lambda file: np.save(file, vectors))
        return vectors
