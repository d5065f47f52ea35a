"""Toxicity of the counsellor's text, scored by a Detoxify model that the user brings.

Detoxify (Hanu and Unitary, 2020) publishes its weights on a release page and on the hub. Nothing is
downloaded here: `checkpoint` is either a folder in the hub's form, such as a copy of
`unitary/toxic-bert`, or one of the released `.ckpt` files, and then `base` is the folder of the
model that it was trained from. The client's text is never scored: to such a model despair is toxic.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from synth.errors import ModelError
from synth.gates.base import Check, Draft, Finding, GateKind, Options, Scope, Severity, Stage

_MAX_TOKENS = 512
_NAMES = {  # the releases' names -> those in use since
    "toxic": "toxicity",
    "severe_toxic": "severe_toxicity",
    "identity_hate": "identity_attack",
}
LABELS = ("toxicity", "severe_toxicity", "obscene", "threat", "insult", "identity_attack")


class DetoxifyOptions(Options):
    """Which model, and from which score on a text is refused.

    Attributes:
        checkpoint: folder of a transformers model, or a Detoxify `.ckpt` file.
        base: for a `.ckpt`: folder with `config.json` and tokenizer of its base model.
        threshold: probability, of any label in `labels`.
        severity: of what is found.
    """

    checkpoint: Path
    base: Path | None = None
    threshold: float = Field(0.5, gt=0, le=1)
    labels: tuple[str, ...] = Field(LABELS, min_length=1)
    severity: Severity = Severity.RED

    @model_validator(mode="after")
    def _weights_are_here(self) -> DetoxifyOptions:
        if not self.checkpoint.exists():
            raise ValueError(
                f"no weights at {str(self.checkpoint)!r}: give the folder of a copy of "
                "unitary/toxic-bert, or a .ckpt file of a Detoxify release"
            )
        if self.checkpoint.is_file() and self.base is None:
            raise ValueError(
                "a .ckpt file holds no tokenizer: give `base`, the folder of the model that it "
                "was trained from, such as bert-base-uncased"
            )
        return self


class _Scorer:
    def __init__(self, options: DetoxifyOptions):
        from transformers import AutoTokenizer

        loaded = _from_release(options) if options.checkpoint.is_file() else _from_folder(options)
        self._model, self._labels = loaded
        folder = options.base or options.checkpoint
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        unknown = [label for label in options.labels if label not in self._labels]
        if unknown:
            raise ModelError(
                "gates.detoxify.labels",
                f"{unknown[0]!r} is none of this model's: {', '.join(self._labels)}",
                "Name labels that it has",
            )
        self._chosen = [self._labels.index(label) for label in options.labels]
        self._threshold = options.threshold

    def toxic(self, text: str) -> str | None:
        """The label with the highest score, if that reaches the threshold."""
        import torch

        tokens = self._tokenizer(text, truncation=True, max_length=_MAX_TOKENS, return_tensors="pt")
        with torch.inference_mode():
            scores = torch.sigmoid(self._model(**tokens).logits[0])
        best = max(self._chosen, key=lambda at: float(scores[at]))
        return self._labels[best] if float(scores[best]) >= self._threshold else None


def _from_folder(options: DetoxifyOptions) -> tuple[Any, list[str]]:
    from transformers import AutoModelForSequenceClassification

    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            options.checkpoint, local_files_only=True
        ).eval()
    except (OSError, ValueError) as error:
        raise _unusable(options.checkpoint, error) from error
    names = [model.config.id2label[at] for at in range(model.config.num_labels)]
    return model, [_NAMES.get(name, name) for name in names]


def _from_release(options: DetoxifyOptions) -> tuple[Any, list[str]]:
    """A released checkpoint: a dictionary with the training config and the weights."""
    import pickle

    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    try:
        loaded = torch.load(options.checkpoint, map_location="cpu", weights_only=True)
        names = list(loaded["config"]["dataset"]["args"]["classes"])
        count = loaded["config"]["arch"]["args"]["num_classes"]
        config = AutoConfig.from_pretrained(options.base, num_labels=count, local_files_only=True)
        model = AutoModelForSequenceClassification.from_config(config)
        state = model.state_dict()
        weights = {name: value for name, value in loaded["state_dict"].items() if name in state}
        model.load_state_dict(weights)
    except (OSError, ValueError, KeyError, RuntimeError, pickle.UnpicklingError) as error:
        raise _unusable(options.checkpoint, error) from error
    return model.eval(), [_NAMES.get(name, name) for name in names[:count]]


def _unusable(checkpoint: Path, error: Exception) -> ModelError:
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return ModelError(
        "gates.detoxify.checkpoint",
        f"{str(checkpoint)!r} is no model that can be loaded ({first})",
        "Give a copy of unitary/toxic-bert, or a .ckpt file of a Detoxify release with its base",
    )


def make(options: DetoxifyOptions) -> Check:
    """The check with these options; loads the model."""
    scorer = _Scorer(options)

    def check(draft: Draft) -> Iterator[Finding]:
        label = scorer.toxic(draft.text)
        if label is not None:
            span = (0, len(draft.text))
            yield Finding("detoxify", label, options.severity, Stage.ANSWER, *span)

    return check


KIND = GateKind("detoxify", 1, frozenset({Scope.ANSWER}), DetoxifyOptions, make)
