"""JSON: one record a line, an array of them, or one document."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

from synth.sources.forms import FORMS
from synth.sources.rows import Raw, SourceError, Unreadable
from synth.sources.text_files import Opening, Records, text_lines, whole_text

LINES = (".jsonl", ".ndjson")
_STREAMED = 32 * 1024 * 1024  # bytes from which an array is read item by item, if ijson is there
_TOO_DEEP = "is nested too deeply"


def read_json(path: Path, opening: Opening) -> Records:
    """The records of a JSON file, in whichever way it holds them.

    An array is streamed where it is large and `ijson` is installed.

    Raises:
        SourceError: it is no JSON, or too large to be held in memory.
    """
    if path.suffix.lower() in LINES or (opening.text.startswith("{") and _holds_lines(path)):
        return _read_lines(path)
    return _read_array(path) if opening.text.startswith("[") else _read_document(path)


def _holds_lines(path: Path) -> bool:
    lines = (line for line in text_lines(path) if line.strip())
    first, second = next(lines, ""), next(lines, None)
    if second is None:
        return False
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return True


def _read_lines(path: Path) -> Records:
    for number, line in enumerate(text_lines(path), start=1):
        place = f"{path}:{number}"
        if not line.strip():
            continue
        try:
            yield Raw(place, json.loads(line))
        except ValueError as error:
            yield Unreadable(place, f"is no JSON ({error})")
        except RecursionError:
            yield Unreadable(place, _TOO_DEEP)


def _read_array(path: Path) -> Records:
    if path.stat().st_size <= _STREAMED or find_spec("ijson") is None:
        return _read_document(path)
    items = _streamed(path)
    first = next(items, None)
    if first is not None and _is_turn(first.record):
        return _read_document(path)
    return chain([] if first is None else [first], items)


def _streamed(path: Path) -> Iterator[Raw]:
    # Its other backends write "?" for half a surrogate pair.
    ijson = import_module("ijson.backends.python")
    number = 0
    with open(path, "rb") as file:
        if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            file.seek(0)
        try:
            for record in ijson.items(file, "item", use_float=True):
                yield Raw(f"{path}, item {number}", record)
                number += 1
        except (ValueError, import_module("ijson").JSONError) as error:
            where = f"{path}, item {number}"
            raise SourceError(where, f"is no JSON ({error})", "Mend it") from error


def _read_document(path: Path) -> Records:
    try:
        data = json.loads(whole_text(path))
    except ValueError as error:
        raise SourceError(str(path), f"is no JSON ({error})", "Mend it") from error
    except RecursionError as error:
        raise SourceError(str(path), _TOO_DEEP, "Give a list of records") from error
    for number, record in enumerate(_records_in(data)):
        yield Raw(f"{path}, item {number}", record)


def _records_in(data: Any) -> list[Any]:
    """The records of a document: itself, its items, or those of the one list that it has."""
    if isinstance(data, Mapping):
        if any(form.fits(data) for form in FORMS):
            return [data]
        lists = [value for value in data.values() if isinstance(value, list)]
        data = lists[0] if len(lists) == 1 else [data]
    if data and all(_is_turn(record) for record in data):
        return [{"turns": data}]  # one dialogue a file, as SMILECHAT has it
    return list(data)


def _is_turn(record: Any) -> bool:
    return isinstance(record, Mapping) and "role" in record
