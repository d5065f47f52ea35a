"""Text gates: what small models write when they fail is refused, what people write passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.gates import DEFAULT_GATES, GATES, Draft, Stage, first_red
from synth.prompts import answer_messages, own_words
from synth.specs import Specs

PERSON = (
    "My brother and I shared a flat until March. Since he moved out I leave the radio on all "
    "night, because I cannot stand how quiet it is. At work I make jokes and nobody would guess. "
    "On Sundays I walk to the harbour and back and count the hours until Monday. I am not sure "
    "if I miss him or if I never learned to be on my own. How do people get used to it?"
)
COUNSELLOR = (
    "A quiet flat can feel louder than any street, and it makes sense that you keep the radio on. "
    "You and your brother shared more than rooms, so part of what you describe may be missing him "
    "and part may be new ground. You could choose one evening a week that belongs to you and "
    "somebody else, a class or a call. If the nights stay hard, a counselor can look at them "
    "with you."
)


def reason(stage: Stage, text: str, question: str = "", prompt: str = "") -> str | None:
    finding = first_red(Draft(stage, text, question, prompt), DEFAULT_GATES)
    if finding:
        assert finding.gate in GATES
        assert finding.span(text)
    return finding.reason if finding else None


def test_what_people_write_passes() -> None:
    assert reason(Stage.QUESTION, PERSON) is None
    assert reason(Stage.ANSWER, COUNSELLOR, PERSON) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PERSON + " I am helpful, helpful, helpful, helpful and tired.", "garbled"),
        (PERSON + " My house is so very empty. My house is so very empty.", "repetition"),
        ("I want it. " + "I am going to do it, I am going to do it now, " * 4, "repetition"),
        (PERSON.replace("My brother", "[Name]"), "placeholder"),
        (PERSON + " My name is {name}.", "placeholder"),
        (PERSON + " Yours, your name here", "placeholder"),
        ("As an AI language model, I write: " + PERSON, "meta_talk"),
        ("Sure, here is my message. " + PERSON, "meta_talk"),
        ("Dear counselor, " + PERSON, "meta_talk"),
        ("Client: " + PERSON, "meta_talk"),
        (PERSON + " #sad #alone", "garbled"),
        (PERSON + " You are not alone in this, you know.", "role_mixed"),
        ("Thank you for reaching out. " + PERSON, "role_mixed"),
        ("The client lives alone. " + PERSON, "role_mixed"),
        (PERSON.replace(" I ", " they ").replace("my", "their"), "not_first_person"),
    ],
)
def test_questions_that_went_wrong_are_refused(text: str, expected: str) -> None:
    assert reason(Stage.QUESTION, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (COUNSELLOR + " What should I do?", "role_mixed"),
        (COUNSELLOR.replace("You", "People").replace("you", "people"), "not_addressed"),
        (COUNSELLOR + " As a language model, there are limits.", "meta_talk"),
        ("counselor_reply " + COUNSELLOR, "meta_talk"),
        (" ".join(PERSON.split()[:20]) + " " + COUNSELLOR, "restates_question"),
    ],
)
def test_answers_that_went_wrong_are_refused(text: str, expected: str) -> None:
    assert reason(Stage.ANSWER, text, PERSON) == expected


def test_a_copy_of_the_prompt_is_refused_with_its_span() -> None:
    prompt = (
        "The client sings in the kitchen when the neighbours are out and stops when they return."
    )
    text = PERSON + " I sing in the kitchen when the neighbours are out and stops when they return."
    finding = first_red(Draft(Stage.QUESTION, text, prompt=prompt), DEFAULT_GATES)
    assert finding is not None
    assert finding.reason == "prompt_echo"
    assert finding.span(text) in text
    assert len(finding.span(text).split()) == 10


def test_the_crisis_policy_may_be_given_in_its_own_words(specs: Specs) -> None:
    prompt = own_words(answer_messages(specs.topics["self-harm"], PERSON), PERSON)
    answer = (
        COUNSELLOR + " You can call or text 988 at any time, day or night, call emergency services "
        "in immediate danger, and be with somebody they trust today."
    )
    assert reason(Stage.ANSWER, answer, PERSON, prompt) is None


def test_first_person_words_count_in_any_case() -> None:
    text = "My husband left. We fight, and i am tired of it. " * 2
    assert GATES["role"].check(Draft(Stage.QUESTION, text)) is None


def test_only_the_gates_that_are_named_are_asked() -> None:
    assert first_red(Draft(Stage.QUESTION, PERSON + " [Name]"), ("repetition",)) is None


@given(st.text(max_size=600), st.text(max_size=200), st.sampled_from(list(Stage)))
def test_any_text_passes_through_every_gate_without_an_exception(
    text: str, other: str, stage: Stage
) -> None:
    for gate in GATES.values():
        finding = gate.check(Draft(stage, text, other, other))
        if finding:
            assert 0 <= finding.start <= finding.end <= len(text)
