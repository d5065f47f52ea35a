"""The run folder: its parts, its lock, and the JSON files beside the segments.

One process writes to a folder at a time and holds its lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from synth.durable import write_durably
from synth.errors import StoreError
from synth.segments import segments

_LOCK_PATIENCE_S = 3.0  # the processes of a run that was just killed take a moment to go


@dataclass(frozen=True)
class RunFiles:
    """Paths inside a run folder."""

    root: Path

    @property
    def manifest(self) -> Path:
        return self.root / "run.json"

    @property
    def report(self) -> Path:
        return self.root / "report.json"

    @property
    def card(self) -> Path:
        return self.root / "README.md"

    @property
    def accepted(self) -> Path:
        return self.root / "accepted"

    @property
    def rejected(self) -> Path:
        return self.root / "rejected"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def lock(self) -> Path:
        return self.root / ".lock"


def run_files(out: str) -> RunFiles:
    """The run folder at `out`.

    Raises:
        StoreError: it is not a local path, or something else than a folder is there.
    """
    if "://" in out:
        raise StoreError("out", f"{out!r} is not a local path", "Give a folder of this machine")
    root = Path(out).expanduser().resolve()
    if root.exists() and not root.is_dir():
        raise StoreError("out", f"{root} is a file", "Give a folder")
    return RunFiles(root)


def prepare(files: RunFiles) -> None:
    """Make the folder and its parts.

    Raises:
        StoreError: no permission, or a folder full of something else.
    """
    try:
        if files.root.exists() and not files.manifest.exists():
            known = {"logs", ".lock", "accepted", "rejected", ".run.json.tmp"}
            if segments(files.accepted) or segments(files.rejected):
                raise StoreError(
                    str(files.manifest), "is gone, but there are segments", "Restore it from a copy"
                )
            foreign = sorted(
                entry.name for entry in files.root.iterdir() if entry.name not in known
            )
            if foreign:
                raise StoreError(
                    "out",
                    f"{files.root} is not a run folder; it holds {foreign[0]!r}",
                    "Give an empty or a new folder",
                )
        for folder in (files.root, files.accepted, files.rejected, files.logs):
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(f"{folder} is not writable")
    except OSError as error:
        raise StoreError(
            "out",
            f"{files.root} cannot be written ({error})",
            "Give a folder that you may write to",
        ) from error


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


class RunLock:
    """Held by the one process that writes to a run folder; the system frees it at its death."""

    def __init__(self, files: RunFiles, purpose: str):
        """Take the lock.

        Raises:
            StoreError: another process holds it; names that process.
        """
        self._file: IO[str] = open(files.lock, "a+", encoding="utf-8")  # noqa: SIM115 - held for life
        deadline = time.monotonic() + _LOCK_PATIENCE_S
        while not _try_lock(self._file):
            if time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            self._file.seek(0)
            holder = self._file.read().strip() or "another process"
            self._file.close()
            raise StoreError(
                "out",
                f"{files.root} is in use by {holder}",
                "Wait for that run, stop it, or give another folder",
            )
        self._file.truncate(0)
        started = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        self._file.write(
            f"{purpose}, process {os.getpid()} on {socket.gethostname()} since {started}"
        )
        self._file.flush()

    def release(self) -> None:
        """Free the folder for the next run."""
        self._file.close()


def in_use_by(files: RunFiles) -> str | None:
    """Who holds the lock of a run folder, or None when nobody does."""
    try:
        with open(files.lock, encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return file.read().strip() or "another process"
    except OSError:
        return None
    return None


def read_manifest(files: RunFiles) -> dict[str, Any] | None:
    """`run.json`, or None when the folder holds no run.

    Raises:
        StoreError: the file is not what a run writes.
    """
    return _read_json(files.manifest)


def read_report(files: RunFiles) -> dict[str, Any]:
    """`report.json`.

    Raises:
        StoreError: there is none, or it is not what a run writes.
    """
    report = _read_json(files.report)
    if report is None:
        raise StoreError(str(files.root), "holds no report.json", "Give the folder of a run")
    if not {"status", "topics", "tokens", "timing", "rates", "dedup"} <= report.keys():
        raise StoreError(str(files.report), "is no run's report", "Give the folder of a run")
    return report


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StoreError(
            str(path), f"cannot be read ({error})", "Restore it from a copy"
        ) from error
    if not isinstance(data, dict):
        raise StoreError(str(path), "is not a JSON object", "Restore it from a copy")
    return data


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Replace a JSON file durably."""
    write_durably(path, (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())
