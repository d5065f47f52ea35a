"""The forms of public datasets: how a record is recognised, and what of it is the pair."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from synth.sources.values import content_of, label_of, text_of, turns_of

UNKNOWN_LICENCE = "not known; ask whoever published it"
_TAG = re.compile(r"<[^>]{1,200}>")
_CLIENT = ("user", "client", "human", "seeker", "usr", "speaker", "patient")
_COUNSELLOR = ("assistant", "counselor", "counsellor", "gpt", "supporter", "sys", "listener",
               "agent", "therapist", "bot", "model")  # fmt: skip
_TEXTS = ("question", "answer")
_NEITHER = ("system", "developer", "tool")


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


def _plain(record: Mapping[str, Any], column: str) -> str:
    """Text without the mark-up that therapists' editors left."""
    text = text_of(record.get(column), column)
    if "<" in text:
        text = _TAG.sub("", re.sub(r"(?i)<(?:br|/p|/div|/li)[^>]{0,40}>", "\n", text))
    return html.unescape(text).strip()


def _label(record: Mapping[str, Any], column: str | None) -> str | None:
    return None if column is None else label_of(record.get(column), column)


def _has(*names: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda record: all(name in record for name in names)


def _flat(
    name: str, marks: Sequence[str], columns: Mapping[str, str], licence: str = UNKNOWN_LICENCE
) -> Form:
    """The form of a table: `marks` are the columns that it is known by."""

    def pair(record: Mapping[str, Any]) -> Pair:
        question, answer = (text_of(record[columns[part]], columns[part]) for part in _TEXTS)
        return Pair(question, answer, _label(record, columns.get("topic")))

    return Form(name, _has(*marks), pair, columns, licence)


def pair_of_columns(columns: Mapping[str, str]) -> Form:
    """The form of a table whose columns the user names."""
    return _flat("columns", list(columns.values()), columns)


def _counsel_chat(record: Mapping[str, Any]) -> Pair:
    topic = _label(record, "topic" if "topic" in record else "topics")
    title, text = _plain(record, "questionTitle"), _plain(record, "questionText")
    answer = _plain(record, "answerText")
    return Pair(text, answer, topic, title) if text else Pair(title, answer, topic)


def _instruction(record: Mapping[str, Any]) -> Pair:
    question, instruction, answer = (
        text_of(record[column], column) for column in ("input", "instruction", "output")
    )
    return Pair(question or instruction, answer, _label(record, "topic"))


def of_turns(turns: Sequence[tuple[str, str]]) -> Pair:
    """All that the client and the counsellor said, each in one text.

    Args:
        turns: of each its role and its text.

    Raises:
        ValueError: a role that is neither.
    """
    sides: dict[str, list[str]] = {"client": [], "counsellor": []}
    for role, text in turns:
        if role.lower() in _CLIENT:
            sides["client"].append(text)
        elif role.lower() in _COUNSELLOR:
            sides["counsellor"].append(text)
        elif role.lower() not in _NEITHER:
            raise ValueError(f"has a turn of {role!r}, who is neither client nor counsellor")
    client, counsellor = ("\n".join(filter(None, texts)) for texts in sides.values())
    return Pair(client, counsellor)


def _of_keys(
    record: Mapping[str, Any], column: str, role: Sequence[str], content: Sequence[str]
) -> Pair:
    """The pair of a dialogue whose turns have one of `role` and one of `content` as keys."""
    turns = turns_of(record[column], column)
    return of_turns(
        [
            (text_of(_first(turn, role), role[0]), content_of(_first(turn, content), content[0]))
            for turn in turns
        ]
    )


def _first(turn: Mapping[str, Any], keys: Sequence[str]) -> Any:
    for key in keys:
        if turn.get(key) is not None:
            return turn[key]
    if not any(key in turn for key in keys):
        raise ValueError(f"has a turn without {keys[0]!r}")
    return None


def _messages(record: Mapping[str, Any]) -> Pair:
    column = "messages" if record.get("messages") is not None else "turns"
    return _of_keys(record, column, ("role",), ("content",))


def _share_gpt(record: Mapping[str, Any]) -> Pair:
    return _of_keys(record, "conversations", ("from", "role"), ("value", "content"))


def _es_conv(record: Mapping[str, Any]) -> Pair:
    pair = _of_keys(record, "dialog", ("speaker", "role"), ("content", "text", "utterance"))
    return pair._replace(topic=_label(record, "problem_type"))


def _es_conv_hub(record: Mapping[str, Any]) -> Pair:
    try:
        inner = json.loads(text_of(record["text"], "text"))
    except ValueError as error:
        raise ValueError(f"has a 'text' that is no JSON ({error})") from error
    if not isinstance(inner, Mapping):
        raise ValueError(f"has a {type(inner).__name__} in 'text', where a dialogue should be")
    return _es_conv(inner)


def _is_es_conv_hub(record: Mapping[str, Any]) -> bool:
    text = record.get("text")
    return set(record) == {"text"} and isinstance(text, str) and '"dialog"' in text


def _empathetic(record: Mapping[str, Any]) -> Pair:
    rows = turns_of(record["utterances"], "utterances")
    if not rows:
        raise ValueError("has no utterances")
    first = rows[0]["speaker_idx"]
    turns = [
        (
            "client" if row["speaker_idx"] == first else "counsellor",
            text_of(row["utterance"], "utterance").replace("_comma_", ","),
        )
        for row in rows
    ]
    return of_turns(turns)._replace(topic=_label(rows[0], "context"))


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
