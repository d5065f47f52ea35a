"""Where the output of replicas and judges goes, and of the engines that they start."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Logs:
    """Where the replicas' output goes; `str` tells a person where to look.

    On a cluster it stays where Ray puts it, on each replica's own node: that is what Ray's
    dashboard shows, and the run folder may be another one there.

    Attributes:
        folder: of files by replica, or None.
        dashboard: address of Ray's dashboard, if it has one.
    """

    folder: Path | None
    dashboard: str | None

    def file(self, name: str) -> str | None:
        """Of the replica of that name."""
        return str(self.folder / f"{name}.log") if self.folder else None

    def __str__(self) -> str:
        if self.folder:
            return str(self.folder)
        if self.dashboard:
            return f"Ray's dashboard, http://{self.dashboard}, under Actors: replica-0 and so on"
        return "Ray's session folder of each node"


def redirect_output(log: Path) -> None:
    """Send this process's output, and what its children inherit, to a file."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError:
        return  # Ray keeps the output in its own logs
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
