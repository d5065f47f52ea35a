"""Threads that leave the processor to the engine beside them."""

from __future__ import annotations

import os
import sys
import threading

_NICENESS = 10


def give_way() -> None:
    """Lower this thread's priority; its process keeps its own. Does nothing but on Linux."""
    if sys.platform == "linux":  # elsewhere this would be the whole process
        thread = threading.get_native_id()
        lowest = 19
        now = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, min(lowest, now + _NICENESS))
