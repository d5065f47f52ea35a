"""A few records, made the real way in a folder that nobody keeps."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from synth.config import RunConfig, Targets
from synth.errors import ConfigError, did_you_mean
from synth.plan import make_plan, specs_of
from synth.prompts import question_messages
from synth.protocol import Slot
from synth.report import Status
from synth.segments import read_rows
from synth.specs import SITUATION

_COLUMNS = ("id", "topic", "requested_topic", "facets", "question", "answer", "seed")


def preview_records(
    config: RunConfig, base: Path, topic: str | None, count: int, console: Console
) -> tuple[Status, list[dict[str, Any]]]:
    """Generate `count` records; how that ended, and each record with its question's prompt.

    Args:
        config: the run config; its targets and folder are left aside.
        base: folder that relative spec paths are looked up in first.
        topic: id of the one topic wanted, or None for the first ones of the list.
        count: records.
        console: where progress goes.

    Raises:
        ConfigError: a topic that does not exist.
        UserError: whatever keeps a run from starting.
    """
    from actors.launch import Options, execute
    from synth.display import run_display

    known = specs_of(config, base)
    if topic is not None and topic not in known.topics:
        hint = did_you_mean(topic, known.topics)
        raise ConfigError(
            "--topic", f"there is no topic {topic!r}{hint}", "`evenfill topics` lists them"
        )
    wanted = {topic: count} if topic else dict.fromkeys(list(known.topics)[:count], 1)
    with tempfile.TemporaryDirectory(prefix="evenfill-preview-") as folder:
        changed = config.model_copy(
            update={"targets": Targets(policy="explicit", topics=wanted), "out": folder}
        )
        plan = make_plan(changed, base)
        with run_display(console) as display:
            snapshot = execute(plan, Options(), display.show, display.say)
        rows = [
            row for batch in read_rows(plan.files.accepted, _COLUMNS) for row in batch.to_pylist()
        ]
    shown = []
    examples = plan.existing.examples if plan.existing else {}
    for row in rows:
        facets = {name: value for name, value in row["facets"].items() if value is not None}
        situation = facets.pop(SITUATION)
        slot = Slot(row["id"], row["requested_topic"], situation, facets, row["seed"])
        shown.append(
            {
                "id": row["id"],
                "topic": row["topic"],
                "prompt": question_messages(plan.specs, slot, examples.get(slot.topic, ())),
                "question": row["question"],
                "answer": row["answer"],
            }
        )
    return snapshot.status, shown
