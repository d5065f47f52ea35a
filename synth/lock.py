"""Keeps a second run out of a folder while the first lives.

On a local disk that is a lock that the system frees when its holder dies. An object store has
no locks: there a run counts as alive while its `run.json` keeps changing. No clock is compared
with another machine's.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from synth.errors import StoreError
from synth.files import LocalFolder
from synth.report import Status
from synth.store import LOCK, MANIFEST, RunFiles, read_manifest

IN_USE = "Wait for that run, stop it, or give another folder"
_PATIENCE_S = 3.0  # the processes of a run that was just killed take a moment to go
_SILENCE_S = 16.0  # a live run refreshes run.json every five seconds
_LOOK_S = 1.0


def introduce(purpose: str) -> str:
    """This process, in words for whoever it keeps out."""
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{purpose}, process {os.getpid()} on {socket.gethostname()} since {since}"


class RunLock:
    """Held by the one process that writes to a run folder, until its death.

    Args:
        files: the run folder, prepared.
        purpose: what this process does, for others to read.
        sleep: waits some seconds.

    Raises:
        StoreError: another process holds the folder; names it.
    """

    def __init__(self, files: RunFiles, purpose: str, sleep: Callable[[float], None] = time.sleep):
        self._file: IO[str] | None = None
        if isinstance(files.root, LocalFolder):
            self._file = _locked(files.root.path / LOCK, purpose, sleep)
        else:
            _wait_for_silence(files, sleep)

    def release(self) -> None:
        """Free the folder for the next run."""
        if self._file is not None:
            self._file.close()


def _locked(path: Path, purpose: str, sleep: Callable[[float], None]) -> IO[str]:
    file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - held for life
    waited = 0.0
    while not _try_lock(file):
        if waited < _PATIENCE_S:
            sleep(0.1)
            waited += 0.1
            continue
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise StoreError("out", f"{path.parent} is in use by {holder}", IN_USE)
    file.truncate(0)
    file.write(introduce(purpose))
    file.flush()
    return file


def _try_lock(file: IO[str], kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _wait_for_silence(files: RunFiles, sleep: Callable[[float], None]) -> None:
    manifest = read_manifest(files)
    if manifest is None or manifest["status"] != Status.RUNNING:
        return
    before = files.root.read(MANIFEST)
    for _ in range(round(_SILENCE_S / _LOOK_S)):
        sleep(_LOOK_S)
        if files.root.read(MANIFEST) != before:
            holder = manifest["holder"]
            raise StoreError("out", f"{files.root} is in use by {holder}", IN_USE)


def in_use_by(files: RunFiles) -> str | None:
    """Who writes to a run folder, or None when nobody does.

    In an object store this is what `run.json` says, if it was refreshed within the last
    seconds by this machine's clock.
    """
    if not isinstance(files.root, LocalFolder):
        return _recently_alive(files)
    try:
        with open(files.root.path / LOCK, encoding="utf-8") as file:
            if _try_lock(file, fcntl.LOCK_SH):
                return None
            return file.read().strip() or "another process"
    except OSError:
        return None


def _recently_alive(files: RunFiles) -> str | None:
    manifest = read_manifest(files)
    if manifest is None or manifest["status"] != Status.RUNNING:
        return None
    age = datetime.now(UTC) - datetime.fromisoformat(manifest["updated_at"])
    return str(manifest["holder"]) if age.total_seconds() < _SILENCE_S else None
