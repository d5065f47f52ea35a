"""The claim of each start of a run on its folder, and the fence against the starts before it.

A start claims the next number, its epoch, by creating `epochs/NNNN.json`, which only one can.
From then on every earlier start is fenced: it looks for a later claim before and after each
write, and acknowledges nothing that it wrote between the two. The new start lists the segments
that it found once it had its claim (`NNNN.found.json`): a segment of an earlier epoch that is not
in the list came too late, was acknowledged to nobody, and is put aside into `strays/`.
"""

from __future__ import annotations

import json
import re

from synth.errors import StoreError
from synth.files import Folder
from synth.lock import IN_USE, introduce
from synth.segments import Segment, all_segments, last_epoch, parse_name
from synth.store import RunFiles, read_json, read_manifest, write_json

_CLAIM = re.compile(r"(\d{4})\.json")
_FOUND = re.compile(r"(\d{4})\.found\.json")


class LostClaimError(StoreError):
    """A later start has taken the folder over; nothing more may be written."""


class Claim:
    """The right of one start to write to a run folder, until a later start takes it.

    Args:
        files: the run folder, prepared, its lock held.
        purpose: what this process does, for others to read.

    Attributes:
        epoch: number of this start; higher than any before.
        strays: segments that were put aside just now.

    Raises:
        StoreError: another start claimed the same epoch first.
    """

    def __init__(self, files: RunFiles, purpose: str):
        self._files = files
        manifest = read_manifest(files)
        folders = (files.accepted, files.rejected)
        self.holder = introduce(purpose)
        self.epoch = 1 + max(
            int(manifest["epoch"]) if manifest else 0,
            _latest(files, _CLAIM),
            *(last_epoch(folder) for folder in folders),
        )
        try:
            claim = json.dumps({"holder": self.holder}) + "\n"
            files.epochs.create(f"{self.epoch:04d}.json", claim.encode())
        except FileExistsError as error:
            what = f"{files.root} was taken by another run this very moment"
            raise StoreError("out", what, IN_USE) from error
        self.strays = put_strays_aside(files)
        found = {
            name: [segment.name for segment in all_segments(folder)]
            for name, folder in zip(("accepted", "rejected"), folders, strict=True)
        }
        write_json(files.epochs, f"{self.epoch:04d}.found.json", found)

    def confirm(self) -> None:
        """Make sure that no later start has taken the folder over.

        Raises:
            LostClaimError: one has; what came too late has been put aside.
        """
        latest = _latest(self._files, _CLAIM)
        if latest > self.epoch:
            put_strays_aside(self._files)
            claim = read_json(self._files.epochs, f"{latest:04d}.json") or {}
            holder = claim.get("holder", "another run")
            where = str(self._files.root)
            raise LostClaimError(where, f"was taken over by {holder}", "Leave it to that run")


def _latest(files: RunFiles, kind: re.Pattern[str]) -> int:
    matches = (kind.fullmatch(name) for name in files.epochs.names())
    return max((int(match[1]) for match in matches if match), default=0)


def put_strays_aside(files: RunFiles) -> list[str]:
    """Move segments that came after the claim of a later start into `strays/`; their names."""
    epoch = _latest(files, _FOUND)
    found = read_json(files.epochs, f"{epoch:04d}.found.json") or {}
    moved = []
    for name, folder in (("accepted", files.accepted), ("rejected", files.rejected)):
        if epoch:
            moved += _put_aside(folder, files.strays / name, epoch, found[name])
    return moved


def _put_aside(folder: Folder, strays: Folder, epoch: int, found: list[str]) -> list[str]:
    known = [segment for name in found if (segment := parse_name(name))]
    firsts, lasts = {s.first for s in known}, {s.last for s in known}

    def is_stray(segment: Segment) -> bool:
        """A merge of what was found keeps its ends."""
        early = segment.last[0] < epoch
        return early and not (segment.first in firsts and segment.last in lasts)

    late = [segment.name for segment in all_segments(folder) if is_stray(segment)]
    for name in late:
        folder.move(name, strays)
    return late
