"""The prompts of both stages, rendered by Outlines templates.

What is the same for all prompts comes first (system text, examples), then what is the same
for a topic, and what varies most comes last: the engine's prefix cache works on whole
blocks from the start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from outlines import Template

from synth.config import RecordConfig
from synth.gates import Stage
from synth.protocol import Slot
from synth.records import KEYS
from synth.shipped import shipped_rules
from synth.specs import Specs, TopicSpec

Message = Mapping[str, str]

VERSION = 3  # part of the run's fingerprint: raise it with every change of a prompt

_QUESTION_SYSTEM = (
    "You write the messages that people send to a counselor. Each message is in the first "
    "person. It says what happened, how it feels and what was tried, in the person's own plain "
    "words, and ends with a question. It names no person and no place."
)
_QUESTION_USER = Template.from_string(
    """\
Topic: {{ topic }}
{% if description %}
What belongs in this topic: {{ description }}
{% endif %}
Written by someone who {{ situation }}.
{% for line in details %}
{{ line }}
{% endfor %}
{% if avoid %}
Write about something other than these:
{% for opening in avoid %}
- {{ opening }}
{% endfor %}
{% endif %}"""
)
_DETAILS: Mapping[str, str] = {
    "life_stage": "Who it is: {}",
    "setting": "Someone who {}",
    "trigger": "Set off by: {}",
    "intensity": "How strong and how long: {}",
    "coping": "Someone who {}",
    "voice": "Tone: {}",
    "asks": "Asks {}",
}

_QUESTION_EXAMPLES = (
    (
        "Workplace Relationships",
        "was left out of a team lunch and now eats at their desk",
        "I started this job in spring and thought I got on with everybody. Last week the whole "
        "team went out for lunch and nobody asked me. I have eaten at my desk since then and I "
        "hardly say a word in meetings. It sounds so small, but I go home with a knot in my "
        "stomach every day. What is one thing I could do this week?",
    ),
    (
        "Parenting",
        "shouts at their son over homework and cries in the kitchen afterwards",
        "My son is nine and every evening ends the same way. He will not start his homework, I "
        "ask three times, and then I hear myself shouting. Afterwards I stand in the kitchen and "
        "cry while he sits there in silence. I have read two books about patience and I still "
        "lose mine by six o'clock. Why do I keep doing this when I love him so much?",
    ),
)

_POLICY = shipped_rules("answer_policy", "synth")
_ANSWER_EXAMPLES = (
    "It hurts to be left out, and going quiet afterwards is an understandable way to protect "
    "yourself. One lunch does not tell you what your colleagues think of you, although it can "
    "feel that way at your desk. This week you could ask one person you like to take a short "
    "walk at noon, nothing bigger than that. It may also help to tell a friend how much this "
    "stung. If the knot in your stomach stays, a counselor nearby could look at it with you.",
    "You love your son, and the shouting leaves both of you alone in separate rooms. By six "
    "o'clock you have little left, so patience is not a matter of trying harder. You could move "
    "the homework to another hour for a week and sit beside him for the first ten minutes. After "
    "a bad evening, tell him in one sentence that you are sorry. A friend or a family counselor "
    "can give you room to look at what the evenings stir up in you.",
)


def _json(stage: Stage, text: str) -> str:
    return json.dumps({KEYS[stage]: text}, ensure_ascii=False)


def _ask(
    topic: str,
    situation: str,
    description: str = "",
    details: Sequence[str] = (),
    avoid: Sequence[str] = (),
) -> str:
    return str(
        _QUESTION_USER(
            topic=topic, situation=situation, description=description, details=details, avoid=avoid
        )
    )


def _chat(asked: str, given: str, stage: Stage) -> list[Message]:
    return [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": _json(stage, given)},
    ]


def _examples(stage: Stage) -> list[Message]:
    messages: list[Message] = []
    for (topic, situation, question), answer in zip(
        _QUESTION_EXAMPLES, _ANSWER_EXAMPLES, strict=True
    ):
        if stage is Stage.QUESTION:
            messages += _chat(_ask(topic, situation), question, stage)
        else:
            messages += _chat(question, answer, stage)
    return messages


def _crisis_examples() -> list[Message]:
    messages: list[Message] = []
    for example in _POLICY["examples"]:
        answer = f"{example['reflection']} {example['crisis']}"
        messages += _chat(example["question"], answer, Stage.ANSWER)
    return messages


_VARIED_QUESTION_WORDS = 250  # description, situation, all facets and three openings to avoid

_EXAMPLES = {stage: _examples(stage) for stage in Stage}
_CRISIS_EXAMPLES = _crisis_examples()
_MAY_BE_REPEATED = (
    _POLICY["possible"],
    _POLICY["expected"],
    *(example["crisis"] for example in _POLICY["examples"]),
)


@dataclass(frozen=True, slots=True)
class Example:
    """A pair of an existing dataset, shown to be written like."""

    topic_name: str
    question: str
    answer: str


def _shown(examples: Sequence[Example], stage: Stage) -> list[Message]:
    """A dataset's own pairs in place of the built-in examples."""
    messages: list[Message] = []
    for example in examples:
        if stage is Stage.QUESTION:
            asked = _ask(example.topic_name, "writes in the manner of this collection")
            messages += _chat(asked, example.question, stage)
        else:
            messages += _chat(example.question, example.answer, stage)
    return messages


def question_messages(specs: Specs, slot: Slot, examples: Sequence[Example] = ()) -> list[Message]:
    """The chat that asks for the client's message of `slot`.

    Args:
        specs: topics and facets.
        slot: what is wanted.
        examples: pairs to write like, instead of the built-in ones.
    """
    spec = specs.topics[slot.topic]
    details = [
        _DETAILS.get(facet, facet.replace("_", " ").capitalize() + ": {}").format(
            specs.facets[facet][value]
        )
        for facet, value in slot.facets.items()
    ]
    description = " ".join(spec.description.split()) if slot.avoid else ""
    user = _ask(spec.name, slot.situation, description, details, slot.avoid)
    return [
        {"role": "system", "content": _QUESTION_SYSTEM},
        *(_shown(examples, Stage.QUESTION) or _EXAMPLES[Stage.QUESTION]),
        {"role": "user", "content": user},
    ]


def answer_messages(
    spec: TopicSpec, question: str, at_risk: bool, examples: Sequence[Example] = ()
) -> list[Message]:
    """The chat that asks for the counsellor's reply to `question`, under the safety policy.

    Args:
        spec: of the record's topic.
        question: the client's message.
        at_risk: whether it shows a risk of suicide or self-harm.
        examples: pairs to write like, instead of the built-in ones; a crisis has its own.
    """
    crisis = at_risk or spec.risk == "expected"
    risk = "expected" if crisis else spec.risk
    usual = _EXAMPLES[Stage.ANSWER]
    system = " ".join([_POLICY["always"], *([_POLICY[risk]] if risk in _POLICY else [])])
    return [
        {"role": "system", "content": system},
        *(_CRISIS_EXAMPLES if crisis else _shown(examples, Stage.ANSWER) or usual),
        {"role": "user", "content": question},
    ]


def longest_messages(record: RecordConfig, stage: Stage, examples: int) -> list[Message]:
    """A chat about as long as any that this stage will send, for checking token limits.

    Args:
        record: bounds of the texts, which pairs of an existing dataset keep, too.
        stage: which text is asked for.
        examples: such pairs in a prompt.
    """
    pair = Example(
        "somewhere",
        "somewhere " * record.max_question_words,
        "somewhere " * record.max_answer_words,
    )
    if stage is Stage.ANSWER:
        system = f"{_POLICY['always']} {_POLICY['expected']}"
        varied, built_in = "somewhere " * record.max_question_words, _CRISIS_EXAMPLES
    else:
        system, built_in = _QUESTION_SYSTEM, _EXAMPLES[stage]
        varied = "somewhere " * _VARIED_QUESTION_WORDS
    return [
        {"role": "system", "content": system},
        *max(_shown([pair] * examples, stage), built_in, key=_length),
        {"role": "user", "content": varied},
    ]


def _length(messages: Sequence[Message]) -> int:
    return sum(len(message["content"]) for message in messages)


def own_words(messages: Sequence[Message], question: str = "") -> str:
    """The text of a chat that a candidate must not copy.

    All of it but `question`, and but the crisis policy and its examples' crisis part: an answer
    that names the help line in the policy's own words is as it should be.
    """
    text = "\n".join(m["content"] for m in messages if m["content"] != question)
    for part in _MAY_BE_REPEATED:
        text = text.replace(part, "")
    return text
