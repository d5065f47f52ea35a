"""Auditing a dataset: one line per row, and a summary that adds up."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from synth.cli import app

ROWS = [
    ("I have not slept well since my exams began.", "Three weeks is long. You could rest at noon."),
    ("Write to me at anna@example.com, please.", "You could keep the address to yourself."),
    ("I have not slept well since my exams began.", "Thank you for sharing. You could rest."),
]


def dataset(folder: Path) -> str:
    path = folder / "a.jsonl"
    rows = [json.dumps({"question": q, "answer": a}) + "\n" for q, a in ROWS]
    path.write_text("".join(rows))
    return str(path)


def test_every_row_is_one_line_with_its_findings(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["audit", dataset(tmp_path), "--json"])
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(x["row"], x["severity"]) for x in lines] == [(0, "none"), (1, "red"), (2, "yellow")]
    (finding,) = lines[1]["findings"]
    assert finding == {
        "gate": "pii", "rule": "pii_email", "severity": "red", "where": "question",
        "span": "anna@example.com",
    }  # fmt: skip


def test_the_summary_counts_rows_and_the_file_holds_the_flagged_ones(tmp_path: Path) -> None:
    out = tmp_path / "flagged.jsonl"
    result = CliRunner().invoke(app, ["audit", dataset(tmp_path), "--out", str(out)])
    assert "rows: 1 red, 1 yellow, 1 none" in result.output
    flagged = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["row"], row["answer"]) for row in flagged] == [(1, ROWS[1][1]), (2, ROWS[2][1])]


def test_a_mistake_is_one_message(tmp_path: Path) -> None:
    for arguments, words in (
        (["audit", str(tmp_path / "nowhere.csv")], "there is no such file"),
        (["audit", dataset(tmp_path), "--on-bad", "maybe"], "--on-bad: is 'maybe'"),
        (["audit", dataset(tmp_path), "--columns", "question"], "--columns: is 'question'"),
        (["audit", dataset(tmp_path), "--form", "instrction"], "did you mean 'instruction'"),
        (["audit", dataset(tmp_path), "--set", "gates=[safty]"], "did you mean 'safety'"),
    ):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2, result.output
        assert words in result.output + result.stderr
        assert "Traceback" not in result.output
