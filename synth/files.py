"""Where a run's files lie: a folder of this machine, or one of an object store.

Whichever it is, a file is there whole or not at all, whatever dies while it is written.
"""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa

from synth.errors import StoreError

Fill = Callable[[BinaryIO], object]


class Folder(ABC):
    """A folder; `str` gives its path or URL.

    Every method raises OSError when the store does not do as it is told.
    """

    @abstractmethod
    def __truediv__(self, name: str) -> Folder:
        """A folder inside this one."""

    @abstractmethod
    def make(self) -> None:
        """Make the folder, and remove what a killed writer left half written.

        Raises:
            PermissionError: it may not be written to.
        """

    @abstractmethod
    def names(self) -> list[str]:
        """Names of the files and folders inside; none when the folder does not exist."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """A whole file."""

    @abstractmethod
    def source(self, name: str) -> pa.NativeFile:
        """A file that Arrow can read in pieces."""

    @abstractmethod
    def write_with(self, name: str, fill: Fill) -> None:
        """Replace a file with what `fill` writes; durable when this returns."""

    @abstractmethod
    def create(self, name: str, data: bytes) -> None:
        """Write a file that must not be there yet.

        Raises:
            FileExistsError: it is there; of several that try at once, one succeeds.
        """

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""

    def write(self, name: str, data: bytes) -> None:
        """Replace a file; durable when this returns."""
        self.write_with(name, lambda file: file.write(data))

    def move(self, name: str, to: Folder) -> None:
        """Put a file into another folder; a crash may leave it in both."""
        to.make()
        to.write(name, self.read(name))
        self.delete(name)


def open_folder(location: str) -> Folder:
    """The folder at a path or a URL such as `s3://bucket/runs/first`.

    Raises:
        StoreError: a URL of a kind that nothing here can read.
    """
    if "://" not in location:
        return LocalFolder(Path(location).expanduser().resolve())
    folder = ObjectFolder(location.rstrip("/"))
    try:
        _ = folder.opened
    except (ValueError, ImportError) as error:
        raise StoreError("out", f"{location!r} cannot be used ({error})", _KINDS) from error
    return folder


_PROBE = ".probe.tmp"
_KINDS = "Give a local folder, or a URL that fsspec knows, such as s3://bucket/folder"


@dataclass(frozen=True)
class LocalFolder(Folder):
    """A folder on a disk: files are written aside, made durable, then renamed."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> LocalFolder:
        return LocalFolder(self.path / name)

    def make(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise PermissionError(f"{self.path} is not writable")
        for leftover in self.path.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)

    def names(self) -> list[str]:
        try:
            return sorted(n for n in os.listdir(self.path) if not _is_temporary(n))
        except FileNotFoundError:
            return []

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def source(self, name: str) -> pa.NativeFile:
        return pa.memory_map(str(self.path / name))

    def write_with(self, name: str, fill: Fill) -> None:
        temporary = self.path / f".{name}.tmp"
        try:
            with open(temporary, "wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path / name)
        except OSError:
            temporary.unlink(missing_ok=True)  # a full disk needs the room
            raise
        self._sync()

    def create(self, name: str, data: bytes) -> None:
        with open(self.path / name, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._sync()

    def delete(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)
        self._sync()

    def _sync(self) -> None:
        """Make the names in the folder durable."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(".tmp")


@dataclass(frozen=True)
class ObjectFolder(Folder):
    """A prefix in an object store, through fsspec; credentials come from the environment."""

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> ObjectFolder:
        return ObjectFolder(f"{self.url}/{name}")

    @property
    def opened(self) -> tuple[Any, str]:
        """fsspec's file system, which it keeps for us, and the path inside."""
        return fsspec.core.url_to_fs(self.url, use_listings_cache=False)

    def make(self) -> None:
        """Only see whether it may be written to: a prefix is there with its first object."""
        self.write(_PROBE, b"")
        self.delete(_PROBE)

    def names(self) -> list[str]:
        with self._as_os_errors() as (fs, path), suppress(FileNotFoundError):
            found = fs.ls(path, detail=False, refresh=True)
            names = (entry.rstrip("/").rpartition("/")[2] for entry in found)
            return sorted(name for name in names if not _is_temporary(name))
        return []

    def read(self, name: str) -> bytes:
        with self._as_os_errors() as (fs, path):
            content: bytes = fs.cat_file(f"{path}/{name}")
            return content

    def source(self, name: str) -> pa.NativeFile:
        return pa.BufferReader(self.read(name))

    def write_with(self, name: str, fill: Fill) -> None:
        with tempfile.NamedTemporaryFile(prefix="evenfill-") as file:
            fill(file)  # type: ignore[arg-type]
            file.flush()
            with self._as_os_errors() as (fs, path):
                fs.put_file(file.name, f"{path}/{name}")

    def write(self, name: str, data: bytes) -> None:
        with self._as_os_errors() as (fs, path):
            fs.pipe_file(f"{path}/{name}", data)

    def create(self, name: str, data: bytes) -> None:
        with self._as_os_errors() as (fs, path):
            fs.pipe_file(f"{path}/{name}", data, mode="create")

    def delete(self, name: str) -> None:
        with self._as_os_errors() as (fs, path), suppress(FileNotFoundError):
            fs.rm_file(f"{path}/{name}")

    @contextmanager
    def _as_os_errors(self) -> Iterator[tuple[Any, str]]:
        """Each store's library has errors of its own, those of the network above all."""
        try:
            yield self.opened
        except OSError:
            raise
        except Exception as error:
            raise OSError(f"{self.url}: {type(error).__name__}: {error}") from error
