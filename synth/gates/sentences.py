"""A small classifier of single sentences: what phrases cannot foresee.

The built-in embedder (all-MiniLM-L6-v2), fine-tuned by `benchmarks/train_safety.py` on sentences
written for it, with a linear head. What the training changed in the embedder's matrices is kept as
factors of low rank, so that the package carries a few megabytes instead of a second model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from functools import cache
from importlib.resources import as_file, files
from typing import Any

import numpy as np
import numpy.typing as npt

from synth.errors import ModelError
from synth.models import BUILTIN, resolve_embedder, without_progress_bars

WEIGHTS = "safety_sentences.npz"
MAX_TOKENS = 64
BATCH = 64

Scores = npt.NDArray[np.float32]


class Side(StrEnum):
    """Who wrote a sentence."""

    CLIENT = "client"
    REPLY = "reply"


SAFE = ("clean", "asks")  # labels that break no rule


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
        rules: for each side, the labels that break a rule.
    """

    def __init__(self, weights: dict[str, Any]):
        import torch
        from transformers import AutoModel, AutoTokenizer

        without_progress_bars()
        path = str(resolve_embedder(BUILTIN))
        self._tokenizer = AutoTokenizer.from_pretrained(path)
        model = AutoModel.from_pretrained(path).eval()
        with torch.no_grad():
            for name, weight in changed_weights(model).items():
                weight += _change(weights, name)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = model.to(self._device, _dtype(self._device))
        self._head = torch.from_numpy(weights["head"].astype(np.float32))
        self._bias = torch.from_numpy(weights["bias"].astype(np.float32))
        labels = [label.partition(":") for label in json.loads(str(weights["labels"]))]
        self._columns = {
            side: {label: at for at, (of, _, label) in enumerate(labels) if of == side}
            for side in Side
        }
        self.rules = {
            side: tuple(label for label in columns if label not in SAFE)
            for side, columns in self._columns.items()
        }

    def scores(self, sentences: Sequence[str], side: Side) -> dict[str, Scores]:
        """Probability of each label of one side, by sentence."""
        import torch

        columns = self._columns[side]
        out = np.zeros((len(sentences), len(columns)), dtype=np.float32)
        order = sorted(range(len(sentences)), key=lambda at: len(sentences[at]))
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            tokens = self._tokenizer(
                [sentences[at] for at in chosen],
                padding=True,
                truncation=True,
                max_length=MAX_TOKENS,
                return_tensors="pt",
            ).to(self._device)
            with torch.inference_mode():
                pooled = mean_pooled(self._model, tokens).float().cpu()
                logits = (pooled @ self._head.T + self._bias)[:, list(columns.values())]
                out[chosen] = torch.softmax(logits, dim=-1).numpy()
        return {label: out[:, at] for at, label in enumerate(columns)}


def _dtype(device: str) -> Any:
    """bfloat16 where the device multiplies it, which takes about a third of the time on a CPU."""
    import torch

    cuda, cpu = torch.cuda.is_bf16_supported, torch.cpu._is_avx512_bf16_supported
    fast = cuda() if device == "cuda" else cpu()
    return torch.bfloat16 if fast else torch.float32


@cache
def trained_model() -> SentenceModel:
    """The model that comes with the package.

    Raises:
        ModelError: it does not, as in a checkout that was never trained.
    """
    with as_file(files("synth.gates") / "data" / WEIGHTS) as path:
        if not path.exists():
            raise ModelError(
                "gates.safety.sentences",
                f"is on, but there is no {path}",
                "Train it with `python -m benchmarks.train_safety`, or turn it off",
            )
        return SentenceModel(dict(np.load(path)))
