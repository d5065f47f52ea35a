"""Files that a crash cannot tear: written aside, made durable, then renamed."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


def write_durably(path: Path, data: bytes) -> None:
    """Replace `path` with `data` so that a crash leaves the old file or the whole new one."""
    write_durably_with(path, lambda file: file.write(data))


def write_durably_with(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """The same for a file that `fill` writes piece by piece."""
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as file:
        fill(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files of a writer that was killed."""
    for path in folder.glob(".*.tmp"):
        with suppress(FileNotFoundError):
            path.unlink()
