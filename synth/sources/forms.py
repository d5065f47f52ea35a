"""The forms of public datasets: how a record is recognised, and what of it is the pair."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_TAG = re.compile(r"<[^>]{1,200}>")
_CLIENT = ("user", "client", "human", "seeker", "usr", "speaker", "patient")
_COUNSELLOR = ("assistant", "counselor", "counsellor", "gpt", "supporter", "sys", "listener",
               "agent", "therapist", "bot", "model")  # fmt: skip

Pair = tuple[str, str, str | None]  # question, answer, topic


@dataclass(frozen=True, slots=True)
class Form:
    """A dataset's form.

    Attributes:
        fits: whether a record looks like it.
        pair: question, answer and topic of a record; ValueError when it holds none.
    """

    name: str
    fits: Callable[[Mapping[str, Any]], bool]
    pair: Callable[[Mapping[str, Any]], Pair]


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _plain(value: Any) -> str:
    """Text without the mark-up that therapists' editors left."""
    text = _text(value)
    if "<" in text:
        text = _TAG.sub("", re.sub(r"(?i)<(?:br|/p|/div|/li)[^>]{0,40}>", "\n", text))
    return html.unescape(text).strip()


def _columns(*names: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda record: all(name in record for name in names)


def pair_of_columns(question: str, answer: str, topic: str | None = None) -> Form:
    """The form of a table whose columns the user names."""

    def pair(record: Mapping[str, Any]) -> Pair:
        label = _text(record[topic]) or None if topic else None
        return _plain(record[question]), _plain(record[answer]), label

    return Form("columns", _columns(question, answer), pair)


def _counsel_chat(record: Mapping[str, Any]) -> Pair:
    topic = record.get("topic", record.get("topics"))
    question = _plain(record.get("questionText")) or _plain(record.get("questionTitle"))
    return question, _plain(record.get("answerText")), _text(topic) or None


def _instruction(record: Mapping[str, Any]) -> Pair:
    question = _text(record["input"]) or _text(record["instruction"])
    return question, _text(record["output"]), _text(record.get("topic")) or None


def of_turns(turns: Sequence[tuple[str, str]]) -> Pair:
    """All that the client and the counsellor said, each in one text."""
    sides: dict[str, list[str]] = {"client": [], "counsellor": []}
    for role, text in turns:
        if role.lower() in _CLIENT:
            sides["client"].append(text)
        elif role.lower() in _COUNSELLOR:
            sides["counsellor"].append(text)
        elif role.lower() not in ("system", "tool"):
            raise ValueError(f"has a turn of {role!r}, who is neither client nor counsellor")
    return "\n".join(sides["client"]), "\n".join(sides["counsellor"]), None


def _of_keys(
    turns: Sequence[Mapping[str, Any]], role: Sequence[str], content: Sequence[str]
) -> Pair:
    def first(turn: Mapping[str, Any], keys: Sequence[str]) -> str:
        for key in keys:
            if key in turn:
                return _text(turn[key])
        raise ValueError(f"has a turn without {keys[0]!r}")

    return of_turns([(first(turn, role), first(turn, content)) for turn in turns])


def _messages(record: Mapping[str, Any]) -> Pair:
    turns = record.get("messages") or record.get("turns") or ()
    return _of_keys(turns, ("role",), ("content",))


def _share_gpt(record: Mapping[str, Any]) -> Pair:
    return _of_keys(record["conversations"], ("from", "role"), ("value", "content"))


def _es_conv(record: Mapping[str, Any]) -> Pair:
    question, answer, _ = _of_keys(
        record["dialog"], ("speaker", "role"), ("content", "text", "utterance")
    )
    return question, answer, _text(record.get("problem_type")) or None


def _es_conv_hub(record: Mapping[str, Any]) -> Pair:
    return _es_conv(json.loads(record["text"]))


def _is_es_conv_hub(record: Mapping[str, Any]) -> bool:
    text = record.get("text")
    return set(record) == {"text"} and isinstance(text, str) and '"dialog"' in text


def _empathetic(record: Mapping[str, Any]) -> Pair:
    rows = record["utterances"]
    first = rows[0]["speaker_idx"]
    turns = [
        (
            "client" if row["speaker_idx"] == first else "counsellor",
            row["utterance"].replace("_comma_", ","),
        )
        for row in rows
    ]
    question, answer, _ = of_turns(turns)
    return question, answer, _text(rows[0].get("context")) or None


FORMS: tuple[Form, ...] = (
    Form("evenfill", _columns("question", "answer", "requested_topic"), lambda r: (
        _text(r["question"]), _text(r["answer"]), _text(r.get("topic")) or None)),
    Form("mentalchat-early", _columns("instruction", "topic", "response"), lambda r: (
        _text(r["instruction"]), _text(r["response"]), _text(r["topic"]) or None)),
    Form("instruction", _columns("instruction", "input", "output"), _instruction),
    Form("counselchat", lambda r: "answerText" in r and ("questionText" in r), _counsel_chat),
    Form("context-response", _columns("Context", "Response"), lambda r: (
        _text(r["Context"]), _text(r["Response"]), _text(r.get("topic")) or None)),
    Form("messages", lambda r: "messages" in r or "turns" in r, _messages),
    Form("sharegpt", _columns("conversations"), _share_gpt),
    Form("esconv", _columns("dialog"), _es_conv),
    Form("esconv-hub", _is_es_conv_hub, _es_conv_hub),
    Form("empathetic", _columns("utterances"), _empathetic),
    Form("question-answer", _columns("question", "answer"), lambda r: (
        _text(r["question"]), _text(r["answer"]), _text(r.get("topic")) or None)),
)  # fmt: skip
