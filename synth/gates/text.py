"""Rules about the form of a text: loops, copied prompts, placeholders, mixed-up roles.

The thresholds come from reading what small models write when they fail; a text that a
person wrote passes (docs/design.md has the figures).
"""

from __future__ import annotations

import re
from collections import Counter

from synth.gates.base import Draft, Finding, Severity, Stage, words_with_spans

_PHRASE = 4  # words; a phrase of this length that keeps coming back is a loop
_PHRASE_REPEATS = 4
_TRIGRAM_VARIETY = 0.65  # distinct share of three-word runs; people write above 0.9
_COPIED_RUN = 10  # words in a row that also stand in the prompt
_RESTATED_RUN = 16  # words in a row that an answer takes from its question

_PLACEHOLDER = re.compile(
    r"\[[^\]\n]{1,60}\]|\{[^}\n]{0,60}\}|<[a-z][^>\n]{0,40}>|_{3,}|\bX{3,}\b"
    r"|\b(?:insert|your|client'?s?|counsel+or'?s?) name here\b",
    re.IGNORECASE,
)
_META = re.compile(
    r"\bas an? (?:ai|artificial|language|large)\b|\blanguage model\b|\bmy (?:training|knowledge) "
    r"(?:data|cutoff)\b|\bsure[,!] (?:here|i)\b|\bhere (?:is|are|'s) (?:a|an|the|your|some) "
    r"(?:message|response|reply|answer|example)\b|\b(?:client|counsel+or)_\w+"
    r"|\b(?:client|counsel+or|user|assistant)\s*:|^\s*(?:topic|situation|dear|subject)\b",
    re.IGNORECASE | re.MULTILINE,
)
_GARBLE = re.compile(
    r"[{}<>|\\^~]|#[A-Za-z]|[^\w\s.!?…\"'“”‘’()\-–—*_]{4,}|\b(\w{2,})(?:[\s,]+\1\b){2,}"
)
_FIRST_PERSON_SHARE = 0.05  # of the words; 95 % of real questions have more, median 0.14
_FIRST_PERSON = re.compile(r"\b(?:I|I['’](?:m|ve|d|ll)|me|my|mine|myself|we|our|us)\b", re.I)
_COUNSELLOR_VOICE = re.compile(
    r"\bthe client\b|\bi(?:['’]m| am) here (?:to|for)\b"
    r"|\bthank(?:s| you) for (?:sharing|reaching out|your message)"
    r"|\bi(?:['’]m| am) (?:so |really |very )?sorry (?:to hear|for your)"
    r"|\byou(?:['’]re| are) not alone"
    r"|\b(?:i|we) can help you\b|\bhow can i help (?:you|them)\b|\bit sounds like you\b"
    r"|\bhow (?:are you|have you been)\b|\bmy clients?\b"
    r"|\bi(?:['’]m| am) your (?:counsel+or|therapist)",
    re.IGNORECASE,
)
_CLIENT_VOICE = re.compile(
    r"\bi (?:need|want|am looking for) (?:your |some )?(?:help|advice)\b"
    r"|\b(?:can|could) you (?:please )?help me\b|\bwhat should i do\b"
    r"|\bi don['’]t know what to do\b"
    r"|\bhow (?:do|can) i (?:stop|get|cope|deal|make)\b",
    re.IGNORECASE,
)
_SECOND_PERSON = re.compile(r"\byou(?:r|rs|rself|['’](?:re|ve|d|ll))?\b", re.IGNORECASE)


def _red(gate: str, reason: str, start: int, end: int) -> Finding:
    return Finding(gate, reason, Severity.RED, start, end)


def repetition(draft: Draft) -> Finding | None:
    """A phrase again and again, a sentence twice, or hardly any variety."""
    words = words_with_spans(draft.text)
    plain = [word for word, _, _ in words]
    phrases = Counter(tuple(plain[i : i + _PHRASE]) for i in range(len(plain) - _PHRASE + 1))
    for phrase, count in phrases.most_common(1):
        if count >= _PHRASE_REPEATS:
            at = next(i for i in range(len(plain)) if tuple(plain[i : i + _PHRASE]) == phrase)
            return _red("repetition", "repetition", words[at][1], words[at + _PHRASE - 1][2])
    trigrams = [tuple(plain[i : i + 3]) for i in range(len(plain) - 2)]
    if trigrams and len(set(trigrams)) < _TRIGRAM_VARIETY * len(trigrams):
        return _red("repetition", "repetition", 0, len(draft.text))
    seen: set[str] = set()
    for match in re.finditer(r"[^.!?]+[.!?]", draft.text):
        sentence = " ".join(w for w, _, _ in words_with_spans(match.group()))
        if sentence.count(" ") >= 3 and sentence in seen:
            return _red("repetition", "repetition", match.start(), match.end())
        seen.add(sentence)
    return None


def _longest_copied_run(text: str, source: str, length: int) -> tuple[int, int] | None:
    """The first run of `length` words that also stands in `source`, as a span of `text`."""
    words = words_with_spans(text)
    plain = [word for word, _, _ in words]
    known = [word for word, _, _ in words_with_spans(source)]
    runs = {tuple(known[i : i + length]) for i in range(len(known) - length + 1)}
    for i in range(len(plain) - length + 1):
        if tuple(plain[i : i + length]) in runs:
            return words[i][1], words[i + length - 1][2]
    return None


def prompt_echo(draft: Draft) -> Finding | None:
    """Words of the prompt or its examples, or an answer that gives the question back."""
    if span := _longest_copied_run(draft.text, draft.prompt, _COPIED_RUN):
        return _red("prompt_echo", "prompt_echo", *span)
    if span := _longest_copied_run(draft.text, draft.question, _RESTATED_RUN):
        return _red("prompt_echo", "restates_question", *span)
    return None


def placeholder(draft: Draft) -> Finding | None:
    """Gaps left to fill, talk about being a model, labels of the prompt, stray markup."""
    for reason, pattern in (
        ("placeholder", _PLACEHOLDER),
        ("meta_talk", _META),
        ("garbled", _GARBLE),
    ):
        if match := pattern.search(draft.text):
            return _red("placeholder", reason, match.start(), match.end())
    return None


def role(draft: Draft) -> Finding | None:
    """A client who speaks as the counsellor, or the other way round."""
    if draft.stage is Stage.QUESTION:
        if match := _COUNSELLOR_VOICE.search(draft.text):
            return _red("role", "role_mixed", match.start(), match.end())
        mine = len(_FIRST_PERSON.findall(draft.text))
        if (
            mine < _FIRST_PERSON_SHARE * len(draft.text.split())
            or len(_SECOND_PERSON.findall(draft.text)) > 2 * mine
        ):
            return _red("role", "not_first_person", 0, len(draft.text))
        return None
    if match := _CLIENT_VOICE.search(draft.text):
        return _red("role", "role_mixed", match.start(), match.end())
    if not _SECOND_PERSON.search(draft.text):
        return _red("role", "not_addressed", 0, len(draft.text))
    return None
