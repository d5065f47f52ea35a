"""Verdicts: durable, one per file, the latest stands; and the CSV round trip."""

from __future__ import annotations

import csv
import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from synth.cli import app
from synth.errors import StoreError
from synth.files import open_folder
from synth.review.queue import Records, read_records
from synth.review.table import TableError, read_table, write_table
from synth.review.verdicts import Decision, Verdict, Verdicts, now
from synth.store import run_files


def verdict(record_id: str, decision: Decision = Decision.ACCEPT, **more: str) -> Verdict:
    return Verdict(id=record_id, decision=decision, at=now(), **more)


@pytest.fixture(params=["disk", "bucket"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "disk" else request.getfixturevalue("bucket")


def test_a_stored_verdict_is_there_for_the_next_start_and_the_latest_stands(folder: str) -> None:
    first = Verdicts(open_folder(folder) / "review")
    first.add(verdict("a"))
    first.add(verdict("b", Decision.REJECT, reason="harsh"))
    first.add(verdict("a", Decision.EDIT, question="q", answer="a"))
    again = Verdicts(open_folder(folder) / "review")
    assert again.latest == first.latest
    assert [again.latest[i].decision for i in "ab"] == ["edit", "reject"]


def test_two_reviewers_lose_nothing(folder: str) -> None:
    one, two = (Verdicts(open_folder(folder) / "review") for _ in range(2))
    one.add(verdict("a", reviewer="one"))
    two.add(verdict("b", reviewer="two"))
    one.add(verdict("c", reviewer="one"))
    two.refresh()
    assert set(one.latest) == set(two.latest) == {"a", "b", "c"}


def test_a_verdict_that_was_cut_off_by_a_crash_is_passed_over(tmp_path: Path) -> None:
    stored = Verdicts(open_folder(str(tmp_path)))
    stored.add(verdict("a"))
    (tmp_path / "000002.json").write_bytes(b"")
    again = Verdicts(open_folder(str(tmp_path)))
    assert set(again.latest) == {"a"}
    again.add(verdict("b"))
    (tmp_path / "000001.json").write_text("{")
    with pytest.raises(StoreError, match=r"000001.json: is no verdict"):
        Verdicts(open_folder(str(tmp_path)))


@pytest.fixture
def records(run_folder: Path) -> Records:
    return read_records(run_files(str(run_folder)), seed=7)


def test_flagged_records_come_first_then_those_rated_lowest(records: Records) -> None:
    first, second, third = records.items
    assert first.rules == ("cliche",)
    assert second.mean == 4.5
    assert third.mean == 8.5
    assert first.id in records


def test_a_sample_is_a_part_of_the_list_and_the_same_each_time(run_folder: Path) -> None:
    files = run_files(str(run_folder))
    one, two = (read_records(files, seed=7, sample=2).items for _ in range(2))
    assert one == two == read_records(files, seed=7).items[:2]


def rewrite(path: Path, changes: dict[int, dict[str, str]]) -> None:
    with open(path, encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    for at, change in changes.items():
        lines[at] |= change
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)


def test_csv_goes_out_and_comes_back(records: Records, tmp_path: Path) -> None:
    table, stored = tmp_path / "r.csv", Verdicts(open_folder(str(tmp_path / "review")))
    assert write_table(records, stored.latest, table) == 3
    assert read_table(records, stored.latest, table) == []
    mended = "Counting hours makes them shorter. Turn the clock around."
    rewrite(
        table,
        {
            0: {"verdict": "Reject ", "reason": 'it says "thank you", and\nno more'},
            1: {"verdict": "edit", "answer": mended},
            2: {"verdict": "accept", "reviewer": "Ana"},
        },
    )
    for each in read_table(records, stored.latest, table):
        stored.add(each)
    ids = [item.id for item in records.items]
    assert [stored.latest[i].decision for i in ids] == ["reject", "edit", "accept"]
    assert stored.latest[ids[0]].reason == 'it says "thank you", and\nno more'
    assert stored.latest[ids[1]].answer == mended
    assert read_table(records, stored.latest, table) == []
    write_table(records, stored.latest, table)
    assert read_table(records, stored.latest, table) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "gone"}, "line 3: no record 'gone'"),
        ({"verdict": "ok"}, "the verdict is 'ok'"),
        ({"verdict": "accept", "answer": "Another one."}, "differ from the record's"),
        ({"verdict": "edit"}, "are the record's"),
        ({"verdict": "edit", "answer": ""}, "both texts|gives question and answer"),
    ],
)
def test_a_line_that_cannot_be_right_is_named_and_nothing_is_taken(
    records: Records, tmp_path: Path, change: dict[str, str], message: str
) -> None:
    table = tmp_path / "r.csv"
    write_table(records, {}, table)
    rewrite(table, {0: {"verdict": "accept"}, 1: change})
    with pytest.raises(TableError, match=message):
        read_table(records, {}, table)


def test_a_file_that_is_no_such_table_is_one_message(records: Records, tmp_path: Path) -> None:
    table = tmp_path / "r.csv"
    table.write_text("a,b\n1,2\n")
    with pytest.raises(TableError, match="has no column 'answer'"):
        read_table(records, {}, table)
    table.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(TableError, match="cannot be read"):
        read_table(records, {}, table)


def evenfill(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_the_command_writes_the_table_and_takes_it_back(run_folder: Path, tmp_path: Path) -> None:
    table = str(tmp_path / "r.csv")
    assert "3 records are in" in evenfill("review", str(run_folder), "--to-csv", table).output
    rewrite(Path(table), {0: {"verdict": "accept"}})
    taken = evenfill("review", str(run_folder), "--from-csv", table, "--json")
    assert json.loads(taken.output) == {"verdicts": 1}
    report = json.loads(evenfill("agreement", str(run_folder), "--json").output)
    assert report["pairs"][0]["records"] == 3
    assert report["bias"][0]["accepted"] == 8.0


def test_what_is_no_run_or_cannot_be_served_is_one_message(
    run_folder: Path, tmp_path: Path
) -> None:
    none = evenfill("review", str(tmp_path / "empty"))
    assert (none.exit_code, "holds no run.json" in none.output) == (2, True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = evenfill("review", str(run_folder), "--port", port)
    assert (refused.exit_code, f"port {port} cannot be used" in refused.output) == (2, True)
