"""Keeps prompts and records out of logs: errors end there, and an error may quote a text."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_RUN = 5  # words in a row that no message shares with a text by accident
_WORD = re.compile(r"[^\W_]+")
_log = logging.getLogger(__name__)


class WithheldError(RuntimeError):
    """Stands for an error whose message quotes a prompt or a record."""


@contextmanager
def withholding(*texts: str) -> Iterator[None]:
    """Replace an error that quotes one of `texts` by one that does not.

    The error's type and the lines of code that it came through stay; the log level debug shows it
    as it was.

    Raises:
        WithheldError: in place of an error that quotes a text.
    """
    try:
        yield
    except Exception as error:
        if not _runs(["".join(traceback.format_exception(error))]) & _runs(texts):
            raise
        _log.debug("an error that quotes a text", exc_info=error)
        name = type(error).__name__
        raise WithheldError(
            f"{name}; its message quotes a text, which only the log level debug shows"
        ).with_traceback(error.__traceback__) from None


def _runs(texts: Iterable[str]) -> set[tuple[str, ...]]:
    """Every few words in a row, whatever stands between them: line ends, quotes or escapes."""
    found: set[tuple[str, ...]] = set()
    for text in texts:
        words = _WORD.findall(text)
        found.update(zip(*(words[start:] for start in range(_RUN)), strict=False))
    return found
