"""The dataset card that every run folder carries."""

from __future__ import annotations

from typing import Any

from outlines import Template

from synth.config import RunConfig
from synth.models import BUILTIN, BUILTIN_EMBEDDER, BUILTIN_MODEL, describe
from synth.specs import Specs

_CARD = Template.from_string(
    """\
---
language: en
task_categories:
- text-generation
configs:
- config_name: default
  data_files: accepted/*.parquet
---
# Synthetic counselling conversations

{{ accepted }} of {{ target }} records over {{ topics|length }} topics, written by
{{ model }} and filled topic by topic by Evenfill {{ version }}.

Status: {{ status }}{% if reason %} ({{ reason }}){% endif %}.

Every text here is synthetic. It is not advice, and it is not a record of a real person. A model
wrote it; nobody has reviewed it one by one. Do not put a model that was trained on it in front of
people in distress without review by clinicians.
{% if builtin %}

The built-in model has 135 million parameters. It shows that the machinery works; its texts are
not worth training on. For real data use a model of 7 billion parameters or more.
{% endif %}

| topic | target | accepted | generated | acceptance rate |
|---|---|---|---|---|
{% for row in topics %}
| {{ row.name }} | {{ row.target }} | {{ row.accepted }} | {{ row.generated }} | {{ row.rate }} |
{% endfor %}

No two questions have a cosine similarity of {{ threshold }} or more (highest: {{ highest }}).
Embedder: {{ embedder }}.

```python
from datasets import load_dataset
load_dataset("parquet", data_files="accepted/*.parquet")
```
"""
)


def dataset_card(config: RunConfig, specs: Specs, report: dict[str, Any]) -> str:
    """Markdown with YAML front matter, as the Hugging Face hub reads it."""
    rows = [
        {
            "name": specs.topics[topic].name,
            "target": figures["target"],
            "accepted": figures["accepted"],
            "generated": figures["generated"],
            "rate": f"{figures['acceptance_rate']:.2f}",
        }
        for topic, figures in report["topics"].items()
    ]
    highest = report["dedup"]["max_similarity_accepted"]
    return str(
        _CARD(
            accepted=report["accepted"],
            target=report["target"],
            topics=rows,
            model=describe(config.model.name, BUILTIN_MODEL),
            builtin=config.model.name == BUILTIN,
            version=report["versions"]["evenfill"],
            status=report["status"],
            reason=report["reason"],
            threshold=report["dedup"]["threshold"],
            highest="none yet" if highest is None else f"{highest:.3f}",
            embedder=describe(config.embedder.name, BUILTIN_EMBEDDER),
        )
    )
