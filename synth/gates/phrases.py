"""Phrase books: rules about wording, written in YAML as phrases and matched in linear time.

A phrase is a regular expression of RE2 (no backtracking, so no text can make it slow) with a few
abbreviations that keep it readable:

    a b         a space is any run of characters between two words, but not a sentence's end
    a … b       up to five words may stand between
    [x|y] b     x or y may stand before b, and a [x|y] after a
    {name}      one of the words listed under `words`
    stem*       the word and whatever ends it may have

Character classes are not among them: a bracket is always something optional.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import re2
from pydantic import BaseModel, ConfigDict

from synth.shipped import shipped_rules

_GAP = r"(?:[^\w.?!]+[\w'-]+){0,5}?[^\w.?!]+"
_SEPARATOR = r"[^\w.?!]+"
_STRAIGHT = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "\u00a0": " ", "‑": "-"})
_SENTENCE_END = re.compile(r"[.!?…]+[\"')\]]*\s+|\n+")
_MEMORY = 1 << 28  # bytes that RE2 may spend on the automaton of a book
_LOOK_BACK = 90  # characters before a phrase in which a guard is looked for


class Rule(BaseModel):
    """One rule of a phrase book.

    Attributes:
        phrases: any of which shows what the rule is about.
        unless_before: phrases that undo it when they end right before.
        unless_in_sentence: phrases that undo it anywhere in the same sentence.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    phrases: tuple[str, ...]
    unless_before: tuple[str, ...] = ()
    unless_in_sentence: tuple[str, ...] = ()


class Book(BaseModel):
    """A phrase book as it stands in its file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    words: dict[str, str] = {}
    rules: dict[str, Rule]


@dataclass(frozen=True, slots=True)
class Match:
    """Where a rule's phrase stands in a text."""

    rule: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a text, with straight quotes; `start` is its place there."""

    text: str
    start: int


def straightened(text: str) -> str:
    """`text` with typographic quotes and hyphens made plain; as long as before."""
    return text.translate(_STRAIGHT)


def sentences(text: str) -> Iterator[Sentence]:
    """The sentences of a text, in their order."""
    plain, start = straightened(text), 0
    for match in _SENTENCE_END.finditer(plain):
        yield Sentence(plain[start : match.end()], start)
        start = match.end()
    if start < len(plain):
        yield Sentence(plain[start:], start)


def to_pattern(phrase: str, words: Mapping[str, str]) -> str:
    """The RE2 pattern of a phrase.

    Raises:
        KeyError: a `{name}` that the book does not list.
    """
    expanded = re.sub(r"\{(\w+)\}", lambda m: f"({words[m[1]]})", phrase)
    if expanded != phrase:
        return to_pattern(expanded, words)
    pattern, before = phrase, ""
    while pattern != before:  # the innermost first
        before = pattern
        pattern = re.sub(r"\[([^\[\]]+)\] ", r"((\1) )?", pattern)
        pattern = re.sub(r" \[([^\[\]]+)\]", r"( (\1))?", pattern)
    pattern = pattern.replace("(?:", "(").replace("(", "(?:")
    pattern = re.sub(r"(\w)\*", r"\1[\\w'-]*", pattern)
    return pattern.replace(" … ", _GAP).replace(" ", _SEPARATOR)


def _compiled(phrases: Sequence[str], words: Mapping[str, str], form: str) -> list[Any]:
    return [re2.compile(form.format(to_pattern(phrase, words))) for phrase in phrases]


@dataclass(frozen=True, slots=True)
class _Compiled:
    before: list[Any]
    in_sentence: list[Any]


class PhraseBook:
    """A compiled phrase book.

    Args:
        book: rules and words.
    """

    def __init__(self, book: Book):
        options = re2.Options()
        options.max_mem = _MEMORY
        self._set = re2.Set.SearchSet(options)
        self._patterns: list[tuple[str, Any]] = []
        self._guards: dict[str, _Compiled] = {}
        for name, rule in book.rules.items():
            for phrase in rule.phrases:
                pattern = rf"(?i)\b(?:{to_pattern(phrase, book.words)})(?:\b|\W|$)"
                self._set.Add(pattern)
                self._patterns.append((name, re2.compile(pattern)))
            self._guards[name] = _Compiled(
                _compiled(rule.unless_before, book.words, r"(?i)\b(?:{})[^\w.?!]*$"),
                _compiled(rule.unless_in_sentence, book.words, r"(?i)\b(?:{})\b"),
            )
        self._set.Compile()

    def _matches(self, sentence: Sentence) -> Iterator[Match]:
        """Every phrase that stands in a sentence and that no guard undoes."""
        for index in self._set.Match(sentence.text) or ():
            rule, pattern = self._patterns[index]
            for match in pattern.finditer(sentence.text):
                if not self._undone(rule, sentence.text, match.start()):
                    start = sentence.start + match.start()
                    yield Match(rule, start, start + len(match.group().rstrip()))
                    break

    def _undone(self, rule: str, sentence: str, start: int) -> bool:
        guards = self._guards[rule]
        before = sentence[max(0, start - _LOOK_BACK) : start]
        return any(guard.search(before) for guard in guards.before) or any(
            guard.search(sentence) for guard in guards.in_sentence
        )

    def search(self, text: str) -> Iterator[Match]:
        """Every match in every sentence of a text."""
        for sentence in sentences(text):
            yield from self._matches(sentence)


@cache
def shipped_book(name: str) -> PhraseBook:
    """The phrase book of that name in `synth/gates/data`."""
    return PhraseBook(Book.model_validate(shipped_rules(name)))
