"""Exports: every form and file reads back as the same records, and splits part no neighbours."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset, load_from_disk
from typer.testing import CliRunner

from synth.cli import app
from synth.config import RunConfig
from synth.errors import StoreError
from synth.export import SHAPES, Export, export
from synth.export.files import push
from synth.export.split import held_out
from synth.fill import Request, plan_fill
from synth.review.verdicts import Decision, Verdict, Verdicts, now
from synth.segments import read_rows
from synth.session import Session
from synth.sources import open_source
from synth.store import run_files
from tests.conftest import REPO

ENDINGS = (".jsonl", ".csv", ".parquet", "")


def records(folder: Path) -> list[dict]:
    return [
        row
        for batch in read_rows(run_files(str(folder)).accepted, ("id", "question", "answer"))
        for row in batch.to_pylist()
    ]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_exported_reads_back_as_the_same_records(
    run_folder: Path, tmp_path: Path, shape: str, ending: str
) -> None:
    to = tmp_path / "out" / f"mine{ending}"
    how = Export(shape, to)
    if ending == ".csv" and shape in ("messages", "sharegpt"):
        result = CliRunner().invoke(
            app, ["export", str(run_folder), "--format", shape, "--to", str(to)]
        )
        assert result.exit_code == 2
        assert "cells cannot hold lists of turns" in result.stderr
        return
    done = export(run_files(str(run_folder)), how)
    assert done.records == {"train": 3}
    source = open_source(str(to))
    assert source.form.name == shape
    found = [(row.question, row.answer) for row in source]
    assert found == [(row["question"], row["answer"]) for row in records(run_folder)]
    assert done.card is not None
    assert "What it is not for" in done.card.read_text()


def test_the_library_that_trainers_use_loads_it(run_folder: Path, tmp_path: Path) -> None:
    files = run_files(str(run_folder))
    cache = str(tmp_path / "cache")
    export(files, Export("messages", tmp_path / "a.jsonl"))
    (row, *_) = load_dataset("json", data_files=str(tmp_path / "a.jsonl"), cache_dir=cache)["train"]
    assert [turn["role"] for turn in row["messages"]] == ["system", "user", "assistant"]
    export(files, Export("instruction", tmp_path / "a.csv"))
    data = load_dataset("csv", data_files=str(tmp_path / "a.csv"), cache_dir=cache)["train"]
    assert data.column_names == ["instruction", "input", "output"]
    export(files, Export("sharegpt", tmp_path / "saved"))
    saved = load_from_disk(str(tmp_path / "saved"))
    assert [turn["from"] for turn in saved[0]["conversations"]] == ["system", "human", "gpt"]
    with pytest.raises(StoreError, match="is there already"):
        export(files, Export("sharegpt", tmp_path / "saved"))


def test_rejected_records_are_left_out_and_edited_ones_are_as_edited(
    run_folder: Path, tmp_path: Path
) -> None:
    first, second, third = (row["id"] for row in records(run_folder))
    files = run_files(str(run_folder))
    verdicts = Verdicts(files.review)
    verdicts.add(Verdict(id=first, decision=Decision.REJECT, at=now()))
    verdicts.add(Verdict(id=third, decision=Decision.EDIT, question="Q", answer="A", at=now()))
    done = export(files, Export("evenfill", tmp_path / "a.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [second, third]
    assert (lines[1]["question"], lines[1]["answer"]) == ("Q", "A")
    assert (done.records, done.left_out) == ({"train": 2}, 1)
    done = export(files, Export("evenfill", tmp_path / "b.jsonl", reviewed_only=True))
    assert (done.records, done.left_out) == ({"train": 1}, 2)


def filled(folder: Path, run_folder: Path, dataset: Path) -> Path:
    """A run folder that says of itself that it filled `dataset`."""
    plan = plan_fill(str(dataset), Request(topics={"sleep-improvement": 3}),
                     RunConfig(out=str(folder)), REPO)  # fmt: skip
    Session(plan, accept_changes=False).close()
    shutil.rmtree(folder / "accepted")
    shutil.copytree(run_folder / "accepted", folder / "accepted")
    return folder


def test_a_filled_dataset_comes_back_in_its_own_columns_merged_or_separate(
    run_folder: Path, tmp_path: Path
) -> None:
    dataset = tmp_path / "mine.csv"
    dataset.write_text('Context,Response,stars\n"I cannot sleep, at all.",Since when?,5\n')
    files = run_files(str(filled(tmp_path / "filled", run_folder, dataset)))
    export(files, Export("own", tmp_path / "new.csv"))
    with open(tmp_path / "new.csv", newline="") as file:
        new = list(csv.DictReader(file))
    assert list(new[0])[:3] == ["Context", "Response", "stars"]
    assert [row["evenfill_id"] for row in new] == [row["id"] for row in records(run_folder)]
    done = export(files, Export("own", tmp_path / "all.csv", merge=True))
    assert done.records == {"train": 4}
    with open(tmp_path / "all.csv", newline="") as file:
        merged = list(csv.DictReader(file))
    assert (merged[0]["Context"], merged[0]["stars"], merged[0]["evenfill_id"]) == (
        "I cannot sleep, at all.", "5", "",
    )  # fmt: skip
    assert merged[1:] == new
    assert [row.question for row in open_source(str(tmp_path / "all.csv"))][1:] == [
        row["question"] for row in records(run_folder)
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "mesages"], "there is no format 'mesages' (did you mean 'messages'?)"),
        (["--format", "own"], "is for runs that filled a dataset"),
        (["--merge"], "needs --format own"),
        (["--to", "a.xlsx"], "ends in '.xlsx'"),
    ],
)
def test_an_export_that_cannot_be_is_one_message(
    run_folder: Path, options: list[str], message: str
) -> None:
    result = CliRunner().invoke(app, ["export", str(run_folder), *options])
    assert result.exit_code == 2, result.output
    assert message in result.stderr.replace("\n", " ")


def test_a_hub_that_is_not_there_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr("datasets.Dataset.push_to_hub", refuse)
    with pytest.raises(StoreError, match=r"the hub did not take 'me/mine' \(no route\)"):
        push("me/mine", {"train": [{"Context": "a", "Response": "b"}]})


def test_a_split_parts_no_near_neighbours_and_keeps_to_its_share() -> None:
    rng = np.random.default_rng(1)
    centres = np.repeat(rng.standard_normal((200, 48)), rng.integers(1, 6, 200), axis=0)
    vectors = (centres + 0.25 * rng.standard_normal(centres.shape)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    held = held_out(vectors, 0.2, 0.8, 7)
    assert 0.17 * len(vectors) <= held.sum() <= 0.2 * len(vectors)
    assert (vectors[held] @ vectors[~held].T).max() < 0.8
    assert (held == held_out(vectors, 0.2, 0.8, 7)).all()
    assert (held != held_out(vectors, 0.2, 0.8, 8)).any()
