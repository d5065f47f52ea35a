"""The whole look at a dataset: survey, targets, safety."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from synth.audit import Summary, audit
from synth.config import RunConfig, Targets
from synth.embedding import Embedder
from synth.errors import ConfigError
from synth.gaps.report import Gaps, gaps_of
from synth.gaps.shipped import ShippedLabels
from synth.gaps.survey import Surveyor
from synth.gates import safety
from synth.gates.registry import GateChoice, Gates
from synth.sources import Row, Source, SourceError, open_source
from synth.specs import Specs
from synth.targets import share_out
from synth.topic_model import Label, LabelRule, TaughtTopics, TopicScorer, topic_scorer
from synth.vector_cache import VectorCache, cache_path

# The classifier of sentences reads thirty pairs a second; a survey is to read thousands.
_QUICK_CHOICES = (
    GateChoice(name=safety.KIND.name, options={"sentences": False}),
    GateChoice(name="pii"),
)
_LEAST_TAUGHT = 2  # different topics, or there is nothing to learn


@dataclass(frozen=True)
class Wanted:
    """What a dataset should hold.

    Attributes:
        targets: how a total is shared out; None stands for the rows that there are, by weight.
        floor: rows of every topic, instead.
    """

    targets: Targets | None = None
    floor: int | None = None

    @classmethod
    def of(cls, config: RunConfig, total: int | None, floor: int | None) -> Wanted:
        """As options say, or else the config, if it says anything.

        Raises:
            ConfigError: both options are given.
        """
        if total is not None and floor is not None:
            raise ConfigError("--floor", "is given beside --total", "Give one of them")
        if total is not None:
            return cls(config.targets.model_copy(update={"total": total}))
        named = config.targets if "targets" in config.model_fields_set else None
        return cls(named, floor)

    def by_topic(self, specs: Specs, rows: int) -> dict[str, int]:
        """Topic -> rows wanted, in a dataset that has `rows`."""
        if self.floor is not None:
            return dict.fromkeys(specs.topics, self.floor)
        targets = self.targets or Targets(total=max(1, rows))
        return share_out(targets, {topic: spec.weight for topic, spec in specs.topics.items()})


def surveyor_for(
    config: RunConfig, specs: Specs, train: str | None = None, trust_shipped: bool = False
) -> Surveyor:
    """A surveyor with the configured embedder, and what it can learn from `train`.

    Args:
        config: for the embedder.
        specs: the topics.
        train: location of a dataset whose topic labels are right.
        trust_shipped: take a dataset's own labels where they name a topic.

    Raises:
        SourceError: `train` has no labels that name our topics.
        ModelError: the embedder cannot be loaded.
    """
    embedder = VectorCache(Embedder(config.embedder), cache_path(config.embedder))
    shipped = ShippedLabels(specs.topics)
    scorer = topic_scorer(specs, embedder, config.embedder)
    if train is not None:
        scorer = _taught(scorer, embedder, shipped, open_source(train), train)
    return Surveyor(scorer, embedder, LabelRule(), shipped, trust_shipped)


def _taught(
    scorer: TopicScorer, embedder: VectorCache, shipped: ShippedLabels, rows: Source, name: str
) -> TopicScorer:
    texts, topics = [], []
    for row in rows:
        known = shipped.read(row.topic) if row.topic else ()
        if known and row.question:
            texts.append(row.subject)
            topics.append(known[0])
    if len(set(topics)) < _LEAST_TAUGHT:
        what = f"has labels for {len(set(topics))} of our topics"
        raise SourceError(name, what, "Give rows whose topic column names at least two of them")
    return TaughtTopics(scorer, embedder.embed(texts), topics)


Write = Callable[[Mapping[str, Any]], None]


def assess(
    source: Source,
    surveyor: Surveyor,
    wanted: Wanted,
    specs: Specs,
    look_for_harm: bool,
    write: Write,
) -> Gaps:
    """Read a dataset once and hold it against what is wanted.

    Args:
        source: its rows.
        surveyor: labels them.
        wanted: targets.
        specs: the topics.
        look_for_harm: whether the safety gate's phrases and the gate of identifiers read it all.
        write: given one mapping per row: `row`, `topic`, `top` and `also`.
    """
    summary = Summary() if look_for_harm else None
    gates = Gates(_QUICK_CHOICES)

    def on_label(row: Row, topic: str | None, label: Label) -> None:
        top = [[name, score] for name, score in label.top]
        write({"row": row.number, "topic": topic, "top": top, "also": list(label.also)})
        if summary is not None:
            for audited in audit([row], gates):
                summary.add(audited)

    survey = surveyor.survey(source, on_label)
    return gaps_of(survey, wanted.by_topic(specs, survey.rows), summary)
