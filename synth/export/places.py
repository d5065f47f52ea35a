"""Where an export goes: which places are refused, and how it gets there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from synth.errors import ConfigError, StoreError
from synth.export.files import ENDINGS

_SAVED = ("state.json", "dataset_dict.json")  # mark a folder that `datasets` wrote


@dataclass(frozen=True)
class Place:
    """Where an export on disk goes.

    Attributes:
        to: file or folder, as the user gave it.
        splits: names of the splits.
    """

    to: Path
    splits: Sequence[str]

    @property
    def is_folder(self) -> bool:
        return not self.to.suffix

    @property
    def parts(self) -> dict[str, Path]:
        """Split -> its file; a folder holds all of them."""
        if self.is_folder:
            return dict.fromkeys(self.splits, self.to)
        if len(self.splits) == 1:
            return {self.splits[0]: self.to}
        stem, ending = self.to.stem, self.to.suffix
        return {name: self.to.with_name(f"{stem}-{name}{ending}") for name in self.splits}

    @property
    def card(self) -> Path:
        """The dataset card: inside a folder, beside a file."""
        if self.is_folder:
            return self.to / "README.md"
        return self.to.with_name(f"{self.to.name}.README.md")

    @property
    def names(self) -> list[Path]:
        """Everything that appears, the card last."""
        found = list(dict.fromkeys(self.parts.values()))
        return found if self.is_folder else [*found, self.card]


def check_ending(to: Path) -> None:
    """Refuse an ending that says no known format.

    Raises:
        ConfigError: says what would be right.
    """
    if to.suffix and to.suffix not in ENDINGS:
        what = f"ends in {to.suffix!r}"
        remedy = f"End it in {', '.join(ENDINGS)}, or in nothing for a `datasets` folder"
        raise ConfigError("--to", what, remedy)


def check_place(place: Place, run: Path | None, read: Iterable[Path], force: bool) -> None:
    """Refuse a place where an export would harm something.

    Args:
        place: where it is to go.
        run: the run folder, where it is on a disk.
        read: datasets that the run was made with.
        force: replace an earlier export.

    Raises:
        ConfigError: it is the run folder or one of the datasets, or lies inside.
        StoreError: something is there already, or it cannot be looked at.
    """
    with told_as_place(place.to):
        for path in place.names:
            if run is not None and _within(path, run):
                what = f"{path} lies inside the run folder"
                raise ConfigError("--to", what, "Name a place outside")
            for dataset in read:
                if _within(path, dataset):
                    what = f"{path} is the dataset {dataset}, or lies inside"
                    raise ConfigError("--to", what, "Name another place")
            _check_free(path, place, force)


def _within(path: Path, folder: Path) -> bool:
    path, folder = path.resolve(), folder.resolve()
    if path.exists() and folder.exists() and path.samefile(folder):
        return True  # a hard link has another name
    return path.is_relative_to(folder)


def _check_free(path: Path, place: Place, force: bool) -> None:
    if not (path.exists() or path.is_symlink()):
        return
    if not force:
        raise StoreError("--to", f"{path} is there already", "Name another, or pass --force")
    is_saved = path.is_dir() and any((path / mark).exists() for mark in _SAVED)
    if is_saved if place.is_folder else path.is_file():
        return
    what = f"{path} is there and is no earlier export, so --force does not replace it"
    raise StoreError("--to", what, "Name another")


@contextmanager
def told_as_place(to: Path) -> Iterator[None]:
    """Turn whatever a disk says into one message."""
    try:
        yield
    except OSError as error:
        what = f"{to} cannot be written ({error.strerror or error})"
        raise StoreError("--to", what, "Name a place that you may write to") from error


@contextmanager
def aside(place: Place) -> Iterator[Path]:
    """A folder beside the place, for what is not whole yet; it is gone afterwards."""
    with told_as_place(place.to):
        place.to.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(
            tempfile.mkdtemp(prefix=f".{place.to.name}.", suffix=".tmp", dir=place.to.parent)
        )
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def publish(place: Place, folder: Path, force: bool) -> None:
    """Move everything that was written aside to its name, once it is durable.

    Args:
        place: where it goes.
        folder: from `aside`; holds every one of the place's names.
        force: replace an earlier export.

    Raises:
        StoreError: something has appeared there meanwhile.
        OSError: the disk does not do it.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            _make_durable(path)
    for path in place.names:
        _check_free(path, place, force)
    for path in place.names:
        if path.is_dir():
            path.rename(folder / f"{path.name}.replaced")
        os.replace(folder / path.name, path)
    _make_durable(place.to.parent)


def _make_durable(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
