"""The errors that a user can mend, each with its cause and its remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Wrong input: one message, no traceback, exit code 2.

    Args:
        where: the file, option or folder that holds the mistake.
        what: what was found there.
        remedy: what would be right.
    """

    def __init__(self, where: str, what: str, remedy: str):
        super().__init__(where, what, remedy)
        self.where, self.what, self.remedy = where, what, remedy

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.remedy}."


class ConfigError(UserError):
    """A run config or a `--set` option that does not hold."""


class SpecError(UserError):
    """A topic spec or the facets file that does not hold."""


class ModelError(UserError):
    """A model that is missing, or that this machine cannot load."""


class StoreError(UserError):
    """A run folder that cannot be used: no permission, in use, foreign files, changed config."""


class EngineFailure(RuntimeError):
    """A run that could not start, or lost its coordinator; what was committed stays. Exit 1."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint to append to a message about an unknown `word`."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
