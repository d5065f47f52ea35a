"""Record types, the output types derived from them, and the limits that follow.

The engine is constrained by a JSON schema whose string bounds are in characters; a text
that obeys them always fits its token limit, because a token holds at least one character
of plain text. What comes back is parsed and validated again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from synth.config import RecordConfig
from synth.gates import Stage

# English prose runs to about 5.5 characters a word, its space included (measured on
# counselling questions: 5.2); the upper bound leaves room for long words.
_MIN_CHARS_PER_WORD = 5.5
_MAX_CHARS_PER_WORD = 6
_JSON_OVERHEAD_TOKENS = 24  # braces, the key, quotes and the end of the turn
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)]*(?=\s|$)")
_CLOSED = re.compile(r"[.!?…][\"'”’)]*$")

# A small model takes the key for a cue: after "question" it writes a list of questions,
# after "client_message" it writes as the client.
KEYS: Mapping[Stage, str] = {Stage.QUESTION: "client_message", Stage.ANSWER: "counselor_reply"}


class Record(BaseModel):
    """One accepted pair: the client's question and the counsellor's answer.

    Attributes:
        id: derived from run, lease and slot; unique in a run.
        topic: id of the topic it is filed under.
        facets: facet name -> value id that its prompt asked for; `situation` in words.
        model: name of the model that wrote it.
        seed: sampling seed of its question.
        lease: the lease that it was written under.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    topic: str
    facets: dict[str, str]
    question: str
    answer: str
    model: str
    seed: int
    lease: str


@dataclass(frozen=True, slots=True)
class TextBounds:
    """Bounds of one text: words as configured, characters as the schema says them."""

    min_words: int
    max_words: int

    @property
    def min_chars(self) -> int:
        return int(self.min_words * _MIN_CHARS_PER_WORD)

    @property
    def max_chars(self) -> int:
        return self.max_words * _MAX_CHARS_PER_WORD

    @property
    def max_tokens(self) -> int:
        """A token limit that no text within `max_chars` of plain characters can reach."""
        return self.max_chars + _JSON_OVERHEAD_TOKENS


def bounds(config: RecordConfig, stage: Stage) -> TextBounds:
    """The bounds of the text that `stage` writes."""
    most = config.max_question_words if stage is Stage.QUESTION else config.max_answer_words
    return TextBounds(config.min_words, most)


def output_type(config: RecordConfig, stage: Stage) -> type[BaseModel]:
    """The Pydantic type that the engine's JSON for `stage` must satisfy."""
    limits = bounds(config, stage)
    text = Annotated[str, Field(min_length=limits.min_chars, max_length=limits.max_chars)]
    fields: dict[str, Any] = {KEYS[stage]: (text, ...)}
    return create_model(
        f"{stage.capitalize()}Text", __config__=ConfigDict(extra="forbid"), **fields
    )


def output_schema(config: RecordConfig, stage: Stage) -> dict[str, Any]:
    """JSON schema of `output_type`, through Outlines' own output term."""
    from outlines.types import JsonSchema

    schema: dict[str, Any] = json.loads(JsonSchema(output_type(config, stage)).schema)
    return schema


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a replica's JSON held.

    Attributes:
        text: the text, trimmed to whole sentences; what there was when it is refused.
        reason: why it is refused (`unparsable`, `truncated`, `too_short`), or None.
    """

    text: str
    reason: str | None = None


class TextParser:
    """Parses and validates what the engine wrote for one stage."""

    def __init__(self, config: RecordConfig, stage: Stage):
        self._bounds = bounds(config, stage)
        self._type = output_type(config, stage)
        self._key = KEYS[stage]

    def parse(self, raw: str, finish_reason: str | None) -> Parsed:
        """Read the engine's JSON `raw`; never repairs it."""
        if finish_reason == "length":
            return Parsed(raw, "truncated")
        try:
            text = getattr(self._type.model_validate_json(raw), self._key)
        except ValidationError:
            return Parsed(raw, "unparsable")
        words = text.split()
        text = " ".join(words)
        whole = whole_sentences(" ".join(words[: self._bounds.max_words]))
        if len(whole.split()) >= self._bounds.min_words:
            return Parsed(whole)
        cut = whole != text and len(words) >= self._bounds.min_words
        return Parsed(text, "truncated" if cut else "too_short")


def whole_sentences(text: str) -> str:
    """`text` up to the end of its last whole sentence; empty when it has none."""
    if _CLOSED.search(text):
        return text
    ends = list(_SENTENCE_END.finditer(text))
    return text[: ends[-1].end()] if ends else ""
