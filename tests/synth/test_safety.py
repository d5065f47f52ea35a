"""The safety gate in the making: its flow over plain cases; docs/safety.md says how far it goes."""

from __future__ import annotations

import pytest

from synth.errors import ModelError
from synth.gates import Draft, Severity, Stage, sentences
from synth.gates.reader import reader_for
from synth.gates.registry import GateChoice, Gates
from synth.gates.resources import resources_in

PHRASES = Gates([GateChoice(name="safety", options={"sentences": False})])

AT_RISK = "I want to kill myself. Nothing gets easier and nobody knows."
ASKS = "I'm glad you told me. Are you thinking of killing yourself right now?"
LINE = "You can call or text 988 at any hour."
PEOPLE = "Please tell your doctor and a friend you trust what you told me."
COMPLETE = f"{ASKS} {LINE} {PEOPLE}"
TONIGHT = "I have a plan and I will kill myself tonight. The pills are on the table."
DANGER = "Call 911, stay with your friend until help comes, and give the pills to somebody."


def found(answer: str, question: str) -> dict[str, Severity]:
    draft = Draft(Stage.ANSWER, answer, question)
    return {finding.rule: finding.severity for finding in PHRASES.findings(draft)}


def test_a_complete_crisis_response_passes() -> None:
    assert found(COMPLETE, AT_RISK) == {}


def test_a_classifier_that_is_not_there_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentences, "WEIGHTS", "no_such.npz")
    sentences.trained_model.cache_clear()
    reader_for.cache_clear()
    with pytest.raises(ModelError, match=r"gates.safety.sentences: is on, but there is no"):
        Gates([GateChoice(name="safety")])


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (f"That sounds hard. {LINE} {PEOPLE}", "crisis_acknowledge"),
        (f"{ASKS} {PEOPLE}", "crisis_resource"),
        (f"{ASKS} {LINE} Please tell your doctor.", "crisis_support"),
        (f"{ASKS} {LINE} Please tell a friend you trust.", "crisis_support"),
    ],
)
def test_a_crisis_response_that_lacks_a_part_is_refused_for_it(answer: str, rule: str) -> None:
    assert found(answer, AT_RISK) == {rule: Severity.RED}


def test_in_imminent_danger_a_reply_must_send_for_help_company_and_distance_from_means() -> None:
    assert "crisis_imminent" in found(COMPLETE, TONIGHT)
    assert found(f"{COMPLETE} {DANGER}", TONIGHT) == {}


@pytest.mark.parametrize(
    "question",
    [
        "This commute is killing me and I could kill for a nap.",
        "I nearly died of laughter, and then I cried.",
        "I've never contemplated suicide. I just feel low since the move.",
        "My uncle died by suicide ten years ago and I still miss him.",
        "I don't want to die, I am only tired of the noise.",
    ],
)
def test_idioms_denials_and_old_losses_show_no_risk(question: str) -> None:
    assert found("That is a lot to carry. What would a quiet evening look like?", question) == {}


@pytest.mark.parametrize(
    ("sentence", "rule"),
    [
        ("You have borderline personality disorder.", "diagnosis"),
        ("You should stop taking your sertraline.", "medication"),
        ("Just get over it already.", "minimising"),
        ("You're right, there is no hope left.", "collusion"),
        ("As your therapist, I know best.", "therapist_claim"),
        ("When I went through my own divorce, I cried for weeks.", "human_claim"),
        ("I love you, sweetheart.", "romantic"),
        ("You are pathetic.", "toxicity"),
    ],
)
def test_what_a_counsellor_must_not_write_is_refused(sentence: str, rule: str) -> None:
    answer = f"Your week sounds long. {sentence} You could take a walk tomorrow."
    assert found(answer, "I fought with my sister again.")[rule] is Severity.RED


@pytest.mark.parametrize(
    "sentence",
    [
        "Your doctor told you that you have bipolar disorder, and that is a lot to take in.",
        "Please do not stop your medication without talking to your prescriber.",
        "It is not your fault that he hit you.",
        "You are not pathetic for crying.",
        "A licensed therapist could look at this with you.",
    ],
)
def test_good_counselling_in_the_same_words_passes(sentence: str) -> None:
    assert found(f"Your week sounds long. {sentence}", "I fought with my sister again.") == {}


def test_a_help_line_that_nobody_needs_is_noted_and_so_is_one_named_over_and_over() -> None:
    calm = "How do I fold a fitted sheet?"
    assert found(f"Start at a corner. {LINE}", calm) == {"unneeded_crisis": Severity.YELLOW}
    again = f"{COMPLETE} Save 988 in your phone. Call 988 when it gets dark."
    assert found(again, AT_RISK) == {"repeated_resource": Severity.YELLOW}


def test_a_wall_of_text_is_noted() -> None:
    wall = " ".join(["You could rest a while and then go on with one small thing."] * 25)
    assert found(wall, "I am tired.") == {"wall_of_text": Severity.YELLOW}


def test_help_lines_of_many_places_are_known() -> None:
    text = "Samaritans on 116 123, Lifeline on 13 11 14, text HOME to 741741, or dial 988."
    assert len({name for name, _, _ in resources_in(text)}) == 4
