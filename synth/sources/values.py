"""Values of a record: texts, labels, turns; whatever else stands there is a ValueError."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Number
from typing import Any

_ESCAPED_BYTES = range(0xDC80, 0xDD00)  # where `surrogateescape` puts bytes that are not UTF-8


def text_of(value: Any, name: str) -> str:
    """A text or number as stripped text; nothing for None and NaN.

    Args:
        value: of the field.
        name: of the field, for the message.

    Raises:
        ValueError: it is neither.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, Number) and not isinstance(value, bool):
        return "" if value != value else str(value)  # only NaN differs
    raise ValueError(f"has a {type(value).__name__} in {name!r}, where text should be")


def content_of(value: Any, name: str) -> str:
    """What a turn says: text, or the text parts of a multi-part content, joined by line ends.

    Images and other parts without text are passed over.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(value, list):
        return text_of(value, name)
    parts = [part.get("text") if isinstance(part, Mapping) else part for part in value]
    return "\n".join(text for text in (text_of(part, name) for part in parts) if text)


def label_of(value: Any, name: str) -> str | None:
    """A label as the dataset ships it, several of them joined by commas; None when there is none.

    Raises:
        ValueError: it is no text.
    """
    labels = value if isinstance(value, list) else [value]
    return ",".join(filter(None, (text_of(label, name) for label in labels))) or None


def turns_of(value: Any, name: str) -> Sequence[Mapping[str, Any]]:
    """The turns of a dialogue: a list of them, or columns of equal length.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, Mapping):
        return _zipped(value, name)
    if not isinstance(value, list):
        raise ValueError(f"has a {type(value).__name__} in {name!r}, where turns should be")
    for turn in value:
        if not isinstance(turn, Mapping):
            raise ValueError(f"has a {type(turn).__name__} in {name!r}, where a turn should be")
    return value


def _zipped(columns: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Turns out of `{"role": [...], "content": [...]}`, as the `Sequence` of `datasets` has it."""
    for key, column in columns.items():
        if not isinstance(column, list):
            raise ValueError(
                f"has a {type(column).__name__} in {f'{name}.{key}'!r}, where a list should be"
            )
    if len({len(column) for column in columns.values()}) > 1:
        raise ValueError(f"has columns of unequal length in {name!r}")
    return [dict(zip(columns, turn, strict=True)) for turn in zip(*columns.values(), strict=True)]


def check_encodes(value: Any) -> None:
    """See that every text in a record can be written as UTF-8.

    Raises:
        ValueError: one holds half a surrogate pair, or a byte that was not UTF-8.
    """
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, dict):
        for key, part in value.items():
            _check_text(key)
            check_encodes(part)
    elif isinstance(value, list):
        for part in value:
            if isinstance(part, str | dict | list):
                check_encodes(part)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        if code in _ESCAPED_BYTES:
            what = f"is not UTF-8 (byte {code - 0xDC00:#x}); `iconv -t utf-8` converts a file"
        else:
            what = f"holds half a surrogate pair (\\u{code:04x}), which is no character"
        raise ValueError(what) from error
