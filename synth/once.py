"""A folder that is made once, however many processes of a machine ask for it at the same time."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

from synth.errors import ModelError


def made_once(target: Path, is_whole: Callable[[Path], bool], make: Callable[[Path], None]) -> Path:
    """Make `target` unless it is whole already; the others wait for the one that makes it.

    It is made beside and then renamed: whoever is killed half-way leaves nothing under the name.

    Args:
        target: the folder.
        is_whole: whether a folder of that name is what it should be.
        make: fills a folder, which may still hold what a killed process made of it.

    Raises:
        ModelError: the cache folder cannot be written to.
    """
    if is_whole(target):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock_file = open(target.with_name(target.name + ".lock"), "w")  # noqa: SIM115
    except OSError as error:
        raise ModelError(
            "EVENFILL_CACHE", f"{target.parent} cannot be written ({error})", "Name another folder"
        ) from error
    with lock_file as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_whole(target):
            partial = target.with_name(target.name + ".partial")
            partial.mkdir(exist_ok=True)
            make(partial)
            shutil.rmtree(target, ignore_errors=True)
            partial.rename(target)
    return target
