"""The forms in which trainers expect a pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synth.shipped import shipped_text

SYSTEM_PROMPT = " ".join(shipped_text("system_prompt.txt", "synth").split())


@dataclass(frozen=True, slots=True)
class Pair:
    """A record on its way out.

    Attributes:
        requested_topic: that its question was asked for.
        reviewed: what a reviewer decided; empty when nobody looked.
    """

    id: str
    topic: str
    requested_topic: str
    question: str
    answer: str
    model: str
    reviewed: str = ""

    @property
    def provenance(self) -> dict[str, str]:
        """Columns that say where a pair is from."""
        return {
            "evenfill_id": self.id,
            "evenfill_topic": self.topic,
            "evenfill_model": self.model,
            "evenfill_review": self.reviewed,
        }


Shape = Callable[[Pair], dict[str, Any]]


def evenfill(pair: Pair) -> dict[str, Any]:
    """A pair under the names that a run folder has."""
    return {
        "id": pair.id,
        "topic": pair.topic,
        "requested_topic": pair.requested_topic,
        "question": pair.question,
        "answer": pair.answer,
        "model": pair.model,
    }


def _instruction(pair: Pair) -> dict[str, Any]:
    return {"instruction": SYSTEM_PROMPT, "input": pair.question, "output": pair.answer}


def _context_response(pair: Pair) -> dict[str, Any]:
    return {"Context": pair.question, "Response": pair.answer}


def _turns(pair: Pair, role: str, content: str, names: Sequence[str]) -> list[dict[str, str]]:
    texts = (SYSTEM_PROMPT, pair.question, pair.answer)
    return [{role: name, content: text} for name, text in zip(names, texts, strict=True)]


def _messages(pair: Pair) -> dict[str, Any]:
    return {"messages": _turns(pair, "role", "content", ("system", "user", "assistant"))}


def _share_gpt(pair: Pair) -> dict[str, Any]:
    return {"conversations": _turns(pair, "from", "value", ("system", "human", "gpt"))}


SHAPES: Mapping[str, Shape] = {
    "evenfill": evenfill,
    "instruction": _instruction,
    "context-response": _context_response,
    "messages": _messages,
    "sharegpt": _share_gpt,
}
