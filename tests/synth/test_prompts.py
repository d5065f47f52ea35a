"""Prompts: what is shared comes first, what varies last, and everything asked for is in it."""

from __future__ import annotations

import json
from itertools import takewhile

from synth.gates import Draft, Stage
from synth.gates.registry import DEFAULT_CHOICES, GateChoice, Gates
from synth.prompts import answer_messages, own_words, question_messages
from synth.protocol import Slot
from synth.records import KEYS
from synth.specs import Specs

SLOT = Slot("id", "anxiety", "counts the exits", {"voice": "plain", "asks": "why"}, 1)


def flat(messages: list[object]) -> str:
    return "\n".join(str(message) for message in messages)


def takewhile_equal(one: str, two: str) -> list[str]:
    return [a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False))]


def test_a_question_prompt_names_topic_situation_and_facets(specs: Specs) -> None:
    user = question_messages(specs, SLOT)[-1]["content"]
    assert "Topic: Anxiety\n" in user
    assert "Written by someone who counts the exits.\n" in user
    assert specs.facets["voice"]["plain"] in user
    assert specs.facets["asks"]["why"] in user


def test_prompts_of_one_topic_share_everything_up_to_the_situation(specs: Specs) -> None:
    other = Slot("id", "anxiety", "hears the fridge", {}, 2)
    one, two = (flat(list(question_messages(specs, slot))) for slot in (SLOT, other))
    shared = "".join(takewhile_equal(one, two))
    assert shared.endswith("Written by someone who ")
    assert len(shared) > 0.8 * len(two)


def test_an_escalated_prompt_describes_the_topic_and_names_what_to_avoid(specs: Specs) -> None:
    slot = Slot("id", "anxiety", "counts the exits", {}, 1, 0.2, ("My heart races at night",))
    user = question_messages(specs, slot)[-1]["content"]
    assert "- My heart races at night" in user
    assert "What belongs in this topic: Fear" in user


def test_every_topic_where_a_crisis_may_come_has_the_policy_in_its_answer_prompt(
    specs: Specs,
) -> None:
    for spec in specs.topics.values():
        system = answer_messages(spec, "a question", at_risk=False)[0]["content"]
        assert ("988" in system) == (spec.risk != "low")


def test_a_message_that_shows_risk_gets_the_crisis_policy_whatever_its_topic(specs: Specs) -> None:
    spec = specs.topics["workplace-relationships"]
    calm, risk = (
        answer_messages(spec, "My boss ignores me.", at_risk) for at_risk in (False, True)
    )
    assert calm[1:-1] != risk[1:-1]
    assert risk[:-1] == answer_messages(specs.topics["self-harm"], "anything", at_risk=False)[:-1]


def test_the_policys_examples_pass_every_gate_and_may_be_repeated_in_their_crisis_part(
    specs: Specs,
) -> None:
    gates = Gates([*DEFAULT_CHOICES, GateChoice(name="safety")])
    chat = answer_messages(specs.topics["self-harm"], "anything", at_risk=False)
    pairs = list(zip(chat[1:-1:2], chat[2:-1:2], strict=True))
    assert len(pairs) == 2
    for asked, given in pairs:
        answer = json.loads(given["content"])[KEYS[Stage.ANSWER]]
        question = asked["content"]
        for draft in (Draft(Stage.QUESTION, question), Draft(Stage.ANSWER, answer, question)):
            assert list(gates.findings(draft)) == []
        own = own_words(chat, "anything")
        assert answer.split(". ")[0] in own
        assert answer.split(". ")[-1] not in own


def test_own_words_are_all_but_the_question(specs: Specs) -> None:
    messages = answer_messages(
        specs.topics["workplace-relationships"], "my very own question", at_risk=False
    )
    assert "my very own question" not in own_words(messages, "my very own question")
    assert messages[0]["content"] in own_words(messages, "my very own question")
