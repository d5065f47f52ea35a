"""A small classifier of single sentences: what phrases cannot foresee.

The built-in embedder (all-MiniLM-L6-v2) with low-rank changes to its layers (LoRA, Hu et al. 2021)
and a linear head, trained by `benchmarks/train_safety.py`. Its weights are not shipped yet: they do
not hold on real messages so far (docs/safety.md).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache
from importlib.resources import as_file, files
from typing import Any

import numpy as np
import numpy.typing as npt

from synth.errors import ModelError
from synth.models import BUILTIN, resolve_embedder

WEIGHTS = "safety_sentences.npz"
MAX_TOKENS = 64
BATCH = 64

Scores = npt.NDArray[np.float32]


def changed_weights(model: Any) -> dict[str, Any]:
    """The weights of the encoder, by name: its vocabulary's vectors stay as they are."""
    return {name: w for name, w in model.named_parameters() if name.startswith("encoder")}


def mean_pooled(model: Any, tokens: Any) -> Any:
    """Mean of the last hidden states over the tokens of each text (n x d)."""
    hidden = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
    return (hidden * mask).sum(1) / mask.sum(1)


def _change(weights: dict[str, Any], name: str) -> Any:
    """The change of one weight: as it is, or as the product of its factors."""
    import torch

    if name in weights:
        return torch.from_numpy(weights[name].astype(np.float32))
    up, down = (weights[f"{name}.{part}"].astype(np.float32) for part in ("up", "down"))
    return torch.from_numpy(up @ down)


class SentenceModel:
    """Scores sentences by label.

    Args:
        weights: arrays as `benchmarks/train_safety.py` saves them.

    Attributes:
        labels: names of the columns of `scores`, each with its side: `client:self_risk`.
    """

    def __init__(self, weights: dict[str, Any]):
        import torch
        from transformers import AutoModel, AutoTokenizer

        path = str(resolve_embedder(BUILTIN))
        self._tokenizer = AutoTokenizer.from_pretrained(path)
        self._model = AutoModel.from_pretrained(path).eval()
        self.labels: tuple[str, ...] = tuple(json.loads(str(weights["labels"])))
        with torch.no_grad():
            for name, weight in changed_weights(self._model).items():
                weight += _change(weights, name)
        self._head = torch.from_numpy(weights["head"].astype(np.float32))
        self._bias = torch.from_numpy(weights["bias"].astype(np.float32))

    def scores(self, sentences: Sequence[str], side: str) -> Scores:
        """Probability of each label of one side (n x labels); 0 for those of the other side."""
        import torch

        out = np.zeros((len(sentences), len(self.labels)), dtype=np.float32)
        other = torch.tensor([not label.startswith(f"{side}:") for label in self.labels])
        order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            tokens = self._tokenizer(
                [sentences[i] for i in chosen],
                padding=True,
                truncation=True,
                max_length=MAX_TOKENS,
                return_tensors="pt",
            )
            with torch.inference_mode():
                logits = mean_pooled(self._model, tokens) @ self._head.T + self._bias
                logits = logits.masked_fill(other, -math.inf)
                out[chosen] = torch.softmax(logits, dim=-1).numpy()
        return out


@cache
def trained_model() -> SentenceModel:
    """The model that `benchmarks/train_safety.py` trained here.

    Raises:
        ModelError: there is none.
    """
    with as_file(files("synth.gates") / "data" / WEIGHTS) as path:
        if not path.exists():
            raise ModelError(
                "gates.safety.sentences",
                f"is on, but there is no {path}",
                "Train it with `python -m benchmarks.train_safety`, or turn it off",
            )
        return SentenceModel(dict(np.load(path)))
