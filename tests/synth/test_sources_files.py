"""Files and folders of a source: what is broken is one message, and nothing counts twice."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synth.files import LocalFolder
from synth.segments import SegmentWriter, accepted_schema
from synth.sources import OnBad, SourceError, json_files, open_source, text_files

ASKED, SAID = "I cannot sleep.", "That sounds tiring. Since when?"
GOOD = {"question": ASKED, "answer": SAID}
LINE = json.dumps(GOOD) + "\n"
TURNS = [{"from": "human", "value": ASKED}, {"from": "gpt", "value": SAID}]


def written(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def pairs(location: str) -> list[tuple[str, str]]:
    return [(row.question, row.answer) for row in open_source(location)]


def skipping(location: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Questions, and for each malformed row its place's end and its problem."""
    source = open_source(location, on_bad=OnBad.SKIP)
    questions = [row.question for row in source]
    bad = [(row.place.rpartition(":")[2], row.problem) for row in source.malformed]
    return questions, bad


# What cannot be opened at all


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("bom.csv", b"\xef\xbb\xbf", "is empty"),
        ("bom.jsonl", b"\xef\xbb\xbf\n\n", "is empty"),
        ("wide.csv", "question,answer\na,b\n".encode("utf-16"), "is UTF-16, not UTF-8"),
        ("deep.json", b"[" * 100_000, "is nested too deeply"),
        ("deep.jsonl", b"[" * 100_000 + b"\n", "is nested too deeply"),
        ("twice.csv", b"question,answer,answer\na,b,c\n", "has 2 columns named 'answer'"),
        ("single.csv", b"\nquestion\na\n", r"single.csv:2: has a single column, 'question'"),
        ("header.csv", b"question,\xe9\na,b\n", r"header.csv:1: is not UTF-8 \(byte 0xe9\)"),
        ("quote.csv", b'question,"answer\na,b\n', r"quote.csv:1: opens a quote that is never"),
        ("list.json", b"[1, 2", "is no JSON"),
        ("scalar.json", b"[]", "holds no rows"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_message_even_when_rows_are_skipped(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    with pytest.raises(SourceError, match=words):
        list(open_source(written(tmp_path / name, content), on_bad=OnBad.SKIP))


@pytest.mark.parametrize("location", ["", "  "])
def test_an_empty_location_is_not_the_current_folder(location: str) -> None:
    with pytest.raises(SourceError, match="has an empty name"):
        open_source(location)


def test_a_path_that_no_system_takes_is_one_message() -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        open_source("/tmp/" + "a" * 300)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(SourceError, match="is neither a file nor a folder"):
        open_source(str(tmp_path / "pipe.csv"))


def test_a_file_that_may_not_be_read_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "a.csv", "question,answer\na,b\n")

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("synth.sources.files.read_opening", refuse)
    with pytest.raises(SourceError, match=r"a.csv: cannot be read \(Permission denied\)"):
        open_source(path)


def test_an_error_that_nobody_foresaw_is_one_message_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Iterator[Any]:
        raise RuntimeError
        yield

    monkeypatch.setattr("synth.sources.files.read_csv", fail)
    with pytest.raises(SourceError, match=r"cannot be read \(RuntimeError"):
        open_source(written(tmp_path / "a.csv", "question,answer\na,b\n"))


# Folders


def test_a_folder_that_only_looks_saved_by_datasets_is_one_message(tmp_path: Path) -> None:
    written(tmp_path / "state.json", "{}")
    with pytest.raises(SourceError, match="looks saved by `datasets`, which cannot load it"):
        open_source(str(tmp_path))


def test_a_folder_of_part_files_is_read(tmp_path: Path) -> None:
    parts = tmp_path / "x.parquet"
    parts.mkdir()
    for number in range(2):
        pq.write_table(pa.Table.from_pylist([GOOD]), parts / f"part-{number}.snappy.parquet")
    written(parts / "_SUCCESS", "")
    assert pairs(str(tmp_path)) == pairs(str(parts)) == [(ASKED, SAID)] * 2


def test_a_folder_of_several_kinds_of_files_is_refused_by_their_names(tmp_path: Path) -> None:
    written(tmp_path / "a.jsonl", LINE)
    written(tmp_path / "LICENSE.txt", "MIT")
    assert pairs(str(tmp_path)) == [(ASKED, SAID)]
    written(tmp_path / "b.csv", "question,answer\na,b\n")
    with pytest.raises(SourceError, match=r"several kinds: JSON lines \(a.jsonl\), CSV \(b.csv\)"):
        open_source(str(tmp_path))


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, Callable[[list[str]], None], SegmentWriter]:
    """A run folder, a function that commits questions, and its writer."""
    folder = tmp_path / "run"
    (folder / "accepted").mkdir(parents=True)
    written(folder / "run.json", "{}")
    schema = accepted_schema(2, [])
    writer = SegmentWriter(LocalFolder(folder / "accepted"), schema, 1)

    def commit(questions: list[str]) -> None:
        nothing = dict.fromkeys(schema.names)
        writer.append([nothing | GOOD | {"question": question} for question in questions])

    return folder, commit, writer


def test_a_run_in_mid_compaction_counts_each_row_once(run: Any) -> None:
    folder, commit, writer = run
    for question in "abc":
        commit([question])
    kept = {path: path.read_bytes() for path in (folder / "accepted").iterdir()}
    writer.compact(2)
    for path, content in kept.items():
        path.write_bytes(content)
    for location in (folder, folder / "accepted"):
        source = open_source(str(location))
        assert source.form.name == "evenfill"
        assert "embedding" not in source.columns
        assert [row.question for row in source] == ["a", "b", "c"]
    assert len(list((folder / "accepted").iterdir())) == 4


def test_a_run_that_merges_and_deletes_what_is_being_read_loses_and_repeats_nothing(
    run: Any,
) -> None:
    folder, commit, writer = run
    for start in range(0, 8, 2):
        commit([str(start), str(start + 1)])
    rows = iter(open_source(str(folder)))
    found = [next(rows).question for _ in range(3)]
    writer.compact(2)
    commit(["8"])
    assert len(list((folder / "accepted").iterdir())) == 2
    assert found + [row.question for row in rows] == [str(number) for number in range(9)]


def test_a_damaged_segment_is_one_message(run: Any) -> None:
    folder, commit, _ = run
    commit(["a"])
    written(next((folder / "accepted").iterdir()), b"PAR1abc")
    with pytest.raises(SourceError, match="is damaged"):
        open_source(str(folder))


def test_a_repeated_parquet_column_is_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["question", "answer", "answer"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(SourceError, match="has 2 columns named 'answer'"):
        open_source(str(tmp_path / "a.parquet"))


# JSON


@pytest.mark.parametrize("text", ["x" * 10_000, "a\u2028b"])
def test_json_lines_are_known_by_lines_however_long_and_whatever_is_in_them(
    tmp_path: Path, text: str
) -> None:
    line = json.dumps({**GOOD, "answer": text}, ensure_ascii=False) + "\n"
    assert pairs(written(tmp_path / "a.json", line * 2)) == [(ASKED, text)] * 2


@pytest.mark.parametrize("first", ["null", "[1]", "   ", "7", "user: hello"])
@pytest.mark.parametrize("ending", ["jsonl", "ndjson"])
def test_a_json_lines_file_is_taken_at_its_name(tmp_path: Path, first: str, ending: str) -> None:
    path = written(tmp_path / f"a.{ending}", f"{first}\n{LINE}")
    questions, bad = skipping(path)
    assert questions == [ASKED]
    assert [place for place, _ in bad] == (["1"] if first.strip() else [])
    if bad:
        with pytest.raises(SourceError, match=rf"a.{ending}:1: is "):
            open_source(path)


@pytest.mark.parametrize("indent", [None, 2])
def test_one_object_of_a_known_form_is_one_record_and_not_a_list_of_its_turns(
    tmp_path: Path, indent: int | None
) -> None:
    text = json.dumps({"conversations": TURNS}, indent=indent)
    source = open_source(written(tmp_path / "a.json", text))
    assert source.form.name == "sharegpt"
    assert [row.question for row in source] == [ASKED]
    wrapped = json.dumps({"version": 1, "data": [GOOD, GOOD]}, indent=indent)
    assert pairs(written(tmp_path / "b.json", wrapped)) == [(ASKED, SAID)] * 2


def test_a_deep_line_is_a_malformed_row(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", LINE + "[" * 100_000 + "\n" + LINE)
    assert skipping(path) == ([ASKED] * 2, [("2", "is nested too deeply")])


def test_a_large_array_is_streamed_and_reads_as_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ijson")
    monkeypatch.setattr(json_files, "_STREAMED", 0)
    monkeypatch.setattr(text_files, "MOST", 10)
    records = [GOOD, {**GOOD, "question": "\ud83d"}, {**GOOD, "stars": 1.5}]
    path = written(tmp_path / "a.json", b"\xef\xbb\xbf" + json.dumps(records).encode())
    source = open_source(path, on_bad=OnBad.SKIP)
    assert [row.record for row in source] == [GOOD, {**GOOD, "stars": 1.5}]
    assert source.malformed[0].place.endswith("a.json, item 1")
    with pytest.raises(SourceError, match=r"a.json, item 1: is no JSON"):
        list(open_source(written(tmp_path / "a.json", json.dumps([GOOD])[:-1] + ", {]")))


def test_a_document_that_is_too_large_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_files, "find_spec", lambda _: None)
    monkeypatch.setattr(text_files, "MOST", 10)
    monkeypatch.setattr(json_files, "_STREAMED", 0)
    with pytest.raises(SourceError, match=r"Convert it to JSON lines"):
        open_source(written(tmp_path / "a.json", json.dumps([GOOD])))


# CSV


def test_a_blank_first_line_is_passed_over(tmp_path: Path) -> None:
    assert pairs(written(tmp_path / "a.csv", "\n  \nquestion,answer\na,b\n")) == [("a", "b")]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_are_told_by_the_header(tmp_path: Path, delimiter: str) -> None:
    text = f'question{delimiter}answer\n"a{delimiter} b, c"{delimiter}d\n'
    assert pairs(written(tmp_path / "a.csv", text)) == [(f"a{delimiter} b, c", "d")]


def test_a_slip_in_the_quoting_costs_its_own_row_only(tmp_path: Path) -> None:
    text = 'question,answer\na,b\n"he said "hi" to me",c\nd,e\nf,"never closed\ng,h\ni,"j\nk"\n'
    path = written(tmp_path / "a.csv", text)
    questions, bad = skipping(path)
    assert questions == ["a", "d", "g", "i"]
    assert [place for place, _ in bad] == ["3", "5"]
    assert "slip in its quoting" in bad[0][1]
    with pytest.raises(SourceError, match=r"a.csv:3: has a slip in its quoting"):
        list(open_source(path))


def test_an_open_quote_is_reported_where_it_opened_and_swallows_nothing(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 'question,answer\na,b\nc,"d\n' + "e,f\n" * 50)
    assert skipping(path) == (
        ["a", *"e" * 50],
        [("3", "opens a quote that is never closed")],
    )


def test_the_place_of_a_row_is_its_first_line(tmp_path: Path) -> None:
    text = 'question,answer\n"a\nb",c\nd,e\n"f\ng",h,i\n'
    source = open_source(written(tmp_path / "a.csv", text), on_bad=OnBad.SKIP)
    places = [row.place.rpartition(":")[2] for row in source]
    assert (places, source.malformed[0].place.rpartition(":")[2]) == (["2", "4"], "5")


@pytest.mark.parametrize(
    ("name", "before", "bad", "after"),
    [
        ("a.csv", b"question,answer\n" + b"a,b\n" * 2000, b"caf\xe9,b\n", b"a,b\n"),
        ("a.jsonl", LINE.encode() * 2000, b'{"question": "\xe9", "answer": ""}\n', LINE.encode()),
    ],
)
def test_a_bad_byte_is_a_malformed_row_at_its_line(
    tmp_path: Path, name: str, before: bytes, bad: bytes, after: bytes
) -> None:
    path = written(tmp_path / name, before + bad + after)
    line = before.count(b"\n") + 1
    questions, found = skipping(path)
    assert len(questions) == 2001
    assert found == [(str(line), "is not UTF-8 (byte 0xe9); `iconv -t utf-8` converts a file")]
    with pytest.raises(SourceError, match=rf"{name}:{line}: is not UTF-8"):
        list(open_source(path))


# Memory


def test_lines_are_read_in_bounded_memory_malformed_ones_too(tmp_path: Path) -> None:
    bad = '{"question": \n'
    path = written(tmp_path / "a.jsonl", bad * 20_000 + LINE * 20_000 + bad * 20_000)
    next(iter(open_source(written(tmp_path / "b.jsonl", LINE))))
    tracemalloc.start()
    source = open_source(path, on_bad=OnBad.SKIP)
    assert sum(1 for _ in source) == 20_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert source.malformed_count == 40_000
    assert peak < 1_000_000
