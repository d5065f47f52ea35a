"""A run for faults: python -m tests.scripted_run SCRIPT OPTION...

SCRIPT is the JSON of a scripted engine's `Script`, or `null` for a real vLLM.

Joins the Ray cluster at EVENFILL_TEST_ADDRESS, if that is set.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from actors.launch import Options, execute
from synth.config import load_config
from synth.plan import make_plan
from synth.report import Status
from tests.scripted import QUICK_GATES, Script

REPO = Path(__file__).parent.parent


def main() -> int:
    address = os.environ.get("EVENFILL_TEST_ADDRESS")
    settings = json.loads(sys.argv[1])
    script = Script(**settings) if settings is not None else None
    gates = [QUICK_GATES] if script else []
    plan = make_plan(load_config(None, [*gates, *sys.argv[2:]]), REPO)
    snapshot = execute(plan, Options(address), lambda _: None, print, engine_factory=script)
    print(snapshot.status, snapshot.reason, flush=True)
    return {Status.COMPLETE: 0, Status.INTERRUPTED: 130, Status.FAILED: 1}.get(snapshot.status, 3)


if __name__ == "__main__":
    sys.exit(main())
