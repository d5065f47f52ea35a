"""Text gates: what small models write when they fail is refused, what people write passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from synth.gates import Draft, Finding, Gate, Scope, Severity, Stage
from synth.gates.registry import BUILT_IN, GateChoice, Gates
from synth.prompts import answer_messages, own_words
from synth.specs import Specs
from tests.gate_cases import measure, read_cases

DEFAULT = Gates()

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
    draft = Draft(stage, text, question, prompt)
    finding, _ = DEFAULT.judge(draft)
    if finding:
        assert finding.gate in BUILT_IN
        assert finding.span(draft)
    return finding.rule if finding else None


def found_by(gate: str, draft: Draft, **options: object) -> list[Finding]:
    return list(Gates([GateChoice(name=gate, options=options)]).findings(draft))


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
    draft = Draft(Stage.QUESTION, text, prompt=prompt)
    finding, _ = DEFAULT.judge(draft)
    assert finding is not None
    assert finding.rule == "prompt_echo"
    assert finding.span(draft) in text
    assert len(finding.span(draft).split()) == 10


def test_the_crisis_policy_may_be_given_in_its_own_words(specs: Specs) -> None:
    prompt = own_words(answer_messages(specs.topics["self-harm"], PERSON, at_risk=True), PERSON)
    answer = (
        COUNSELLOR + " You can call or text 988 at any time, day or night, call emergency services "
        "in immediate danger, and be with somebody they trust today."
    )
    assert reason(Stage.ANSWER, answer, PERSON, prompt) is None


def test_first_person_words_count_in_any_case() -> None:
    text = "My husband left. We fight, and i am tired of it. " * 2
    assert found_by("role", Draft(Stage.QUESTION, text)) == []


def test_only_the_gates_that_are_named_are_asked() -> None:
    assert found_by("repetition", Draft(Stage.QUESTION, PERSON + " [Name]")) == []


@given(st.text(max_size=600), st.text(max_size=200), st.sampled_from(list(Stage)))
def test_any_text_passes_through_every_gate_without_an_exception(
    text: str, other: str, stage: Stage
) -> None:
    draft = Draft(stage, text, other, other)
    for finding in DEFAULT.findings(draft):
        assert 0 <= finding.start <= finding.end <= len(draft.part(finding.where))


@pytest.mark.parametrize(
    "text",
    [" " * 40_000, "a" * 40_000, "a " * 20_000, "not " * 10_000, "1-" * 20_000, "'" * 40_000],
)
def test_no_text_makes_a_gate_slow(text: str) -> None:
    """A pattern that backtracks without end would run into the test's time limit."""
    for stage in Stage:
        list(DEFAULT.findings(Draft(stage, text, text, text)))


NO_DOGS = Gate(
    "no_dogs",
    1,
    frozenset({Scope.ANSWER}),
    lambda draft: iter(
        [Finding("no_dogs", "dog", Severity.RED, Stage.ANSWER, at, at + 3)]
        if (at := draft.text.find("dog")) >= 0
        else []
    ),
)


def test_a_gate_of_ones_own_is_named_by_its_path() -> None:
    gates = Gates([GateChoice(name="tests.synth.test_gates:NO_DOGS")])
    refused, _ = gates.judge(Draft(Stage.ANSWER, "Get a dog.", PERSON))
    assert refused is not None
    assert (refused.rule, refused.start) == ("dog", 6)
    assert list(gates.findings(Draft(Stage.QUESTION, "My dog died."))) == []


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("repetitoin", "did you mean 'repetition'"),
        ("no_such.module:GATE", "cannot be loaded"),
        ("tests.synth.test_gates:PERSON", "is no Gate and no GateKind, but str"),
        ({"cliche": {"opening": ["hello"]}}, "cliche.opening: Extra inputs"),
        ({"tests.synth.test_gates:NO_DOGS": {"x": 1}}, "takes no options"),
    ],
)
def test_a_gate_that_cannot_be_had_is_one_message(entry: object, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        GateChoice.model_validate(entry)


def test_stock_openings_are_noted_and_the_list_is_config() -> None:
    answer = "Thank you for reaching out. " + COUNSELLOR
    refused, noted = DEFAULT.judge(Draft(Stage.ANSWER, answer, PERSON))
    assert refused is None
    assert [flag.rule for flag in noted] == ["cliche"]
    own = {"openings": ["a quiet flat"], "severity": "red"}
    (finding,) = found_by("cliche", Draft(Stage.ANSWER, COUNSELLOR), **own)
    assert finding.severity is Severity.RED
    assert found_by("cliche", Draft(Stage.ANSWER, answer), **own) == []


@pytest.mark.parametrize(
    ("part", "recall", "false_red"), [("tuned", 0.95, 0.03), ("held_out", 0.8, 0.08)]
)
def test_identifiers_languages_loops_and_echoes_are_found_and_their_likenesses_are_not(
    part: str, recall: float, false_red: float
) -> None:
    """Floors under what docs/safety.md reports; it says how far the held-out half is untouched."""
    names = ("placeholder", "repetition", "prompt_echo", "language", "cliche", "pii")
    gates = Gates([GateChoice(name=name) for name in names])
    tally = measure(gates, read_cases(part, "form"))
    assert tally.clean > 50
    assert tally.recall >= recall
    assert tally.false_red <= false_red
