"""Records out of files: CSV, JSON lines, JSON, Parquet, `datasets` folders, transcripts."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from synth.sources.rows import Raw, SourceError, Unreadable

Records = Iterator[Raw | Unreadable]

_SNIFFED = 4096  # bytes that a file is judged by
_BATCH = 1024
_TURN = re.compile(
    r"(?:^|\n)(user|agent|client|counsel+or|seeker|supporter|therapist):[ \t]*", re.I
)
_EMPATHETIC = "conv_id,utterance_idx,context,prompt,speaker_idx,utterance"
csv.field_size_limit(1 << 27)


def read_records(path: Path) -> Records:
    """The records of a file or folder, in their order.

    Raises:
        SourceError: it does not exist, is empty, or is nothing that can be read.
    """
    if not path.exists():
        raise SourceError(
            str(path), "there is no such file or folder", "Give the path of a dataset"
        )
    return _read_folder(path) if path.is_dir() else _read_file(path)


def _read_folder(folder: Path) -> Records:
    if (folder / "state.json").exists() or (folder / "dataset_dict.json").exists():
        return _read_saved(folder)
    if (folder / "accepted").is_dir() and (folder / "run.json").exists():
        folder = folder / "accepted"
    for ending in ("*.parquet", "*.jsonl", "*.csv", "*.json", "*.txt"):
        paths = sorted(folder.glob(ending))
        if paths:
            return chain.from_iterable(_read_file(path) for path in paths)
    raise SourceError(
        str(folder), "holds no Parquet, JSON, CSV or text file", "Give a dataset's file or folder"
    )


def _read_saved(folder: Path) -> Records:
    from datasets import Dataset, concatenate_datasets, load_from_disk

    loaded = load_from_disk(str(folder))
    data = loaded if isinstance(loaded, Dataset) else concatenate_datasets(list(loaded.values()))
    for number, record in enumerate(data):
        yield Raw(f"{folder}, row {number}", record)


def _read_file(path: Path) -> Records:
    with open(path, "rb") as file:
        head = file.read(_SNIFFED)
    if not head.strip():
        raise SourceError(str(path), "is empty", "Give a file with rows")
    if head.startswith(b"PAR1"):
        return _read_parquet(path)
    return _reader_of_text(path, _decoded(path, head))(path)


def _decoded(path: Path, head: bytes) -> str:
    if b"\0" in head:
        raise SourceError(
            str(path), "is a binary file", "Give CSV, JSON, JSON lines, Parquet or a transcript"
        )
    try:
        return head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.end < len(head) - 3:
            raise _not_utf8(path, error) from error
        return head[: error.start].decode("utf-8-sig")


def _not_utf8(path: Path, error: UnicodeDecodeError) -> SourceError:
    what = f"is not UTF-8 (byte {error.object[error.start]:#x} at {error.start})"
    return SourceError(str(path), what, "Convert it, for instance with `iconv -t utf-8`")


def _reader_of_text(path: Path, head: str) -> Callable[[Path], Records]:
    start = head.lstrip()
    if start.startswith(_EMPATHETIC):
        return _read_empathetic
    if start.startswith("["):
        return _read_json
    if start.startswith("{"):
        first = start.splitlines()[0]
        return _read_json_lines if path.suffix == ".jsonl" or _is_json(first) else _read_json
    if _TURN.match(start):
        return _read_transcript
    return _read_csv


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _lines(path: Path) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            yield from file
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from error


def _read_json_lines(path: Path) -> Records:
    for number, line in enumerate(_lines(path), start=1):
        place = f"{path}:{number}"
        if not line.strip():
            continue
        try:
            yield Raw(place, json.loads(line))
        except ValueError as error:
            yield Unreadable(place, f"is no JSON ({error})")


def _read_json(path: Path) -> Records:
    try:
        data = json.loads("".join(_lines(path)))
    except ValueError as error:
        raise SourceError(str(path), f"is no JSON ({error})", "Mend it") from error
    if isinstance(data, dict):
        lists = [value for value in data.values() if isinstance(value, list)]
        data = lists[0] if len(lists) == 1 and "dialog" not in data else [data]
    if data and all(isinstance(turn, dict) and "role" in turn for turn in data):
        data = [{"turns": data}]  # one dialogue a file, as SMILECHAT has it
    for number, record in enumerate(data):
        yield Raw(f"{path}, item {number}", record)


def _read_csv(path: Path) -> Records:
    reader = csv.reader(_lines(path), strict=True)
    try:
        header = next(reader)
        if len(header) < 2:
            raise SourceError(
                str(path), f"has a single column, {header[0][:40]!r}", "Give a table with a header"
            )
        for values in reader:
            place = f"{path}:{reader.line_num}"
            if len(values) == len(header):
                yield Raw(place, dict(zip(header, values, strict=True)))
            elif values:
                yield Unreadable(place, f"has {len(values)} cells under {len(header)} columns")
    except csv.Error as error:
        where = f"{path}:{reader.line_num}"
        raise SourceError(where, f"is no CSV ({error})", "Mend the quoting") from error


def _read_parquet(path: Path) -> Records:
    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=_BATCH):
                for record in batch.to_pylist():
                    yield Raw(f"{path}, row {number}", record)
                    number += 1
    except (OSError, pa.ArrowException) as error:
        raise SourceError(str(path), f"is no whole Parquet ({error})", "Fetch it again") from error


def _read_transcript(path: Path) -> Records:
    """One dialogue a file: `user:` and `agent:` blocks."""
    parts = _TURN.split("".join(_lines(path)))[1:]
    turns = [
        {"role": role.lower(), "content": text.strip()}
        for role, text in zip(parts[::2], parts[1::2], strict=True)
    ]
    yield Raw(str(path), {"turns": turns})


def _read_empathetic(path: Path) -> Records:
    """EmpatheticDialogues: split on raw commas, one row an utterance, grouped by conversation."""
    lines = _lines(path)
    header = next(lines).strip().split(",")
    dialogue: list[dict[str, Any]] = []
    place = ""
    for number, line in enumerate(lines, start=2):
        cells = line.rstrip("\r\n").split(",")
        if len(cells) < len(header) - 2:
            yield Unreadable(f"{path}:{number}", f"has {len(cells)} of {len(header)} cells")
            continue
        row = dict(zip(header, cells, strict=False))
        if dialogue and dialogue[-1]["conv_id"] != row["conv_id"]:
            yield Raw(place, {"utterances": dialogue})
            dialogue = []
        if not dialogue:
            place = f"{path}:{number}"
        dialogue.append(row)
    if dialogue:
        yield Raw(place, {"utterances": dialogue})
