"""The card of an exported dataset: what it is, where it is from, what it is not for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from outlines import Template

from synth.config import RunConfig
from synth.export.shapes import SYSTEM_PROMPT
from synth.models import BUILTIN, BUILTIN_MODEL, describe

if TYPE_CHECKING:
    from synth.export.export import Export

_CARD = Template.from_string(
    """\
---
language: en
task_categories:
- text-generation
tags:
- synthetic
- mental-health
---
# Synthetic counselling conversations

{% for name, number in records.items() %}
- {{ name }}: {{ number }} records
{% endfor %}
- form: `{{ shape }}`
- left out: {{ left_out }} that reviewers rejected
{%- if reviewed_only %} or had not looked at{% endif %}

{% if split %}
Train and eval were split by whole groups: no record of one side has a cosine of {{ near }} or more
to one of the other (seed {{ seed }}).
{% endif %}

## Where it is from

Written by {{ model }} in run `{{ run }}` of Evenfill {{ version }}, started {{ created }}. Every
record passed its gates ({{ gates }}) and has no neighbour at a cosine of {{ threshold }} or more.
{% if dataset %}

It fills the gaps of `{{ dataset }}`{% if merged %} and contains its rows{% endif %}. What is
known of that dataset's licence: {{ licence }}. {% if shown %}Prompts showed {{ shown }} of its
rows as examples, so its licence may reach the new records, too.{% endif %}
{% endif %}

The licence of what a model writes depends on the model; see its own. Nothing here grants one.

## What it is for

Training and testing small models that hold supportive conversations, and research on such data.

## What it is not for

It is not advice, and no record of real people. A model wrote it, gates and perhaps reviewers
looked at it, and both miss things: see the measured rates in the project's `docs/safety.md`. Do not
put a model that was trained on it in front of people in distress without review by clinicians.
{% if builtin %}The built-in model shows that the machinery works; its texts are not worth
training on.{% endif %}


The system prompt of the forms that have one:

> {{ system_prompt }}
"""
)


def export_card(
    manifest: Mapping[str, Any],
    config: RunConfig,
    how: Export,
    records: Mapping[str, int],
    left_out: int,
    licence: str | None,
) -> str:
    """Markdown with YAML front matter, as the Hugging Face hub reads it."""
    dataset = config.dataset
    return str(
        _CARD(
            records=records,
            shape=how.shape,
            left_out=left_out,
            reviewed_only=how.reviewed_only,
            split=bool(how.eval_share),
            near=how.near,
            seed=how.seed,
            model=describe(config.model.name, BUILTIN_MODEL),
            builtin=config.model.name == BUILTIN,
            run=manifest["run_id"],
            version=manifest["versions"]["evenfill"],
            created=manifest["created_at"],
            gates=", ".join(choice.name for choice in config.gates),
            threshold=config.dedup.threshold,
            dataset=dataset.location if dataset else None,
            merged=how.merge,
            shown=dataset.examples if dataset else 0,
            licence=licence,
            system_prompt=SYSTEM_PROMPT,
        )
    )
