"""What an engine may be asked to write: the texts of a record, and a judgement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synth.config import RunConfig
from synth.gates import Stage
from synth.judging import judge_max_tokens, judge_schema, longest_judge_messages
from synth.prompts import Message, longest_messages
from synth.records import bounds, output_schema

JUDGEMENT = "judgement"


@dataclass(frozen=True)
class Form:
    """One kind of request.

    Attributes:
        schema: JSON schema that constrains what is written.
        sampling: keyword arguments of vLLM's `SamplingParams`, but for the constraint and seed.
        longest: a chat about as long as any that will be sent.
        shorter: the config key that makes it shorter.
    """

    schema: Mapping[str, Any]
    sampling: Mapping[str, Any]
    longest: Sequence[Message]
    shorter: str


def writing_forms(config: RunConfig) -> dict[str, Form]:
    """The forms of a replica that writes: both stages."""
    examples = config.dataset.examples if config.dataset else 0
    return {
        stage: Form(
            output_schema(config.record, stage),
            config.sampling.model_dump() | {"max_tokens": bounds(config.record, stage).max_tokens},
            longest_messages(config.record, stage, examples),
            f"record.max_{stage}_words",
        )
        for stage in Stage
    }


def judging_forms(config: RunConfig) -> dict[str, Form]:
    """The form of a replica that judges; none when the judge is off."""
    if config.judge is None:
        return {}
    chars = config.judge.rationale_chars
    return {
        JUDGEMENT: Form(
            judge_schema(chars),
            {"temperature": 0.0, "max_tokens": judge_max_tokens(chars)},
            longest_judge_messages(config.record),
            "judge.rationale_chars",
        )
    }
