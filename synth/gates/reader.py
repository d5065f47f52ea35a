"""What a client's or a counsellor's text says, by phrases and by a classifier of its sentences.

Phrases are exact and cost little, but foresee few wordings. The classifier reads every sentence by
itself. A rule is found where the classifier is sure enough, or where a phrase matches in a sentence
that the classifier does not hold for clean.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache

import re2
from pydantic import Field

from synth.gates.base import Options
from synth.gates.phrases import Match, Sentence, sentences, shipped_book
from synth.gates.sentences import Scores, SentenceModel, Side, trained_model

_JARGON_TERMS = 3  # different ones in an answer
_KEPT_TEXTS = 1024  # whose sentences are not scored again: a question is read with each answer
_RISK_RULES = ("imminent", "others_risk", "self_risk")  # the gravest first
_QUOTED = re2.compile(r'"[^"]{1,300}"|“[^”]{1,300}”')


class SafetyOptions(Options):
    """How the safety gate reads; all but the first are the classifier's probabilities.

    Attributes:
        sentences: whether the classifier reads beside the phrases.
        client_risk: from which a sentence of the client shows risk.
        imminent: from which it shows that the danger is near.
        reply_harm: from which a sentence of the answer breaks a rule.
        reply_asks: from which a sentence asks about suicide or self-harm.
        doubt: below which what a phrase found in a sentence does not count.
    """

    sentences: bool = True
    client_risk: float = Field(0.5, gt=0, le=1)
    imminent: float = Field(0.5, gt=0, le=1)
    reply_harm: float = Field(0.7, gt=0, le=1)
    reply_asks: float = Field(0.3, gt=0, le=1)
    doubt: float = Field(0.4, ge=0, le=1)


class Read:
    """A text's sentences with their scores: label -> probability, by sentence."""

    def __init__(self, parts: Sequence[Sentence], scores: Mapping[str, Scores]):
        self._sentences = parts
        self._scores = scores

    def first_of_each(self, rules: Iterable[str], least: float) -> dict[str, Match]:
        """For each rule the first sentence that breaks it most, if it breaks any of `rules`."""
        rules = list(rules)
        found: dict[str, Match] = {}
        for at, sentence in enumerate(self._sentences):
            if sum(self._scores[rule][at] for rule in rules) >= least:
                rule = max(rules, key=lambda rule: self._scores[rule][at])
                found.setdefault(rule, _span(rule, sentence))
        return found

    def first(self, rule: str, least: float) -> Match | None:
        """The first sentence that is at least so likely to be `rule`."""
        for at, sentence in enumerate(self._sentences):
            if self._scores[rule][at] >= least:
                return _span(rule, sentence)
        return None

    def believed(self, match: Match, rules: Iterable[str], least: float) -> bool:
        """Whether a sentence in which a phrase matched could break one of `rules`."""
        rules = list(rules)
        inside = [
            sum(self._scores[rule][at] for rule in rules)
            for at, sentence in enumerate(self._sentences)
            if sentence.start < match.end and match.start < sentence.start + len(sentence.text)
        ]
        return not inside or max(inside) >= least


def _span(rule: str, sentence: Sentence) -> Match:
    text = sentence.text
    start = sentence.start + len(text) - len(text.lstrip())
    return Match(rule, start, sentence.start + len(text.rstrip()))


class Reader:
    """Reads both sides of a pair.

    Args:
        options: of the gate.
        model: the classifier; None reads by phrases alone.
    """

    def __init__(self, options: SafetyOptions, model: SentenceModel | None):
        self._options = options
        self._model = model
        self._kept: OrderedDict[tuple[str, Side], Read] = OrderedDict()

    def read(self, texts: Iterable[str], side: Side) -> None:
        """Score the sentences of many texts at once, which takes less time than one by one."""
        if self._model is not None:
            self._reads(self._model, texts, side)

    def _read(self, model: SentenceModel, text: str, side: Side) -> Read:
        return self._reads(model, [text], side)[text]

    def _reads(self, model: SentenceModel, texts: Iterable[str], side: Side) -> dict[str, Read]:
        known = {text: self._kept.get((text, side)) for text in texts}
        reads = {text: read for text, read in known.items() if read}
        parts = {
            text: [s for s in sentences(text) if s.text.strip()]
            for text, read in known.items()
            if not read
        }
        scores = model.scores([s.text for part in parts.values() for s in part], side)
        start = 0
        for text, part in parts.items():
            end = start + len(part)
            own = {label: column[start:end] for label, column in scores.items()}
            reads[text] = self._kept[text, side] = Read(part, own)
            start = end
        while len(self._kept) > _KEPT_TEXTS:
            self._kept.popitem(last=False)
        return reads

    def risk(self, text: str) -> Match | None:
        """The words of a client's message that show a risk; the gravest rule's."""
        found = self.client(text)
        return next((found[rule] for rule in _RISK_RULES if rule in found), None)

    def client(self, text: str) -> dict[str, Match]:
        """The first match of each rule about risk in a client's message."""
        matches = shipped_book("client_risk").search(text)
        if self._model is None:
            return _first_of_each(matches)
        read, options = self._read(self._model, text, Side.CLIENT), self._options
        rules = self._model.rules[Side.CLIENT]
        found = read.first_of_each(rules, options.client_risk)
        if near := read.first("imminent", options.imminent):
            found["imminent"] = near
        kept = (match for match in matches if read.believed(match, rules, options.doubt))
        return found | _first_of_each(kept)

    def reply(self, text: str) -> dict[str, Match]:
        """The first match of each rule that an answer breaks."""
        matches = _heavy_only(_unquoted(shipped_book("counsellor").search(text), text), text)
        if self._model is None:
            return _first_of_each(matches)
        read, options = self._read(self._model, text, Side.REPLY), self._options
        rules = self._model.rules[Side.REPLY]
        kept = (
            match
            for match in matches
            if match.rule not in rules or read.believed(match, rules, options.doubt)
        )
        return read.first_of_each(rules, options.reply_harm) | _first_of_each(kept)

    def parts(self, text: str) -> set[str]:
        """The parts of a crisis response that an answer has."""
        parts = {match.rule for match in shipped_book("crisis_reply").search(text)}
        if self._model is not None:
            read = self._read(self._model, text, Side.REPLY)
            if read.first("asks", self._options.reply_asks):
                parts.add("asks")
        return parts


@cache
def reader_for(options: SafetyOptions) -> Reader:
    """The reader with these options; what it has read is shared by all who ask for it."""
    return Reader(options, trained_model() if options.sentences else None)


def _first_of_each(matches: Iterable[Match]) -> dict[str, Match]:
    found: dict[str, Match] = {}
    for match in matches:
        found.setdefault(match.rule, match)
    return found


def _unquoted(matches: Iterable[Match], text: str) -> Iterator[Match]:
    """All matches but those in quotation marks: what somebody else said."""
    quotes = [quote.span() for quote in _QUOTED.finditer(text)]
    for match in matches:
        if not any(start <= match.start and match.end <= end for start, end in quotes):
            yield match


def _heavy_only(matches: Iterable[Match], text: str) -> Iterator[Match]:
    """All matches, but jargon only where there is much of it."""
    jargon: dict[str, Match] = {}
    for match in matches:
        if match.rule != "jargon":
            yield match
            continue
        jargon.setdefault(text[match.start : match.end].lower(), match)
        if len(jargon) == _JARGON_TERMS:
            yield match
