"""The topic labeller, with the real embedder: clear texts are filed where they belong."""

from __future__ import annotations

import numpy as np
import pytest

from synth.config import TopicGateConfig
from synth.embedding import Embedder
from synth.labeller import TopicLabeller
from synth.specs import Specs

CLEAR = {
    "sleep-improvement": "I fall asleep at nine on the sofa and then lie awake in bed until four. "
    "I tried no screens, warm milk and a cold room, and my sleep is still broken every night.",
    "grief-and-loss": "My mother died in May and her coat still hangs by the door. At the funeral "
    "I felt nothing, and now I weep whenever I smell her soap. When will this grief ease?",
    "substance-abuse": "I drink a bottle of wine every evening and hide the empties from my "
    "children. Twice I stopped for a week. How do I get my drinking under control?",
    "parenting": "My four-year-old bites other children at nursery and laughs when I tell him off. "
    "I shout, then I feel like a bad mother. How do I set limits for him?",
    "workplace-relationships": "My boss praises me in private and mocks me in front of the whole "
    "team at the Monday meeting. My coworkers look away. How do I deal with him?",
    "alzheimers": "My father has Alzheimer's and asks every hour where my late mother is. I am his "
    "carer and no longer know whether to tell him the truth.",
}


@pytest.fixture(scope="module")
def labeller(specs: Specs, embedder: Embedder) -> TopicLabeller:
    return TopicLabeller(specs, embedder.embed, TopicGateConfig())


@pytest.mark.parametrize("topic", list(CLEAR))
def test_a_clear_text_is_filed_under_its_topic(
    labeller: TopicLabeller, embedder: Embedder, topic: str
) -> None:
    scores = labeller.scores(embedder.embed([CLEAR[topic]]))[0]
    assert labeller.topics[int(scores.argmax())] == topic
    assert labeller.file(scores, topic, set()).topic == topic


def test_a_text_about_another_topic_goes_there_if_there_is_room(
    labeller: TopicLabeller, embedder: Embedder
) -> None:
    scores = labeller.scores(embedder.embed([CLEAR["substance-abuse"]]))[0]
    assert (
        labeller.file(scores, "career-counseling", {"substance-abuse"}).topic == "substance-abuse"
    )
    assert labeller.file(scores, "career-counseling", {"anxiety"}).topic is None


def test_a_text_about_nothing_is_filed_nowhere(
    labeller: TopicLabeller, embedder: Embedder, specs: Specs
) -> None:
    scores = labeller.scores(
        embedder.embed(["The quarterly shipping figures for steel pipes rose by four percent."])
    )[0]
    for topic in specs.topics:
        assert labeller.file(scores, topic, set(specs.topics)).topic is None


def test_every_situation_is_about_its_own_topic(
    labeller: TopicLabeller, embedder: Embedder, specs: Specs
) -> None:
    lines = [(t, line) for t, spec in specs.topics.items() for line in spec.situations]
    scores = labeller.scores(embedder.embed([line for _, line in lines]))
    wanted = np.array([labeller.topics.index(topic) for topic, _ in lines])
    ranks = (scores > scores[np.arange(len(lines)), wanted][:, None]).sum(axis=1)
    assert (ranks < 3).mean() > 0.9
