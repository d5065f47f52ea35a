"""Rules about the form of a text: loops, copied prompts, placeholders, mixed-up roles.

The thresholds come from reading what small models write when they fail; a text that a
person wrote passes (docs/design.md has the figures).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from synth.gates.base import Draft, Finding, Severity, Stage, words_with_spans

_PHRASE = 4  # words; a phrase of this length that keeps coming back is a loop
_PHRASE_REPEATS = 4
_TRIGRAM_VARIETY = 0.65  # distinct share of three-word runs; people write above 0.9
_COPIED_RUN = 10  # words in a row that also stand in the prompt
_RESTATED_RUN = 16  # words in a row that an answer takes from its question
_RESTATED_SHARE = 0.5  # of an answer's longer words; 2 of 1,103 human answers have more
_RESTATED_WORDS = 5  # an answer with fewer longer words is judged by other gates
_LONGER = 4  # letters
_STEM = 5  # letters by which two forms of a word are taken for one

_PLACEHOLDER = re.compile(
    r"\[[^\]\n]{1,60}\]|\{[^}\n]{0,60}\}|<[a-z][^>\n]{0,40}>|_{3,}|\bX{3,}\b"
    r"|\b(?:insert|your|client'?s?|counsel+or'?s?) name here\b",
    re.IGNORECASE,
)
_META = re.compile(
    r"\bas an? (?:ai|artificial|language|large|chatbot|virtual)\b|\blanguage model\b"
    r"|\b(?:i am|i['’]m) (?:just |only |merely )?an? (?:ai|chatbot|virtual assistant)\b"
    r"|\bmy (?:training|knowledge) (?:data|cutoff)\b|\bsure[,!] (?:here|i)\b"
    r"|^\W*(?:certainly|of course|absolutely|okay|ok|great)[,!:.] (?:here|i can|let me)\b"
    r"|\bhere(?: is| are|['’]s) (?:a|an|the|your|my|some|one) (?:\w+ ){0,2}"
    r"(?:message|response|reply|answer|example|draft|rewrite)\b"
    r"|\bi (?:cannot|can['’]?t|am unable to|won['’]t) (?:fulfill?|comply|generate)\b"
    r"|\b(?:system prompt|the prompt|content policy|per your request|your request for)\b"
    r"|^\W*(?:note|disclaimer|response|answer|reply|output|rewritten|revised)\s*:|\(note\b"
    r"|\b(?:note|remember) that this (?:response|reply|answer)\b"
    r"|\bthis (?:response|reply|answer) (?:is|was|has|should|aims|uses|follows|contains)\b"
    r"|\b(?:as|was) (?:requested|instructed)\b|\bword count\b|\bend of (?:message|response)\b"
    r"|\blet me know if you(?:['’]d| would) like (?:me to|another|a different|any changes)\b"
    r"|\bfeel free to (?:edit|adjust|modify|adapt)\b|\bi hope this (?:response|reply)\b"
    r"|\b(?:client|counsel+or)_\w+|^\W*(?:client|counsel+or|user|assistant|therapist)\s*:"
    r"|^\s*(?:topic|situation|dear|subject)\b",
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


def _red(draft: Draft, gate: str, rule: str, start: int, end: int) -> Finding:
    return Finding(gate, rule, Severity.RED, draft.stage, start, end)


def repetition(draft: Draft) -> Iterator[Finding]:
    """A phrase again and again, a sentence twice, or hardly any variety."""
    words = words_with_spans(draft.text)
    plain = [word for word, _, _ in words]
    phrases = Counter(tuple(plain[i : i + _PHRASE]) for i in range(len(plain) - _PHRASE + 1))
    for phrase, count in phrases.most_common(1):
        if count >= _PHRASE_REPEATS:
            at = next(i for i in range(len(plain)) if tuple(plain[i : i + _PHRASE]) == phrase)
            end = words[at + _PHRASE - 1][2]
            yield _red(draft, "repetition", "repetition", words[at][1], end)
            return
    trigrams = [tuple(plain[i : i + 3]) for i in range(len(plain) - 2)]
    if trigrams and len(set(trigrams)) < _TRIGRAM_VARIETY * len(trigrams):
        yield _red(draft, "repetition", "repetition", 0, len(draft.text))
        return
    seen: set[str] = set()
    for match in re.finditer(r"[^.!?]+[.!?]", draft.text):
        sentence = " ".join(w for w, _, _ in words_with_spans(match.group()))
        if sentence.count(" ") >= 3 and sentence in seen:
            yield _red(draft, "repetition", "repetition", match.start(), match.end())
            return
        seen.add(sentence)


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


def prompt_echo(draft: Draft) -> Iterator[Finding]:
    """Words of the prompt or its examples, or an answer that gives the question back."""
    if span := _longest_copied_run(draft.text, draft.prompt, _COPIED_RUN):
        yield _red(draft, "prompt_echo", "prompt_echo", *span)
    if span := _longest_copied_run(draft.text, draft.question, _RESTATED_RUN):
        yield _red(draft, "prompt_echo", "restates_question", *span)
    elif _restated_share(draft) >= _RESTATED_SHARE:
        yield _red(draft, "prompt_echo", "restates_question", 0, len(draft.text))


def _restated_share(draft: Draft) -> float:
    """Share of an answer's longer words that its question has, too."""
    known = {word[:_STEM] for word, _, _ in words_with_spans(draft.question)}
    words = [w[:_STEM] for w, _, _ in words_with_spans(draft.text) if len(w) >= _LONGER]
    if len(words) < _RESTATED_WORDS:
        return 0.0
    return sum(word in known for word in words) / len(words)


def placeholder(draft: Draft) -> Iterator[Finding]:
    """Gaps left to fill, talk about being a model, labels of the prompt, stray markup."""
    for reason, pattern in (
        ("placeholder", _PLACEHOLDER),
        ("meta_talk", _META),
        ("garbled", _GARBLE),
    ):
        if match := pattern.search(draft.text):
            yield _red(draft, "placeholder", reason, match.start(), match.end())


def role(draft: Draft) -> Iterator[Finding]:
    """A client who speaks as the counsellor, or the other way round."""
    if draft.stage is Stage.QUESTION:
        if match := _COUNSELLOR_VOICE.search(draft.text):
            yield _red(draft, "role", "role_mixed", match.start(), match.end())
        mine = len(_FIRST_PERSON.findall(draft.text))
        if (
            mine < _FIRST_PERSON_SHARE * len(draft.text.split())
            or len(_SECOND_PERSON.findall(draft.text)) > 2 * mine
        ):
            yield _red(draft, "role", "not_first_person", 0, len(draft.text))
        return
    if match := _CLIENT_VOICE.search(draft.text):
        yield _red(draft, "role", "role_mixed", match.start(), match.end())
    if not _SECOND_PERSON.search(draft.text):
        yield _red(draft, "role", "not_addressed", 0, len(draft.text))
