"""Errors that quote a text are told without it, all others as they are."""

from __future__ import annotations

import logging
import traceback

import pytest

from synth.quoting import WithheldError, withholding

TEXT = "My mother's kettle\nhas been cold since March, and I cannot look at it."


def fails_with(message: str) -> None:
    raise ValueError(message)


@pytest.mark.parametrize(
    "message", [f"bad input: {TEXT}", f"cannot read {TEXT!r}", f"near {TEXT[-30:]!r}"]
)
def test_an_error_that_quotes_a_text_keeps_its_type_and_lines_but_not_the_text(
    message: str,
) -> None:
    with pytest.raises(WithheldError, match="ValueError") as caught, withholding("other", TEXT):
        fails_with(message)
    told = "".join(traceback.format_exception(caught.value))
    assert "in fails_with" in told
    assert "look at it" not in told


def test_a_text_in_the_cause_of_an_error_is_withheld_too() -> None:
    def fails() -> None:
        try:
            fails_with(TEXT)
        except ValueError as error:
            raise RuntimeError("no luck") from error

    with pytest.raises(WithheldError) as caught, withholding(TEXT):
        fails()
    assert "look at it" not in "".join(traceback.format_exception(caught.value))


def test_an_error_that_quotes_nothing_passes_unchanged() -> None:
    with pytest.raises(ValueError, match="a kettle is no number"), withholding(TEXT):
        fails_with("a kettle is no number")


def test_only_the_log_level_debug_shows_what_was_withheld(caplog: pytest.LogCaptureFixture) -> None:
    for level, shown in ((logging.INFO, False), (logging.DEBUG, True)):
        caplog.clear()
        caplog.set_level(level)
        with pytest.raises(WithheldError), withholding(TEXT):
            fails_with(TEXT)
        assert ("look at it" in caplog.text) is shown
