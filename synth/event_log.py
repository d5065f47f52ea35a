"""The events of a run in its folder, as JSON lines.

Each start writes files of its own, `events/0002-000000.jsonl` and so on, and only its coordinator
does. A file is replaced as a whole whenever there is news, until it holds a thousand lines: so
nothing is ever torn, an object store does as well as a disk, and what is written again stays small.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from synth.events import AnyEvent, Committed, Compacted, parse_event
from synth.files import Folder

_LINES = 1000  # of a file


class EventLog:
    """Collects the events of one start; `flush` makes them durable.

    `add` may be called while another thread is in `flush`.

    Args:
        folder: of all starts' events; made by whoever prepared the run folder.
        epoch: number of this start.
    """

    def __init__(self, folder: Folder, epoch: int):
        self._folder = folder
        self._epoch = epoch
        self._part = 0
        self._lines: list[bytes] = []
        self._durable = 0

    def add(self, *events: AnyEvent) -> None:
        """Note what happened."""
        self._lines += [event.model_dump_json().encode() + b"\n" for event in events]

    def flush(self) -> None:
        """Write what is not durable yet, if there is anything.

        Raises:
            OSError: the store does not take it now; the next call tries again.
        """
        lines = self._lines[:]
        if len(lines) == self._durable:
            return
        self._folder.write(f"{self._epoch:04d}-{self._part:06d}.jsonl", b"".join(lines))
        self._durable = len(lines)
        if self._durable >= _LINES:
            del self._lines[: self._durable]  # in place: `add` holds on to this list
            self._part += 1
            self._durable = 0


def read_events(folder: Folder) -> Iterator[AnyEvent]:
    """All starts' events, oldest first; a line that cannot be read is passed over."""
    for name in folder.names():
        yield from _events(folder, name)


def last_events(folder: Folder, count: int) -> list[AnyEvent]:
    """The latest `count` events but commits, oldest first; reads no more files than it takes."""
    found: deque[AnyEvent] = deque()
    for name in reversed(folder.names()):
        events = [e for e in _events(folder, name) if not isinstance(e, Committed | Compacted)]
        found.extendleft(reversed(events))
        if len(found) >= count:
            break
    return list(found)[-count:]


def _events(folder: Folder, name: str) -> Iterator[AnyEvent]:
    events = (parse_event(line) for line in folder.read(name).splitlines())
    return (event for event in events if event is not None)
