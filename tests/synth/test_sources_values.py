"""Values of a source's rows: only text is text, and what is no text is a malformed row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict

from synth.sources import OnBad, Row, Source, SourceError, open_source

ASKED, SAID = "I cannot sleep.", "That sounds tiring. Since when?"
GOOD = {"question": ASKED, "answer": SAID}


def lines(tmp_path: Path, *records: Any) -> Source:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return open_source(str(path), on_bad=OnBad.SKIP)


def only_row(tmp_path: Path, record: Any) -> Row:
    (row,) = lines(tmp_path, record)
    return row


def problem(tmp_path: Path, record: Any) -> str:
    """Of a record between two good ones."""
    source = lines(tmp_path, GOOD, record, GOOD)
    assert [row.number for row in source] == [0, 2]
    assert source.malformed_count == 1
    return source.malformed[0].problem


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (["a", "b"], "has a list in 'question', where text should be"),
        ({"a": 1}, "has a dict in 'question', where text should be"),
        (True, "has a bool in 'question', where text should be"),
        ("I am sad \ud83d", "holds half a surrogate pair (\\ud83d), which is no character"),
    ],
)
def test_what_is_no_text_is_a_malformed_row(tmp_path: Path, value: Any, words: str) -> None:
    assert problem(tmp_path, {**GOOD, "question": value}) == words


def test_half_a_surrogate_pair_anywhere_in_a_record_is_a_malformed_row(tmp_path: Path) -> None:
    assert "half a surrogate pair" in problem(tmp_path, {**GOOD, "notes": [{"by": "\udc00"}]})
    with pytest.raises(SourceError, match=r"a.jsonl:2: holds half a surrogate pair"):
        list(open_source(str(tmp_path / "a.jsonl")))


def test_numbers_are_text_and_nan_is_nothing(tmp_path: Path) -> None:
    row = only_row(tmp_path, {"question": 7, "answer": float("nan"), "topic": 2.5})
    assert (row.question, row.answer, row.topic) == ("7", "", "2.5")


def test_a_list_of_labels_is_joined_as_counselchat_joins_them(tmp_path: Path) -> None:
    assert only_row(tmp_path, {**GOOD, "topic": ["Sleep", "Stress"]}).topic == "Sleep,Stress"


def test_the_text_parts_of_a_multi_part_content_are_joined(tmp_path: Path) -> None:
    parts = [
        {"type": "text", "text": "I cannot"},
        {"type": "image_url", "image_url": {"url": "x"}},
        {"type": "text", "text": "sleep."},
    ]
    turns = [{"role": "user", "content": parts}, {"role": "assistant", "content": SAID}]
    row = only_row(tmp_path, {"messages": turns})
    assert (row.question, row.answer) == ("I cannot\nsleep.", SAID)


def test_turns_may_come_as_columns(tmp_path: Path) -> None:
    columns = {"role": ["developer", "user", "assistant"], "content": ["Be kind.", ASKED, SAID]}
    row = only_row(tmp_path, {"messages": columns})
    assert (row.question, row.answer) == (ASKED, SAID)
    columns["content"].pop()
    with pytest.raises(SourceError, match="has columns of unequal length in 'messages'"):
        list(lines(tmp_path, {"messages": columns}))


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"utterances": []}, "has no utterances"),
        ({"messages": "hello"}, "has a str in 'messages', where turns should be"),
        ({"messages": ["hello"]}, "has a str in 'messages', where a turn should be"),
        ({"messages": {"role": "user"}}, "has a str in 'messages.role', where a list should be"),
        ({"messages": [{"role": "user"}]}, "has a turn without 'content'"),
        ({"messages": [{"role": "user", "content": ""}] * 2}, "has neither a question nor an"),
        ({"text": '{"dialog": '}, "has a 'text' that is no JSON"),
        ({"text": '["dialog"]'}, "has a list in 'text', where a dialogue should be"),
    ],
)
def test_a_broken_dialogue_is_a_malformed_row(tmp_path: Path, record: Any, words: str) -> None:
    column = next(iter(record))
    good = {
        "utterances": {"utterances": [{"speaker_idx": "1", "utterance": ASKED}]},
        "text": {"text": json.dumps({"dialog": [{"speaker": "usr", "text": ASKED}]})},
        "messages": {"messages": [{"role": "user", "content": ASKED}]},
    }[column]
    source = lines(tmp_path, good, record, good)
    assert [row.question for row in source] == [ASKED, ASKED]
    assert [bad.number for bad in source.malformed] == [1]
    assert words in source.malformed[0].problem


def test_a_title_that_stands_for_the_question_is_not_said_twice(tmp_path: Path) -> None:
    record = {"questionTitle": ASKED, "questionText": "", "answerText": SAID}
    assert only_row(tmp_path, record).subject == ASKED
    record["questionText"] = "For weeks."
    assert only_row(tmp_path, record).subject == f"{ASKED}\nFor weeks."


def test_a_row_keeps_the_record_that_it_was_read_from(tmp_path: Path) -> None:
    record = {"Context": f" {ASKED} ", "Response": SAID, "stars": 5}
    row = only_row(tmp_path, record)
    assert row.record == record
    assert row.question == ASKED
    assert row.split is None


def test_rows_of_several_splits_say_which_and_are_numbered_through(tmp_path: Path) -> None:
    splits = DatasetDict({name: Dataset.from_list([GOOD] * 2) for name in ("train", "test")})
    splits.save_to_disk(str(tmp_path / "saved"))
    rows = list(open_source(str(tmp_path / "saved")))
    assert [row.number for row in rows] == [0, 1, 2, 3]
    assert [row.split for row in rows] == ["train", "train", "test", "test"]
    assert rows[2].place.endswith("saved, test row 0")
    DatasetDict({"train": Dataset.from_list([GOOD])}).save_to_disk(str(tmp_path / "one"))
    assert [row.split for row in open_source(str(tmp_path / "one"))] == [None]


def test_a_hub_dataset_says_the_split_too(monkeypatch: pytest.MonkeyPatch) -> None:
    splits = {"train": [GOOD], "test": [GOOD]}
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: splits)
    rows = list(open_source("some-body/some-set"))
    assert [(row.number, row.split) for row in rows] == [(0, "train"), (1, "test")]


def test_a_value_that_python_cannot_hold_is_a_malformed_row(tmp_path: Path) -> None:
    late = pa.array([0, 1 << 62, 0], type=pa.timestamp("us"))
    table = pa.table({"question": [ASKED] * 3, "answer": [SAID] * 3, "at": late})
    pq.write_table(table, tmp_path / "a.parquet")
    source = open_source(str(tmp_path / "a.parquet"), on_bad=OnBad.SKIP)
    assert [row.number for row in source] == [0, 2]
    assert source.malformed[0].place.endswith("a.parquet, row 1")
    with pytest.raises(SourceError, match=r"a.parquet, row 1: holds a value that cannot be read"):
        list(open_source(str(tmp_path / "a.parquet")))


def test_malformed_rows_are_counted_but_only_the_first_are_kept(tmp_path: Path) -> None:
    source = lines(tmp_path, GOOD, *[{"question": "x" * 500}] * 150, {**GOOD, "question": []})
    list(source)
    assert source.malformed_count == 151
    assert len(source.malformed) == 100


def test_the_text_of_a_problem_is_short(tmp_path: Path) -> None:
    turn = {"role": "a very long role " * 100, "content": ASKED}
    good = {"messages": [{"role": "user", "content": ASKED}]}
    source = lines(tmp_path, good, {"messages": [turn]})
    list(source)
    assert len(source.malformed[0].problem) == 120


def test_a_source_without_any_readable_row_says_so_even_when_rows_are_skipped(
    tmp_path: Path,
) -> None:
    source = lines(tmp_path, {**GOOD, "question": []}, {**GOOD, "answer": {}})
    with pytest.raises(SourceError, match=r"no readable row; the first of 2, .*:1, has a list in"):
        list(source)
    (tmp_path / "b.jsonl").write_text("null\n[1]\n")
    with pytest.raises(SourceError, match=r"the first of 2, .*b.jsonl:1, is NoneType"):
        open_source(str(tmp_path / "b.jsonl"), on_bad=OnBad.SKIP)
