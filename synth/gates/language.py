"""Texts that are not in English, or mostly not."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from synth.gates.base import Draft, Finding, Severity
from synth.gates.phrases import sentences, straightened

_SHORTEST = 20  # letters; less than that tells nothing
_SURE = 0.8


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _is_foreign(text: str) -> bool:
    code, probability = _identifier().classify(text)
    return code != "en" and float(probability) > _SURE


def language(draft: Draft) -> Iterator[Finding]:
    """Foreign as a whole, and in the sentences that hold most of its letters."""
    text = straightened(draft.text)
    if sum(character.isalpha() for character in text) < _SHORTEST or not _is_foreign(text):
        return
    letters = foreign = 0
    for sentence in sentences(text):
        size = sum(character.isalpha() for character in sentence.text)
        letters += size
        if size < _SHORTEST or _is_foreign(sentence.text):
            foreign += size
    if 2 * foreign > letters:
        yield Finding("language", "language", Severity.RED, draft.stage, 0, len(draft.text))
