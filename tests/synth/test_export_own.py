"""Exports in the columns of the dataset that was filled: nothing of it or of the run is lost."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict, load_from_disk

from synth.config import DatasetConfig
from synth.errors import ConfigError, StoreError
from synth.export import Export, export
from synth.export.columns import Columns
from synth.export.files import write_all
from synth.export.own import look_again
from synth.sources import SourceError, open_source
from tests.finished_run import ANSWERS, QUESTIONS, TOPIC, as_filled

Rows = list[dict[str, Any]]


def in_lines(path: Path, rows: Rows) -> DatasetConfig:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DatasetConfig(location=str(path))


def read(path: Path) -> Rows:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    if path.suffix == ".csv":
        with open(path, newline="") as file:
            return list(csv.DictReader(file))
    return list(pq.read_table(path).to_pylist() if path.suffix else load_from_disk(str(path)))


def own(
    run_folder: Path, dataset: DatasetConfig, to: Path, merge: bool = True
) -> tuple[Rows, Rows]:
    """Old and new rows of an export."""
    export(as_filled(run_folder, dataset), Export("own", to, merge=merge))
    rows = read(to)
    return rows[:-3], rows[-3:]


ENDINGS = pytest.mark.parametrize("ending", [".jsonl", ".parquet", ""])


@ENDINGS
def test_turns_keep_their_column_their_keys_and_their_neighbours(
    run_folder: Path, tmp_path: Path, ending: str
) -> None:
    turns = [{"role": "client", "content": "I hurt."}, {"role": "therapist", "content": "Where?"}]
    rows = [{"turns": turns, "src": src} for src in ("a", "b")]
    dataset = in_lines(tmp_path / "mine.jsonl", rows)
    old, new = own(run_folder, dataset, tmp_path / f"all{ending}")
    assert [(row["turns"], row["src"]) for row in old] == [(turns, "a"), (turns, "b")]
    for row, question, answer in zip(new, QUESTIONS, ANSWERS, strict=True):
        assert row["turns"] == [
            {"role": "client", "content": question},
            {"role": "therapist", "content": answer},
        ]
        assert row["src"] is None
        assert row["evenfill_topic"] == TOPIC
        assert "messages" not in row
    found = [(row.question, row.answer) for row in open_source(str(tmp_path / f"all{ending}"))]
    assert found[2:] == list(zip(QUESTIONS, ANSWERS, strict=True))


@ENDINGS
def test_share_gpt_with_other_keys_and_a_system_turn_is_written_so(
    run_folder: Path, tmp_path: Path, ending: str
) -> None:
    def row(text: str) -> dict[str, Any]:
        told = (("system", "Be kind."), ("user", text), ("assistant", "I see."))
        return {"conversations": [{"role": role, "content": text} for role, text in told]}

    dataset = in_lines(tmp_path / "mine.jsonl", [row("One."), row("Two.")])
    _, new = own(run_folder, dataset, tmp_path / f"all{ending}")
    assert [turn["role"] for turn in new[0]["conversations"]] == ["system", "user", "assistant"]
    assert [turn["content"] for turn in new[0]["conversations"]] == [
        "Be kind.", QUESTIONS[0], ANSWERS[0],
    ]  # fmt: skip


def test_turns_in_one_list_per_key_stay_so(run_folder: Path, tmp_path: Path) -> None:
    rows = [{"conversations": {"from": ["human", "gpt"], "value": ["I hurt.", "Where?"]}}] * 2
    _, new = own(run_folder, in_lines(tmp_path / "mine.jsonl", rows), tmp_path / "all.parquet")
    assert new[0]["conversations"] == {
        "from": ["human", "gpt"],
        "value": [QUESTIONS[0], ANSWERS[0]],
    }


def test_a_column_with_one_value_has_it_in_new_records(run_folder: Path, tmp_path: Path) -> None:
    rows = [
        {"instruction": "Be a counsellor.", "input": f"I hurt {n}.", "output": "Why?", "n": n}
        for n in range(2)
    ]
    dataset = in_lines(tmp_path / "mine.jsonl", rows)
    _, new = own(run_folder, dataset, tmp_path / "all.jsonl")
    assert [(r["instruction"], r["input"], r["output"], r["n"]) for r in new] == [
        ("Be a counsellor.", question, answer, None)
        for question, answer in zip(QUESTIONS, ANSWERS, strict=True)
    ]
    card = (tmp_path / "all.jsonl.README.md").read_text()
    assert "one value in `instruction`;" in card


def test_where_the_instruction_is_the_question_it_stays_so(
    run_folder: Path, tmp_path: Path
) -> None:
    rows = [{"instruction": f"I hurt {n}.", "input": "", "output": "Why?"} for n in range(2)]
    _, new = own(run_folder, in_lines(tmp_path / "mine.jsonl", rows), tmp_path / "all.jsonl")
    assert (new[0]["instruction"], new[0]["input"]) == (QUESTIONS[0], "")


@pytest.mark.parametrize(("label", "written"), [("grief", TOPIC), (["grief"], [TOPIC])])
def test_the_topic_goes_into_whichever_column_has_it(
    run_folder: Path, tmp_path: Path, label: object, written: object
) -> None:
    rows = [
        {"questionTitle": "T", "questionText": f"I hurt {n}.", "answerText": "Why?",
         "topics": label, "upvotes": n}
        for n in range(2)
    ]  # fmt: skip
    _, new = own(run_folder, in_lines(tmp_path / "mine.jsonl", rows), tmp_path / "all.parquet")
    assert new[0]["topics"] == written
    assert new[0]["upvotes"] is None


def test_rows_of_an_earlier_run_keep_its_names(run_folder: Path, tmp_path: Path) -> None:
    rows = [
        {"id": f"x{n}", "topic": "t", "requested_topic": "t", "question": f"I hurt {n}.",
         "answer": "Why?", "model": "old"}
        for n in range(2)
    ]  # fmt: skip
    _, new = own(run_folder, in_lines(tmp_path / "mine.jsonl", rows), tmp_path / "all.jsonl")
    assert [row["id"] for row in new] == [row["evenfill_id"] for row in new]
    assert new[0]["model"] == "SmolLM2-135M-Instruct"


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet", ""])
def test_a_merge_has_the_columns_of_all_rows_and_keeps_what_an_earlier_fill_said(
    run_folder: Path, tmp_path: Path, ending: str
) -> None:
    rows: Rows = [{"Context": f"I hurt {n}.", "Response": "Why?"} for n in range(1500)]
    rows[3]["evenfill_id"] = "before"
    rows[1400]["late"] = 7
    old, new = own(run_folder, in_lines(tmp_path / "mine.jsonl", rows), tmp_path / f"all{ending}")
    assert len(old) == 1500
    assert len({tuple(row) for row in old + new}) == 1
    assert old[3]["evenfill_id"] == "before"
    assert old[1400]["late"] in (7, "7")
    assert new[0]["Context"] == QUESTIONS[0]


def test_a_row_that_is_skipped_is_counted_and_told(run_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    row = '{"Context": "I hurt.", "Response": "Why?"}\n'
    path.write_text(row + "no json\n" + row)
    dataset = DatasetConfig(location=str(path), on_bad="skip")
    done = export(as_filled(run_folder, dataset), Export("own", tmp_path / "a.jsonl", merge=True))
    assert (done.skipped, done.records) == (1, {"train": 5})
    assert "1 malformed rows" in done.notes[0]
    assert "1 malformed rows" in (tmp_path / "a.jsonl.README.md").read_text()
    stopping = dataset.model_copy(update={"on_bad": "stop"})
    with pytest.raises(SourceError, match=r"mine\.jsonl:2"):
        look_again(stopping, None)


def test_splits_keep_their_names_and_new_records_go_to_train(
    run_folder: Path, tmp_path: Path
) -> None:
    def part(word: str, rows: int) -> Dataset:
        return Dataset.from_list(
            [{"Context": f"{word} {n}", "Response": "Why?"} for n in range(rows)]
        )

    DatasetDict({"train": part("one", 2), "test": part("two", 1)}).save_to_disk(tmp_path / "mine")
    files = as_filled(run_folder, DatasetConfig(location=str(tmp_path / "mine")))
    done = export(files, Export("own", tmp_path / "all", merge=True))
    assert done.records == {"train": 5, "test": 1}
    saved = load_from_disk(str(tmp_path / "all"))
    assert saved["test"]["Context"][:] == ["two 0"]
    assert saved["train"]["Context"][:] == ["one 0", "one 1", *QUESTIONS]
    done = export(files, Export("own", tmp_path / "all.csv", merge=True))
    assert {split: path.name for split, path in done.files.items()} == {
        "train": "all-train.csv", "test": "all-test.csv",
    }  # fmt: skip
    assert len(read(tmp_path / "all-test.csv")) == 1


@pytest.mark.parametrize("merge", [True, False])
def test_a_dataset_that_is_another_now_is_refused(
    run_folder: Path, tmp_path: Path, merge: bool
) -> None:
    dataset = in_lines(tmp_path / "mine.jsonl", [{"Context": "I hurt.", "Response": "Why?"}])
    files = as_filled(run_folder, dataset)
    in_lines(tmp_path / "mine.jsonl", [{"Context": "I hurt!", "Response": "Why?"}])
    with pytest.raises(StoreError, match="is not as it was when the run filled it"):
        export(files, Export("own", tmp_path / "a.jsonl", merge=merge))
    assert not (tmp_path / "a.jsonl").exists()


def test_rows_to_write_like_are_part_of_what_must_be_the_same(
    run_folder: Path, tmp_path: Path
) -> None:
    mine = in_lines(tmp_path / "mine.jsonl", [{"Context": "I hurt.", "Response": "Why?"}])
    like = in_lines(tmp_path / "like.jsonl", [{"Context": "I cry.", "Response": "Why?"}])
    dataset = mine.model_copy(update={"like": like.location, "examples": 2})
    files = as_filled(run_folder, dataset)
    done = export(files, Export("own", tmp_path / "a.jsonl"))
    assert done.card is not None
    assert "shown up to 2 rows of `like.jsonl`" in done.card.read_text()
    assert str(tmp_path) not in done.card.read_text()
    in_lines(tmp_path / "like.jsonl", [{"Context": "I cry!", "Response": "Why?"}])
    with pytest.raises(StoreError, match=r"or .*like\.jsonl is not"):
        export(files, Export("own", tmp_path / "b.jsonl"))


def test_a_column_of_mixed_types_is_lines_or_one_message(run_folder: Path, tmp_path: Path) -> None:
    rows: Rows = [{"Context": f"I hurt {n}.", "Response": "Why?", "stars": n} for n in range(1100)]
    rows[1050]["stars"] = "many"
    files = as_filled(run_folder, in_lines(tmp_path / "mine.jsonl", rows))
    for to in ("a.parquet", "a"):
        with pytest.raises(ConfigError, match="'stars' mixes types"):
            export(files, Export("own", tmp_path / to, merge=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.jsonl", "run"]
    export(files, Export("own", tmp_path / "a.jsonl", merge=True))
    assert read(tmp_path / "a.jsonl")[1050]["stars"] == "many"


def test_a_column_that_is_empty_for_long_keeps_its_type(run_folder: Path, tmp_path: Path) -> None:
    rows: Rows = [{"Context": f"I hurt {n}.", "Response": "Why?", "n": None} for n in range(1100)]
    rows[1050]["n"] = 5
    dataset = in_lines(tmp_path / "mine.jsonl", rows)
    old, _ = own(run_folder, dataset, tmp_path / "a.parquet")
    assert old[1050]["n"] == 5


def test_what_a_format_cannot_hold_is_one_message_and_leaves_nothing(
    run_folder: Path, tmp_path: Path
) -> None:
    rows = [{"Context": "I hurt.", "Response": "Why?", "voice": b"\x00\x01", "tags": ["a"]}]
    Dataset.from_list(rows).to_parquet(str(tmp_path / "mine.parquet"))
    files = as_filled(run_folder, DatasetConfig(location=str(tmp_path / "mine.parquet")))
    with pytest.raises(StoreError, match="'voice' holds a value of type bytes"):
        export(files, Export("own", tmp_path / "a.jsonl", merge=True))
    with pytest.raises(ConfigError, match=r"cells cannot hold lists of turns \('tags'\)"):
        export(files, Export("own", tmp_path / "a.csv", merge=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.parquet", "run"]
    export(files, Export("own", tmp_path / "a.parquet", merge=True))


def test_times_and_nan_become_what_json_has(run_folder: Path, tmp_path: Path) -> None:
    from datetime import UTC, datetime

    at = datetime(2024, 5, 1, 12, tzinfo=UTC)
    rows = [{"Context": "I hurt.", "Response": "Why?", "at": at, "score": float("nan")}]
    Dataset.from_list(rows).to_parquet(str(tmp_path / "mine.parquet"))
    dataset = DatasetConfig(location=str(tmp_path / "mine.parquet"))
    old, _ = own(run_folder, dataset, tmp_path / "a.jsonl")
    assert (old[0]["at"], old[0]["score"]) == ("2024-05-01T12:00:00+00:00", None)
    old, _ = own(run_folder, dataset, tmp_path / "a.csv")
    assert old[0]["at"] == "2024-05-01T12:00:00+00:00"


def test_a_form_of_dialogues_that_cannot_be_written_is_one_message(
    run_folder: Path, tmp_path: Path
) -> None:
    row = {"dialog": [{"speaker": "usr", "text": "I hurt."}, {"speaker": "sys", "text": "Why?"}]}
    files = as_filled(run_folder, in_lines(tmp_path / "mine.jsonl", [row]))
    with pytest.raises(ConfigError, match="not possible for a dataset in the form 'esconv'"):
        export(files, Export("own", tmp_path / "a.jsonl"))


def test_the_card_of_a_merge_claims_nothing_about_the_old_rows(
    run_folder: Path, tmp_path: Path
) -> None:
    dataset = in_lines(tmp_path / "mine.jsonl", [{"Context": "I hurt.", "Response": "Why?"}] * 2)
    done = export(as_filled(run_folder, dataset), Export("own", tmp_path / "a.jsonl", merge=True))
    assert done.card is not None
    card = " ".join(done.card.read_text().split())
    assert "# Counselling conversations, 3 of them synthetic" in card
    assert "Its 2 readable rows are here as they were: no gate has looked at them" in card
    assert "None of its rows was shown to the model" in card
    assert "no record of real people" not in card


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_half_a_character_is_one_message(tmp_path: Path, ending: str) -> None:
    columns = Columns.of([{"Context": "whole", "Response": "whole"}])
    broken = [("train", {"Context": "fine", "Response": "\ud800"})]
    with pytest.raises(StoreError, match=r"surrogates|'Response' holds half a character"):
        write_all({"train": tmp_path / f"a{ending}"}, columns, broken)


def test_a_column_that_nobody_announced_is_no_silent_loss(tmp_path: Path) -> None:
    columns = Columns.of([{"Context": "a"}])
    with pytest.raises(StoreError, match="a column 'new' that was not there"):
        write_all({"train": tmp_path / "a.jsonl"}, columns, [("train", {"new": 1})])
