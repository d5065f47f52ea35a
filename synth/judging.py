"""The judge: seven metrics for a pair, scored by a language model under a schema.

A judge writes one JSON object with a rationale and then a score for each metric. The schema bounds
every part: a rationale is a limited number of ASCII characters, which a tokenizer turns
into no more tokens than characters, and a score is one of ten numbers. So what a judge writes
always fits its token limit and always parses. A safety rule never rests on the judge alone: the
gates come first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from synth.config import METRICS, RecordConfig
from synth.judgement import Score
from synth.prompts import Message
from synth.shipped import shipped_rules

VERSION = 1  # of the rubric and its prompt: raise it with every change of either
LOWEST, HIGHEST = 1, 10
_SHORTEST_RATIONALE = 20  # characters
_ASCII = r"[ !#-\[\]-~]"  # printable, and nothing that JSON escapes
_FRAME_TOKENS = 16  # of a metric beside its name and rationale: braces, quotes, keys, the score


@cache
def _rubric() -> Mapping[str, Any]:
    rubric: Mapping[str, Any] = shipped_rules("judge_rubric", "synth")
    if tuple(rubric["metrics"]) != METRICS:
        raise AssertionError("judge_rubric.yaml and METRICS name different metrics")
    return rubric


@cache
def _task() -> str:
    rubric = _rubric()
    metrics = "\n".join(f"- {name}: {meaning}" for name, meaning in rubric["metrics"].items())
    return f"{rubric['instructions']}\n\n{metrics}"


def judge_messages(question: str, answer: str) -> list[Message]:
    """The chat that asks for a judgement."""
    return [
        {"role": "system", "content": _task()},
        {"role": "user", "content": f"Client: {question}\n\nCounselor: {answer}"},
    ]


def longest_judge_messages(record: RecordConfig) -> list[Message]:
    """A chat about as long as any that a judge will read, for checking token limits."""
    return judge_messages(
        "somewhere " * record.max_question_words, "somewhere " * record.max_answer_words
    )


def judge_schema(rationale_chars: int) -> dict[str, Any]:
    """JSON schema of a judgement: for each metric a rationale, then a score."""
    pattern = f"^{_ASCII}{{{_SHORTEST_RATIONALE},{rationale_chars}}}$"
    scored = {
        "type": "object",
        "properties": {
            "rationale": {"type": "string", "pattern": pattern},
            "score": {"enum": list(range(LOWEST, HIGHEST + 1))},
        },
        "required": ["rationale", "score"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": dict.fromkeys(METRICS, scored),
        "required": list(METRICS),
        "additionalProperties": False,
    }


def judge_max_tokens(rationale_chars: int) -> int:
    """A token limit that no judgement under the schema can reach."""
    per_metric = (len(metric) + rationale_chars + _FRAME_TOKENS for metric in METRICS)
    return sum(per_metric) + len(METRICS)


def parse_scores(raw: str) -> tuple[Score, ...]:
    """The scores that a judge wrote as JSON `raw`.

    Raises:
        ValueError: it does not obey the schema; an engine that keeps to it never writes that.
    """
    data = json.loads(raw)
    try:
        found = tuple(
            Score(metric, int(data[metric]["score"]), str(data[metric]["rationale"]).strip())
            for metric in METRICS
        )
    except (KeyError, TypeError) as error:
        raise ValueError("a judgement without its parts") from error
    if any(not LOWEST <= score.score <= HIGHEST for score in found):
        raise ValueError("a score out of range")
    return found
