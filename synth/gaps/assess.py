"""The whole look at a dataset: survey, targets, safety."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from synth.audit import Summary, audit
from synth.config import RunConfig, Targets
from synth.embedding import Embedder
from synth.errors import ConfigError
from synth.gaps.report import Gaps, gaps_of
from synth.gaps.shipped import ShippedLabels
from synth.gaps.survey import CHUNK, Surveyor
from synth.gates import safety
from synth.gates.registry import GateChoice, Gates
from synth.sources import Row, Source, SourceError
from synth.specs import Specs
from synth.targets import check_topics, share_out, sized_like
from synth.topic_model import Label, LabelRule, TaughtTopics, TopicScorer, topic_scorer
from synth.vector_cache import VectorCache, cache_path

# The classifier of sentences reads thirty pairs a second; a survey is to read thousands.
_QUICK_CHOICES = (
    GateChoice(name=safety.KIND.name, options={"sentences": False}),
    GateChoice(name="pii"),
)
_LEAST_TAUGHT = 2  # different topics, or there is nothing to learn
_MOST_TAUGHT = 20_000  # rows; of more, a sample by their content


def surveyor_for(
    config: RunConfig, specs: Specs, train: Source | None = None, trust_shipped: bool = False
) -> Surveyor:
    """A surveyor with the configured embedder, and what it can learn from `train`.

    Args:
        config: for the embedder.
        specs: the topics.
        train: a dataset whose topic labels are right.
        trust_shipped: take a dataset's own labels where they name a topic.

    Raises:
        SourceError: `train` has no labels that name our topics.
        ModelError: the embedder cannot be loaded.
    """
    embedder = VectorCache(Embedder(config.embedder), cache_path(config.embedder))
    shipped = ShippedLabels(specs.topics)
    scorer = topic_scorer(specs, embedder, config.embedder)
    if train is not None:
        scorer = _taught(scorer, embedder, shipped, train)
    return Surveyor(scorer, embedder, LabelRule(), shipped, trust_shipped)


def _taught(
    scorer: TopicScorer, embedder: VectorCache, shipped: ShippedLabels, rows: Source
) -> TopicScorer:
    drawn: list[tuple[bytes, str, str]] = []  # lot, text, topic
    for row in rows:
        known = shipped.read(row.topic) if row.topic else ()
        if known and row.question:
            lot = hashlib.blake2b(row.subject.encode(), digest_size=8).digest()
            drawn.append((lot, row.subject, known[0]))
            if len(drawn) > 2 * _MOST_TAUGHT:
                drawn = sorted(drawn)[:_MOST_TAUGHT]
    drawn = sorted(drawn)[:_MOST_TAUGHT]
    texts = [text for _, text, _ in drawn]
    topics = [topic for _, _, topic in drawn]
    if len(set(topics)) < _LEAST_TAUGHT:
        what = f"has labels for {len(set(topics))} of our topics"
        hint = "Give rows whose topic column names at least two of them"
        raise SourceError(rows.location, what, hint)
    parts = [embedder.embed(texts[start : start + CHUNK]) for start in range(0, len(texts), CHUNK)]
    return TaughtTopics(scorer, texts, np.concatenate(parts), topics)


Write = Callable[[Mapping[str, Any]], None]


def assess(
    source: Source,
    surveyor: Surveyor,
    targets: Targets,
    specs: Specs,
    look_for_harm: bool,
    write: Write,
) -> Gaps:
    """Read a dataset once and hold it against what is wanted.

    Args:
        source: its rows.
        surveyor: labels them.
        targets: what it should hold; as many rows as it has unless they give a total.
        specs: the topics.
        look_for_harm: whether the safety gate's phrases and the gate of identifiers read it all.
        write: given one mapping per row: `row`, `topic`, `top` and `also`.

    Raises:
        UserError: the dataset or the targets are at fault.
    """
    if targets.policy == "like":
        raise ConfigError("targets.policy", "is 'like'", "Give weight, uniform or explicit here")
    check_topics(targets, specs.topics)
    summary = Summary() if look_for_harm else None
    gates = Gates(_QUICK_CHOICES)

    def on_label(row: Row, topic: str | None, label: Label) -> None:
        top = [[name, score] for name, score in label.top]
        write({"row": row.number, "topic": topic, "top": top, "also": list(label.also)})
        if summary is not None:
            for audited in audit([row], gates):
                summary.add(audited)

    survey = surveyor.survey(source, on_label)
    weights = {topic: spec.weight for topic, spec in specs.topics.items()}
    return gaps_of(survey, share_out(sized_like(targets, survey.rows), weights), summary)
