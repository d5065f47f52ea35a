"""What is asked of an export, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from synth.errors import ConfigError, did_you_mean
from synth.export.places import check_ending
from synth.export.shapes import SHAPES
from synth.export.split import LEAST_NEAR

OWN = "own"
_MOST_HELD_OUT = 0.5


@dataclass(frozen=True)
class Export:
    """How to export.

    Attributes:
        shape: one of `SHAPES`, or `own` for the columns of the dataset that was filled.
        to: file or folder; None when it is pushed instead.
        hub: name on the hub to push to.
        eval_share: of the records that are held out, 0 to 0.5.
        near: cosine from which two records stay on one side of the split, 0.5 to 1.
        seed: of the split.
        merge: put the rows of the filled dataset before the new records.
        reviewed_only: leave out what nobody has accepted or edited.
        force: replace an earlier export.
    """

    shape: str
    to: Path | None = None
    hub: str | None = None
    eval_share: float = 0.0
    near: float = 0.8
    seed: int = 7
    merge: bool = False
    reviewed_only: bool = False
    force: bool = False

    def check(self) -> None:
        """Refuse what cannot be, whatever the run holds.

        Raises:
            ConfigError: names the option.
        """
        if self.shape not in (*SHAPES, OWN):
            hint = did_you_mean(self.shape, [*SHAPES, OWN])
            remedy = f"One of {', '.join([*SHAPES, OWN])}"
            raise ConfigError("--format", f"there is no format {self.shape!r}{hint}", remedy)
        if self.to is not None and self.hub is not None:
            raise ConfigError("--push", "is given beside --to", "Give one of them")
        if self.to is None and not self.hub:
            raise ConfigError("--to", "is not given", "Name a file or folder, or use --push")
        if not 0 <= self.eval_share <= _MOST_HELD_OUT:
            raise ConfigError(
                "--eval-share", f"is {self.eval_share}", f"Give 0 to {_MOST_HELD_OUT}"
            )
        if not LEAST_NEAR <= self.near <= 1:
            what = f"is {self.near}, where nearly all texts of a topic hang together"
            raise ConfigError("--near", what, f"Give {LEAST_NEAR} to 1")
        if self.merge and self.shape != OWN:
            raise ConfigError("--merge", "needs --format own", "Give that, or leave it out")
        if self.merge and self.eval_share:
            what = "cannot be split, for old rows may be near each other"
            raise ConfigError("--merge", what, "Leave out --eval-share")
        if self.to is not None:
            check_ending(self.to)


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        records: split -> records.
        left_out: records that reviewers rejected, or that nobody has looked at.
        files: split -> its file, or the folder that holds it; none when it was pushed.
        card: the dataset card, where it was written to a disk.
        skipped: malformed rows of the filled dataset that a merge left out.
        notes: what else the user should know, a sentence each.
    """

    records: Mapping[str, int]
    left_out: int
    files: Mapping[str, Path]
    card: Path | None
    skipped: int
    notes: Sequence[str]
