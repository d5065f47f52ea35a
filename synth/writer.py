"""The one writer of a run folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from synth import store
from synth.claim import Claim, put_strays_aside
from synth.lock import RunLock
from synth.outbox import CommitBatch
from synth.segments import REJECTED_SCHEMA, SegmentWriter, remove_superseded
from synth.store import RunFiles

PURPOSE = "an evenfill run"


class RunWriter:
    """Claims the next epoch of a run folder and writes to it until a later start does.

    Its methods block, and may run on another thread than the one that made it, one at a time.

    Args:
        files: the run folder, prepared.
        lock: the folder's lock; released by `close`.
        schema: columns of the accepted records.

    Raises:
        StoreError: another start was quicker.
    """

    def __init__(self, files: RunFiles, lock: RunLock, schema: pa.Schema):
        self._files = files
        self._lock = lock
        self._claim = Claim(files, PURPOSE)
        for folder in (files.accepted, files.rejected):
            remove_superseded(folder)
        self.epoch = self._claim.epoch
        self.holder = self._claim.holder
        self.commits = 0
        self._strays = self._claim.strays
        self._accepted = SegmentWriter(files.accepted, schema, self.epoch)
        self._rejected = SegmentWriter(files.rejected, REJECTED_SCHEMA, self.epoch)

    @property
    def strays(self) -> list[str]:
        """Segments that an earlier start wrote too late, and that were put aside."""
        return self._strays

    def write(self, batch: CommitBatch) -> None:
        """Make a batch durable.

        After an OSError it may be called again: a part that was written is not written twice.

        Raises:
            OSError: the store does not take it at this moment.
            StoreError: the folder is another run's now, or holds a file that is not ours.
        """
        self._claim.confirm()
        batch.write(self._accepted, self._rejected)
        self._claim.confirm()
        self.commits += 1

    def compact(self, at_least: int) -> int:
        """Merge single commits, once there are `at_least` in a row; how many. Raises as `write`."""
        self._claim.confirm()
        return self._accepted.compact(at_least) + self._rejected.compact(at_least)

    def write_state(self, manifest: Mapping[str, Any], report: Mapping[str, Any]) -> None:
        """Refresh `run.json` and `report.json`; raises as `write`."""
        self._claim.confirm()
        store.write_json(self._files.root, store.MANIFEST, manifest)
        store.write_json(self._files.root, store.REPORT, report)

    def write_card(self, card: str) -> None:
        """Write the dataset card."""
        self._files.root.write(store.CARD, card.encode())

    def sweep(self) -> None:
        """Put aside what an earlier start wrote meanwhile."""
        self._strays = [*self._strays, *put_strays_aside(self._files)]

    def close(self) -> None:
        """Free the folder for the next run."""
        self._lock.release()
