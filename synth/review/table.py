"""The CSV round trip: records out, verdicts in."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from synth.errors import UserError
from synth.review.queue import Records
from synth.review.verdicts import Decision, Verdict, now

_FIELDS = (
    "id",
    "topic",
    "rules",
    "judge_mean",
    "question",
    "answer",
    "verdict",
    "reason",
    "reviewer",
)


class TableError(UserError):
    """A verdict table that cannot be written or read."""


def write_table(records: Records, latest: Mapping[str, Verdict], path: Path) -> int:
    """Write a CSV file with one line per record; the number of lines.

    Verdicts that there are already are filled in. To edit a record change its texts.

    Raises:
        TableError: the file cannot be written.
    """
    try:
        with open(path, "w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, _FIELDS)
            writer.writeheader()
            for item in records.items:
                writer.writerow(_line(records.row(item.id), item.mean, latest.get(item.id)))
    except OSError as error:
        raise TableError(
            "--to-csv", f"{path} cannot be written ({error})", "Name a file"
        ) from error
    return len(records.items)


def _line(row: Mapping[str, Any], mean: float | None, verdict: Verdict | None) -> dict[str, str]:
    rules = dict.fromkeys(finding["rule"] for finding in row["findings"] or ())
    return {
        "id": row["id"],
        "topic": row["topic"],
        "rules": " ".join(rules),
        "judge_mean": "" if mean is None else f"{mean:.2f}",
        "question": (verdict and verdict.question) or row["question"],
        "answer": (verdict and verdict.answer) or row["answer"],
        "verdict": verdict.decision if verdict else "",
        "reason": verdict.reason if verdict else "",
        "reviewer": verdict.reviewer if verdict else "",
    }


def read_table(records: Records, latest: Mapping[str, Verdict], path: Path) -> list[Verdict]:
    """The verdicts in a CSV file that are new; lines without a verdict say nothing.

    A line whose texts differ from the record's is an edit, and may say so or say nothing.

    Raises:
        TableError: names the line and what is wrong with it; then no line counts.
    """
    found = []
    for number, line in _lines(path):
        verdict = _verdict(records, line, f"{path}, line {number}")
        known = latest.get(line["id"])
        if verdict and (known is None or _said(known) != _said(verdict)):
            found.append(verdict)
    return found


def _said(verdict: Verdict) -> dict[str, Any]:
    return verdict.model_dump(exclude={"at"})


def _lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = {"id", "question", "answer", "verdict"} - set(reader.fieldnames or ())
            if missing:
                raise TableError(
                    str(path),
                    f"has no column {sorted(missing)[0]!r}",
                    "Give a file that `evenfill review DIR --to-csv` wrote",
                )
            for line in reader:
                yield reader.line_num, {key: value or "" for key, value in line.items() if key}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(str(path), f"cannot be read ({error})", "Give a UTF-8 CSV file") from error


def _verdict(records: Records, line: Mapping[str, str], where: str) -> Verdict | None:
    if line["id"] not in records:
        raise TableError(where, f"no record {line['id']!r} in this run", "Keep the ids as they are")
    row = records.row(line["id"])
    edited = (line["question"], line["answer"]) != (row["question"], row["answer"])
    said = line["verdict"].strip().lower()
    if not said and not edited:
        return None
    if said not in ("", *Decision):
        raise TableError(where, f"the verdict is {said!r}", "Write accept, reject, edit or nothing")
    decision = Decision(said) if said else Decision.EDIT
    if edited != (decision is Decision.EDIT) and decision is not Decision.REJECT:
        what = "differ from" if edited else "are"
        raise TableError(
            where,
            f"the verdict is {said!r}, but question and answer {what} the record's",
            "Write edit for a text that you changed",
        )
    texts = {key: line[key] for key in ("question", "answer")} if decision is Decision.EDIT else {}
    try:
        return Verdict(
            id=line["id"],
            decision=decision,
            reason=line.get("reason", ""),
            reviewer=line.get("reviewer", ""),
            at=now(),
            **texts,
        )
    except ValidationError as error:
        raise TableError(where, error.errors()[0]["msg"], "Give both texts") from error
