"""The card of an exported dataset: what it is, where it is from, what it is not for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from outlines import Template

from synth.export.how import Export
from synth.export.manifest import Run
from synth.export.shapes import SYSTEM_PROMPT
from synth.models import BUILTIN_MODEL

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
{% if merged %}
# Counselling conversations, {{ new }} of them synthetic
{% else %}
# Synthetic counselling conversations
{% endif %}

{% for name, number in records.items() %}
- {{ name }}: {{ number }} records
{% endfor %}
- form: `{{ shape }}`
- left out: {{ left_out }} that reviewers rejected
{%- if reviewed_only %} or had not looked at{% endif %}

- new records by review: {{ reviewed }}
- new records by topic: {{ topics }}

{% if split %}
Train and eval were split by whole groups: no question of one side has a cosine of {{ near }} or
more to one of the other (every pair was looked at; seed {{ seed }}). Answers were not compared.
{% endif %}

## Where it is from

{{ new }} records were written by {{ models }} in run `{{ run }}` of Evenfill {{ version }}, started
{{ created }}, which is {{ status }}. As written, each passed the gates of that run ({{ gates }}),
and no two of its questions had a cosine of {{ threshold }} or more.
{% if edited %}
Reviewers changed {{ edited }} of them afterwards; a change is held against no other record, and a
reviewer may insist on one that a gate refuses.
{% endif %}
{% if dataset %}

They fill the gaps of `{{ dataset }}`.
{% if merged %}
Its {{ old }} readable rows are here as they were: no gate has looked at them, and what they are,
synthetic or not, is for their publisher to say. New records are those with a run's model in
`evenfill_model`; a row of an earlier fill has one, too.
{% if skipped %}
{{ skipped }} malformed rows of it are not here.
{% endif %}
{% endif %}
{% if constants %}
All its rows have one value in {{ constants }}; new records were given the same there, which says
nothing about where they are from.
{% endif %}
What is known of its licence: {{ licence }}.
{% if shown %}
The model was shown up to {{ shown }} rows of `{{ shown_of }}` in a prompt, as examples to write
like; the licence of those rows may reach the new records, too.
{% else %}
None of its rows was shown to the model; they were only compared with.
{% endif %}
{% endif %}

The licence of what a model writes depends on the model; see its own. Nothing here grants one.

## What it is for

Training and testing small models that hold supportive conversations, and research on such data.

## What it is not for

It is not advice{% if not merged %}, and no record of real people{% endif %}. A model wrote the new
records, gates and perhaps reviewers looked at them, and both miss things: see the measured rates in
the project's `docs/safety.md`. Each is one question and one answer, in English; no clinician has
vouched for them. Do not put a model that was trained on them in front of people in distress without
review by clinicians.
{% if builtin %}
The built-in model shows that the machinery works; its texts are not worth training on.
{% endif %}
{% if prompted %}

The system prompt:

> {{ system_prompt }}
{% endif %}
"""
)
_WITH_SYSTEM_PROMPT = ("instruction", "messages", "sharegpt")


@dataclass(frozen=True)
class Told:
    """The figures of an export.

    Attributes:
        records: split -> records.
        topics: topic -> new records.
        models: that wrote them -> new records.
        reviewed: `accepted`, `edited` or `unreviewed` -> new records.
        left_out: records of the run that are not here.
        skipped: malformed rows of the filled dataset.
        constants: its columns that hold one value.
        licence: what is known of its licence; None when none was filled.
    """

    records: Mapping[str, int]
    topics: Mapping[str, int]
    models: Mapping[str, int]
    reviewed: Mapping[str, int]
    left_out: int
    skipped: int
    constants: Sequence[str]
    licence: str | None


def export_card(run: Run, how: Export, told: Told) -> str:
    """Markdown with YAML front matter, as the Hugging Face hub reads it."""
    config = run.config
    dataset = config.dataset
    new = sum(told.topics.values())
    return str(
        _CARD(
            records=told.records,
            new=new,
            old=sum(told.records.values()) - new,
            shape=how.shape,
            left_out=told.left_out,
            reviewed_only=how.reviewed_only,
            reviewed=_listed(told.reviewed),
            edited=told.reviewed.get("edited", 0),
            topics=_listed(told.topics),
            split=bool(how.eval_share),
            near=how.near,
            seed=how.seed,
            models=", ".join(sorted(told.models)) or "nobody",
            builtin=BUILTIN_MODEL in told.models,
            run=run.run_id,
            version=run.versions.evenfill,
            created=run.created_at,
            status=run.status,
            gates=", ".join(choice.name for choice in config.gates),
            threshold=config.dedup.threshold,
            dataset=_public(dataset.location) if dataset else None,
            merged=how.merge,
            skipped=told.skipped,
            constants=", ".join(f"`{name}`" for name in told.constants),
            shown=dataset.examples if dataset else 0,
            shown_of=_public(dataset.like or dataset.location) if dataset else None,
            licence=told.licence,
            prompted=how.shape in _WITH_SYSTEM_PROMPT,
            system_prompt=SYSTEM_PROMPT,
        )
    )


def _public(location: str) -> str:
    """A hub id, or a file's name: where it lies on a disk is nobody's business."""
    path = Path(location).expanduser()
    return path.name if path.is_absolute() or path.exists() else location


def _listed(figures: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(figures.items())) or "none"
