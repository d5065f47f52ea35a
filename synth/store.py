"""The run folder: its parts, and the JSON files beside the segments."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synth.errors import StoreError
from synth.files import Folder, LocalFolder, open_folder
from synth.segments import segments

MANIFEST = "run.json"
REPORT = "report.json"
CARD = "README.md"
LOCK = ".lock"
_MANIFEST_KEYS = frozenset(
    {"run_id", "epoch", "status", "created_at", "updated_at", "holder", "timing", "fingerprint"}
)
_REPORT_KEYS = frozenset({"status", "topics", "tokens", "timing", "rates", "dedup"})


@dataclass(frozen=True)
class RunFiles:
    """The folders of a run."""

    root: Folder

    @property
    def accepted(self) -> Folder:
        return self.root / "accepted"

    @property
    def rejected(self) -> Folder:
        return self.root / "rejected"

    @property
    def epochs(self) -> Folder:
        """The claims of the run's starts."""
        return self.root / "epochs"

    @property
    def strays(self) -> Folder:
        """Segments that came too late to count."""
        return self.root / "strays"

    @property
    def review(self) -> Folder:
        """Verdicts of reviewers."""
        return self.root / "review"

    @property
    def events(self) -> Folder:
        """What happened when, as JSON lines."""
        return self.root / "events"

    @property
    def logs(self) -> Path | None:
        """Where replicas log; None in an object store, where Ray's own logs have to do."""
        return self.root.path / "logs" if isinstance(self.root, LocalFolder) else None


def run_files(out: str) -> RunFiles:
    """The run folder at a path or a URL.

    Raises:
        StoreError: a URL that nothing here can read, or something else than a folder is there.
    """
    root = open_folder(out)
    if isinstance(root, LocalFolder) and root.path.exists() and not root.path.is_dir():
        raise StoreError("out", f"{root} is a file", "Give a folder")
    return RunFiles(root)


def prepare(files: RunFiles) -> None:
    """Make the folder and its parts.

    Raises:
        StoreError: no permission, or a folder full of something else.
    """
    try:
        held = set(files.root.names())
        if held and MANIFEST not in held:
            _check_not_foreign(files, held)
        for folder in (files.root, files.accepted, files.rejected, files.epochs, files.events):
            folder.make()
        if files.logs:
            files.logs.mkdir(exist_ok=True)
    except OSError as error:
        raise StoreError(
            "out",
            f"{files.root} cannot be written ({error})",
            "Give a folder that you may write to",
        ) from error


def _check_not_foreign(files: RunFiles, held: set[str]) -> None:
    if segments(files.accepted) or segments(files.rejected):
        raise StoreError(
            f"{files.root}/{MANIFEST}", "is gone, but there are segments", "Restore it from a copy"
        )
    foreign = sorted(held - {"logs", LOCK, "accepted", "rejected", "epochs", "events", "review"})
    if foreign:
        raise StoreError(
            "out",
            f"{files.root} is not a run folder; it holds {foreign[0]!r}",
            "Give an empty or a new folder",
        )


def read_manifest(files: RunFiles) -> dict[str, Any] | None:
    """`run.json`, or None when the folder holds no run.

    Raises:
        StoreError: the file is not what a run writes.
    """
    return _with_keys(files, MANIFEST, _MANIFEST_KEYS)


def read_report(files: RunFiles) -> dict[str, Any]:
    """`report.json`.

    Raises:
        StoreError: there is none, or it is not what a run writes.
    """
    report = _with_keys(files, REPORT, _REPORT_KEYS)
    if report is None:
        raise StoreError(str(files.root), f"holds no {REPORT}", "Give the folder of a run")
    return report


def _with_keys(files: RunFiles, name: str, keys: frozenset[str]) -> dict[str, Any] | None:
    data = read_json(files.root, name)
    if data is not None and (missing := sorted(keys - data.keys())):
        what = f"is no run's {name}: it has no {missing[0]!r}"
        raise StoreError(f"{files.root}/{name}", what, "Give the folder of a run")
    return data


def read_json(folder: Folder, name: str) -> dict[str, Any] | None:
    """A JSON object from a file, or None when there is no such file.

    Raises:
        StoreError: it cannot be read, or is something else.
    """
    where = f"{folder}/{name}"
    try:
        data = json.loads(folder.read(name))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StoreError(where, f"cannot be read ({error})", "Restore it from a copy") from error
    if not isinstance(data, dict):
        raise StoreError(where, "is not a JSON object", "Restore it from a copy")
    return data


def write_json(folder: Folder, name: str, data: Mapping[str, Any]) -> None:
    """Replace a JSON file durably."""
    folder.write(name, (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())
