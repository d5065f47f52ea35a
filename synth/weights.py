"""Model folders in an object store, copied to each machine once.

A copy's name holds a digest of the listing that it was made from: when a file of the folder
changes, its size or its tag does, and the next start makes another copy. The weights that a
running engine has loaded stay where they are.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from synth.errors import ModelError
from synth.files import ObjectFolder
from synth.once import made_once

MARKERS = ("config.json", "modules.json")  # one of them is in every folder of a model
_AT_ONCE = 8  # files copied at the same time
_GIB = 2**30
_WEB = ("http://", "https://")

# What stores say of a file besides its size, the best first: S3, Google, Azure, the hub, others.
_TAGS = ("ETag", "etag", "md5Hash", "generation", "blob_id", "LastModified", "last_modified",
         "mtime", "created")  # fmt: skip


def is_url(name: str) -> bool:
    """Whether a model's name is a place in an object store."""
    return "://" in name


@dataclass(frozen=True)
class StoredFile:
    """A file of a model folder: its path in the store, its size in bytes, and its tag there."""

    path: str
    size: int
    tag: str

    def is_at(self, path: Path) -> bool:
        """Whether a local copy has its size."""
        return path.is_file() and path.stat().st_size == self.size


@dataclass(frozen=True)
class StoredModel:
    """A model folder in an object store, as it is listed now.

    Attributes:
        url: of the folder.
        files: path inside the folder -> file.
    """

    url: str
    files: Mapping[str, StoredFile]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())

    @property
    def version(self) -> str:
        """12 hex digits that change when a file does."""
        listing = [[name, file.size, file.tag] for name, file in sorted(self.files.items())]
        return hashlib.sha256(json.dumps([self.url, listing]).encode()).hexdigest()[:12]

    @property
    def copy_name(self) -> str:
        """The name of the folder that holds its copy."""
        last = re.sub(r"[^\w.-]", "-", self.url.rpartition("/")[2])
        return f"{last}-{self.version}"

    def is_whole(self, folder: Path) -> bool:
        """Whether a folder holds all its files in their sizes."""
        return all(file.is_at(folder / name) for name, file in self.files.items())


def list_model(field: str, url: str) -> StoredModel:
    """Look at a model folder without copying it.

    Args:
        field: the config key that names it.
        url: of the folder.

    Raises:
        ModelError: it cannot be read, is not there, or holds no model.
    """
    if url.startswith(_WEB):
        raise ModelError(
            field,
            f"{url!r} is a web address",
            "Give a Hugging Face id such as 'org/name', or a folder of an object store such as "
            "s3://bucket/models/name",
        )
    url = url.rstrip("/")
    with _told(field, url):
        system, root = ObjectFolder(url).opened
        listed = system.find(root, detail=True)
    root = root.rstrip("/")
    if root in listed:
        raise ModelError(field, f"{url!r} is a file", "Give the folder of a model")
    files = {
        path.removeprefix(f"{root}/"): StoredFile(path, int(info["size"]), _tag(info))
        for path, info in listed.items()
        if info["type"] == "file" and _is_wanted(path.removeprefix(f"{root}/"))
    }
    if not files:
        raise ModelError(field, f"there is nothing at {url!r}", "Check the address")
    if not any(marker in files for marker in MARKERS):
        raise ModelError(
            field, f"the folder {url!r} holds no config.json", "Give the folder of a model"
        )
    return StoredModel(url, files)


def fetch_model(field: str, url: str, cache: Path) -> Path:
    """The local copy of a model folder, made on first use; see `made_once`.

    Args:
        field: the config key that names it.
        url: of the folder.
        cache: folder of such copies.

    Raises:
        ModelError: as `list_model`; or it cannot be copied, as when the disk is full.
    """
    model = list_model(field, url)
    make = partial(_copy, field, model)
    return made_once(cache / model.copy_name, model.is_whole, make)


def _tag(info: Mapping[str, Any]) -> str:
    return next((str(info[name]) for name in _TAGS if info.get(name)), "")


def _is_wanted(name: str) -> bool:
    """No hidden file, no marker of a folder, nothing that would lie outside of the copy."""
    return not name.endswith("/") and not any(
        part.startswith(".") for part in PurePosixPath(name).parts
    )


def _copy(field: str, model: StoredModel, into: Path) -> None:
    """Copy what is not there yet; a file appears under its name when it is whole."""
    todo = {name: file for name, file in model.files.items() if not file.is_at(into / name)}
    needed = sum(file.size for file in todo.values())
    free = shutil.disk_usage(into).free
    if needed > free:
        raise _disk_is_full(into, f"{free / _GIB:.1f} GiB free, but {_told_size(model)}")
    with _told(field, model.url):
        system, _ = ObjectFolder(model.url).opened
        pool = ThreadPoolExecutor(_AT_ONCE)
        try:
            copies = [pool.submit(_copy_file, system, todo[name], into / name) for name in todo]
            for copy in copies:
                copy.result()
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise _disk_is_full(into, f"no room left: {_told_size(model)}") from error
            raise
        finally:
            pool.shutdown(cancel_futures=True)
    if list_model(field, model.url).version != model.version:
        raise ModelError(field, f"{model.url!r} changed while it was copied", "Start again")


def _copy_file(system: Any, file: StoredFile, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    part = to.with_name(f".{to.name}.part")
    try:
        system.get_file(file.path, str(part))
        if not file.is_at(part):
            raise OSError(f"{file.path} came with {part.stat().st_size} of {file.size} bytes")
        part.replace(to)
    finally:
        part.unlink(missing_ok=True)  # a full disk needs the room


def _told_size(model: StoredModel) -> str:
    return f"{model.url!r} takes {model.size / _GIB:.1f} GiB"


def _disk_is_full(into: Path, what: str) -> ModelError:
    remedy = "Make room there, or name a folder on another disk"
    return ModelError("EVENFILL_CACHE", f"{into.parent} has {what}", remedy)


@contextmanager
def _told(field: str, url: str) -> Iterator[None]:
    """Turn whatever a store's library says into one message."""
    try:
        yield
    except ModelError:
        raise
    except FileNotFoundError as error:
        raise ModelError(field, f"there is nothing at {url!r}", "Check the address") from error
    except ImportError as error:
        remedy = "Install that package; for S3, evenfill's extra s3"
        raise ModelError(field, f"{url!r} cannot be read ({error})", remedy) from error
    except Exception as error:
        said = (str(error).splitlines() or ["no message"])[0]
        raise ModelError(
            field,
            f"{url!r} cannot be read ({type(error).__name__}: {said})",
            "Check the address, and the store's credentials in the environment, such as "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ) from error
