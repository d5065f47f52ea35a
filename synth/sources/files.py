"""Records out of files and folders: what each path holds, and who reads that."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from synth.segments import parse_name
from synth.sources import json_files
from synth.sources.arrow_files import read_parquet, read_run, read_saved
from synth.sources.rows import SourceError
from synth.sources.tables import EMPATHETIC, read_csv, read_empathetic
from synth.sources.text_files import Records, read_opening, read_transcript

_KINDS = {
    ".parquet": "Parquet",
    ".jsonl": "JSON lines",
    ".ndjson": "JSON lines",
    ".csv": "CSV",
    ".tsv": "CSV",
    ".json": "JSON",
    ".txt": "text",
}
_SAVED = ("state.json", "dataset_dict.json")
_ABOUT = ("readme", "license", "licence", "notice", "dataset_info", "dataset_infos")
_HIDDEN = (".", "_")  # what writers of many parts put beside them


def read_records(path: Path) -> Records:
    """The records of a file or folder, in their order.

    Raises:
        SourceError: it does not exist, is empty, or is nothing that can be read.
    """
    if path.is_dir():
        return _read_folder(path)
    if path.is_file():
        return _read_file(path)
    if path.exists():
        raise SourceError(str(path), "is neither a file nor a folder", "Save it as a file")
    raise SourceError(str(path), "there is no such file or folder", "Give the path of a dataset")


def _read_folder(folder: Path) -> Records:
    if any((folder / name).exists() for name in _SAVED):
        return read_saved(folder)
    if (folder / "accepted").is_dir() and (folder / "run.json").exists():
        return read_run(folder / "accepted")
    paths = sorted(path for path in folder.iterdir() if _is_data(path))
    if not paths:
        raise SourceError(
            str(folder),
            "holds no Parquet, JSON, CSV or text file",
            "Give a dataset's file or folder",
        )
    if any(parse_name(path.name) for path in paths):
        return read_run(folder)
    _check_one_kind(folder, paths)
    return chain.from_iterable(read_records(path) for path in paths)


def _is_data(path: Path) -> bool:
    return (
        path.suffix.lower() in _KINDS
        and not path.name.startswith(_HIDDEN)
        and path.stem.lower() not in _ABOUT
    )


def _check_one_kind(folder: Path, paths: Iterable[Path]) -> None:
    found: dict[str, str] = {}
    for path in paths:
        found.setdefault(_KINDS[path.suffix.lower()], path.name)
    if len(found) > 1:
        kinds = ", ".join(f"{kind} ({name})" for kind, name in found.items())
        raise SourceError(
            str(folder), f"holds files of several kinds: {kinds}", "Give one of them by its path"
        )


def _read_file(path: Path) -> Records:
    opening = read_opening(path)
    if opening.is_parquet:
        return read_parquet(path)
    if path.suffix.lower() in json_files.LINES or opening.text.startswith(("[", "{")):
        return json_files.read_json(path, opening)
    if opening.text.startswith(EMPATHETIC):
        return read_empathetic(path)
    return read_transcript(path) if opening.is_transcript else read_csv(path)
