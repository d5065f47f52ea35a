"""The forms of public datasets: how a record is recognised, and what of it is the pair."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

UNKNOWN_LICENCE = "not known; ask whoever published it"
_TAG = re.compile(r"<[^>]{1,200}>")
_CLIENT = ("user", "client", "human", "seeker", "usr", "speaker", "patient")
_COUNSELLOR = ("assistant", "counselor", "counsellor", "gpt", "supporter", "sys", "listener",
               "agent", "therapist", "bot", "model")  # fmt: skip


class Pair(NamedTuple):
    """What of a record is the pair; see `Row` for the fields."""

    question: str
    answer: str
    topic: str | None = None
    title: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """A dataset's form.

    Attributes:
        fits: whether a record looks like it.
        pair: what of a record is the pair; ValueError when it holds none.
        columns: where a flat record has its parts; empty for dialogues.
        licence: what is known of the licence of datasets in this form.
    """

    name: str
    fits: Callable[[Mapping[str, Any]], bool]
    pair: Callable[[Mapping[str, Any]], Pair]
    columns: Mapping[str, str] = field(default_factory=dict)
    licence: str = UNKNOWN_LICENCE


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _plain(value: Any) -> str:
    """Text without the mark-up that therapists' editors left."""
    text = _text(value)
    if "<" in text:
        text = _TAG.sub("", re.sub(r"(?i)<(?:br|/p|/div|/li)[^>]{0,40}>", "\n", text))
    return html.unescape(text).strip()


def _has(*names: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda record: all(name in record for name in names)


def _flat(
    name: str, marks: Sequence[str], columns: Mapping[str, str], licence: str = UNKNOWN_LICENCE
) -> Form:
    """The form of a table: `marks` are the columns that it is known by."""

    def pair(record: Mapping[str, Any]) -> Pair:
        parts = {part: _text(record.get(column)) for part, column in columns.items()}
        for part in ("question", "answer"):
            if columns[part] not in record:
                raise KeyError(columns[part])
        return Pair(parts["question"], parts["answer"], parts.get("topic") or None)

    return Form(name, _has(*marks), pair, columns, licence)


def pair_of_columns(columns: Mapping[str, str]) -> Form:
    """The form of a table whose columns the user names."""
    return _flat("columns", list(columns.values()), columns)


def _counsel_chat(record: Mapping[str, Any]) -> Pair:
    topic = record.get("topic", record.get("topics"))
    title, text = _plain(record.get("questionTitle")), _plain(record.get("questionText"))
    return Pair(text or title, _plain(record.get("answerText")), _text(topic) or None, title)


def _instruction(record: Mapping[str, Any]) -> Pair:
    question = _text(record["input"]) or _text(record["instruction"])
    return Pair(question, _text(record["output"]), _text(record.get("topic")) or None)


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
    return Pair("\n".join(sides["client"]), "\n".join(sides["counsellor"]))


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
    pair = _of_keys(record["dialog"], ("speaker", "role"), ("content", "text", "utterance"))
    return pair._replace(topic=_text(record.get("problem_type")) or None)


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
    return of_turns(turns)._replace(topic=_text(rows[0].get("context")) or None)


_QUESTION_ANSWER = {"question": "question", "answer": "answer", "topic": "topic"}
_COUNSEL_CHAT_COLUMNS = {"question": "questionText", "answer": "answerText", "topic": "topic"}
_NON_COMMERCIAL = "CC BY-NC 4.0: not for commercial use"

FORMS: tuple[Form, ...] = (
    _flat("evenfill", ("question", "answer", "requested_topic"), _QUESTION_ANSWER,
          "that of its run; see its README.md"),
    _flat("mentalchat-early", ("instruction", "topic", "response"),
          {"question": "instruction", "answer": "response", "topic": "topic"}, "MIT"),
    Form("instruction", _has("instruction", "input", "output"), _instruction,
         {"question": "input", "answer": "output"}),
    Form("counselchat", _has("questionText", "answerText"), _counsel_chat,
         _COUNSEL_CHAT_COLUMNS, "MIT"),
    _flat("context-response", ("Context", "Response"),
          {"question": "Context", "answer": "Response", "topic": "topic"}),
    Form("messages", lambda r: "messages" in r or "turns" in r, _messages),
    Form("sharegpt", _has("conversations"), _share_gpt),
    Form("esconv", _has("dialog"), _es_conv, licence=_NON_COMMERCIAL),
    Form("esconv-hub", _is_es_conv_hub, _es_conv_hub, licence=_NON_COMMERCIAL),
    Form("empathetic", _has("utterances"), _empathetic, licence=_NON_COMMERCIAL),
    _flat("question-answer", ("question", "answer"), _QUESTION_ANSWER),
)  # fmt: skip
