"""Exports: every form and file reads back as the same records, and splits part no neighbours."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset, load_from_disk
from typer.testing import CliRunner

from synth.cli import app
from synth.config import RunConfig
from synth.embedding import Embedder
from synth.errors import ConfigError, StoreError
from synth.export import SHAPES, Export, export
from synth.export.split import groups, held_out
from synth.fill import Request, plan_fill
from synth.review.verdicts import Decision, Verdict, Verdicts, now
from synth.segments import read_rows
from synth.session import Session
from synth.sources import open_source
from synth.store import run_files
from tests.conftest import REPO
from tests.finished_run import TOPIC

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
    assert json.loads((tmp_path / "filled/run.json").read_text())["dataset_digest"]
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
        (["--to", "a.jsonl", "--push", "me/mine"], "is given beside --to"),
        (["--near", "0.4", "--eval-share", "0.1"], "--near: is 0.4"),
    ],
)
def test_an_export_that_cannot_be_is_one_message(
    run_folder: Path, options: list[str], message: str
) -> None:
    result = CliRunner().invoke(app, ["export", str(run_folder), *options])
    assert result.exit_code == 2, result.output
    assert message in result.stderr.replace("\n", " ")


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


def test_groups_are_those_of_all_pairs_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((300, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    monkeypatch.setattr("synth.export.split._ROWS", 7)
    monkeypatch.setattr("synth.export.split._COLUMNS", 64)
    found = groups(vectors, 0.85)
    near = vectors @ vectors.T >= 0.85
    reached = near
    for _ in range(9):
        reached = reached @ near
    assert 1 < len(set(found)) < 300
    assert ((found[:, None] == found[None, :]) == reached).all()


def test_an_edited_question_is_split_by_what_it_says_now(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = records(run_folder)
    files = run_files(str(run_folder))
    first, second = rows[0], rows[1]
    Verdicts(files.review).add(
        Verdict(id=second["id"], decision=Decision.EDIT, question=first["question"], answer="A",
                at=now())
    )  # fmt: skip
    seen = []

    def note(vectors: np.ndarray, *_: object) -> np.ndarray:
        seen.append(vectors)
        return np.array([False, False, True])

    monkeypatch.setattr("synth.export.exporting.held_out", note)
    export(files, Export("evenfill", tmp_path / "a.jsonl", eval_share=0.4))
    assert float(seen[0][0] @ seen[0][1]) == pytest.approx(1, abs=1e-5)
    assert float(seen[0][0] @ seen[0][2]) < 0.9


def test_a_run_without_edits_needs_no_embedder(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Embedder:
        raise AssertionError

    monkeypatch.setattr("synth.export.exporting.Embedder", refuse)
    export(run_files(str(run_folder)), Export("evenfill", tmp_path / "a.jsonl", eval_share=0.4))


@pytest.mark.parametrize("to", ["a.jsonl", "a.csv", "a.parquet", "a"])
def test_an_empty_eval_split_keeps_its_columns_and_is_told(
    run_folder: Path, tmp_path: Path, to: str
) -> None:
    how = Export("instruction", tmp_path / to, eval_share=0.1)  # a tenth of three is none
    done = export(run_files(str(run_folder)), how)
    assert done.records == {"train": 3, "eval": 0}
    assert any("eval is empty" in note for note in done.notes)
    if to == "a":
        saved = load_from_disk(str(tmp_path / "a"))
        assert saved["eval"].features == saved["train"].features
    elif to == "a.parquet":
        schemas = [pq.read_schema(path) for path in done.files.values()]
        assert schemas[0] == schemas[1]
        assert schemas[0].names == ["instruction", "input", "output"]


def test_nothing_to_export_is_one_message(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"holds no record to export \(3 are left out\)"):
        export(
            run_files(str(run_folder)), Export("evenfill", tmp_path / "a.jsonl", reviewed_only=True)
        )
    assert not (tmp_path / "a.jsonl").exists()


@pytest.mark.parametrize(("near", "share"), [(0.4, 0.1), (1.1, 0.1), (0.8, 0.6), (0.8, -0.1)])
def test_a_split_out_of_bounds_is_refused_from_python_too(near: float, share: float) -> None:
    with pytest.raises(ConfigError, match="Give 0"):
        Export("evenfill", Path("a.jsonl"), eval_share=share, near=near).check()


def test_the_card_says_what_is_there_and_what_reviewers_changed(
    run_folder: Path, tmp_path: Path
) -> None:
    files = run_files(str(run_folder))
    Verdicts(files.review).add(
        Verdict(id=records(run_folder)[0]["id"], decision=Decision.EDIT, question="Q", answer="A",
                at=now())
    )  # fmt: skip
    done = export(files, Export("instruction", tmp_path / "a.jsonl", eval_share=0.4))
    assert done.card is not None
    card = " ".join(done.card.read_text().split())
    for told in (
        "- train: 2 records", "- eval: 1 records", "edited 1, unreviewed 2", f"topic: {TOPIC} 3",
        "every pair was looked at", "Reviewers changed 1 of them afterwards", "which is complete",
        "Nothing here grants one", "no clinician has vouched",
    ):  # fmt: skip
        assert told in card
