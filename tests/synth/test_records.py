"""Output types and parsing: what obeys the bounds fits, what is cut is trimmed or refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.config import RecordConfig
from synth.gates import Stage
from synth.records import KEYS, TextParser, bounds, output_schema, whole_sentences

CONFIG = RecordConfig()
SENTENCE = "I have thought about this every single day since the beginning of the spring. "
WHOLE = (SENTENCE * 5).strip()


def parse(text: str, finish: str = "stop", stage: Stage = Stage.QUESTION) -> tuple[str, str | None]:
    parsed = TextParser(CONFIG, stage).parse(json.dumps({KEYS[stage]: text}), finish)
    return parsed.text, parsed.reason


@pytest.mark.parametrize("stage", list(Stage))
def test_the_schema_bounds_the_text_and_nothing_else_fits(stage: Stage) -> None:
    schema = output_schema(CONFIG, stage)
    limits = bounds(CONFIG, stage)
    assert schema["properties"][KEYS[stage]]["maxLength"] == limits.max_chars
    assert schema["properties"][KEYS[stage]]["minLength"] == limits.min_chars
    assert schema["additionalProperties"] is False
    assert schema["required"] == [KEYS[stage]]


@pytest.mark.parametrize("stage", list(Stage))
def test_a_text_within_the_bounds_fits_its_token_limit_even_at_a_token_a_character(
    stage: Stage,
) -> None:
    limits = bounds(CONFIG, stage)
    longest = json.dumps({KEYS[stage]: "x" * limits.max_chars})
    assert len(longest) - limits.max_chars < limits.max_tokens - limits.max_chars


def test_a_whole_text_is_kept_as_it_is() -> None:
    assert parse(WHOLE) == (WHOLE, None)


def test_a_text_cut_in_mid_sentence_is_trimmed_to_its_last_whole_one() -> None:
    assert parse(WHOLE + " And then I") == (WHOLE, None)


def test_a_text_without_enough_whole_sentences_is_truncated() -> None:
    cut = "I wake up. " + "and then it goes on and on " * 12
    assert parse(cut)[1] == "truncated"


def test_a_text_at_the_token_limit_is_truncated_whatever_it_holds() -> None:
    assert parse(WHOLE, finish="length")[1] == "truncated"


def test_a_text_of_too_few_words_is_too_short() -> None:
    assert parse("Unbelievably " * 20 + "long.")[1] == "too_short"


@pytest.mark.parametrize(
    "raw",
    ["", "{", "null", '{"client_message": 3}', '{"other": "x"}', '{"client_message": "short."}'],
)
def test_json_that_does_not_hold_the_text_is_unparsable_and_never_repaired(raw: str) -> None:
    assert TextParser(CONFIG, Stage.QUESTION).parse(raw, "stop").reason == "unparsable"


def test_more_words_than_the_bound_are_cut_at_a_sentence() -> None:
    short = "I am so sad. " * 45
    text, reason = parse(short)
    assert reason is None
    assert len(text.split()) <= CONFIG.max_question_words
    assert text.endswith("sad.")


@given(st.text(max_size=400))
def test_trimming_gives_a_prefix_that_ends_a_sentence(text: str) -> None:
    whole = whole_sentences(text)
    assert text.startswith(whole)
    assert whole == "" or whole.rstrip("\"'”’)")[-1] in ".!?…"


@given(st.text(max_size=300), st.sampled_from(["stop", "length", None]))
def test_accepted_texts_always_hold_the_bounds(text: str, finish: str | None) -> None:
    parsed = TextParser(CONFIG, Stage.ANSWER).parse(json.dumps({KEYS[Stage.ANSWER]: text}), finish)
    if parsed.reason is None:
        assert CONFIG.min_words <= len(parsed.text.split()) <= CONFIG.max_answer_words
