"""Whole runs on a real vLLM engine with the built-in model: what the README promises."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from datasets import load_dataset

from synth.config import METRICS
from synth.embedding import Embedder
from synth.specs import Specs
from tests.actors.test_faults import process_named
from tests.actors.test_launch import orphans
from tests.actors.test_privacy import is_loopback, listening
from tests.check_folder import digests, problems
from tests.finished_run import ANSWERS
from tests.finished_run import QUESTIONS as ASKED

pytestmark = pytest.mark.engine

EVENFILL = [sys.executable, "-m", "synth"]
MIN_WORDS = 25
SHORT = (  # quicker
    f"--set=record={{min_words: {MIN_WORDS}, max_question_words: 50, max_answer_words: 70}}"
)
RUN = [
    "run", "--total", "33", "--set", "targets.policy=uniform", SHORT,
    # Seventy words seldom hold all that an answer in a crisis must have.
    "--set", "budget={attempts_per_record: 200}", "--out",
]  # fmt: skip


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*EVENFILL, *RUN, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for_records(folder: Path, process: subprocess.Popen[str], epoch: int = 1) -> None:
    deadline = time.monotonic() + 300
    while not list((folder / "accepted").glob(f"segment-{epoch:04d}-*")):
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.timeout(1200)  # three starts, and 33 records of which four in five are refused
def test_a_run_that_is_interrupted_and_whose_engine_core_dies_fills_all_33_topics_exactly(
    tmp_path: Path, specs: Specs, embedder: Embedder
) -> None:
    folder = tmp_path / "run"
    first = start(folder)
    wait_for_records(folder, first)
    assert all(map(is_loopback, listening(psutil.Process(first.pid))))
    os.killpg(first.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    output, _ = first.communicate(timeout=120)
    assert first.returncode == 130, output
    assert orphans() == []
    interrupted = json.loads((folder / "report.json").read_text())
    assert interrupted["status"] == "interrupted"
    assert 0 < interrupted["accepted"] < 33
    assert interrupted["rejected_by_reason"]["interrupted"] > 0
    earlier = digests(folder)

    second = start(folder)
    wait_for_records(folder, second, epoch=2)
    process_named("VLLM::EngineCore").kill()
    output, _ = second.communicate(timeout=900)
    assert second.returncode == 0, output
    assert "Traceback" not in output
    assert orphans() == []
    assert problems(folder, earlier) == []

    rows = load_dataset(
        "parquet", data_files=f"{folder}/accepted/*.parquet", cache_dir=str(tmp_path / "cache")
    )["train"]
    assert sorted(rows["topic"]) == sorted(specs.topics)
    assert len(set(rows["id"])) == 33
    for row in rows:
        assert len(row["question"].split()) >= MIN_WORDS
        assert len(row["answer"].split()) >= MIN_WORDS
    logs = output + "".join(path.read_text() for path in (folder / "logs").iterdir())
    assert "EngineCore" in logs
    assert not any(row[text][:60] in logs for row in rows for text in ("question", "answer"))
    vectors = embedder.embed(rows["question"])
    np.testing.assert_allclose(vectors, np.array(rows["embedding"]), atol=1e-4)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    assert cosines.max() < 0.85
    report = json.loads((folder / "report.json").read_text())
    assert report["status"] == "complete"
    assert report["dedup"]["max_similarity_accepted"] == pytest.approx(cosines.max(), abs=1e-4)
    assert report["generated"] == report["accepted"] + report["rejected"]
    truncated = report["rejected_by_reason"].get("truncated", 0)
    assert truncated <= 0.05 * report["generated"]


def test_a_preview_shows_prompt_and_records_and_keeps_nothing(tmp_path: Path) -> None:
    """With the outlines backend, which has to work as well."""
    options = [
        SHORT,
        "--set=engine.structured_output=outlines",
        "--set=topic_gate={margin: 1, min_score: -1}",  # quicker
    ]
    result = subprocess.run(
        [*EVENFILL, "preview", "--topic", "grief-and-loss", "-n", "1", "--json", *options],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    (shown,) = json.loads(result.stdout)
    assert shown["topic"] == "grief-and-loss"
    assert "Topic: " in shown["prompt"][-1]["content"]
    assert list(tmp_path.iterdir()) == []


def test_a_datasets_gap_is_filled_with_nothing_that_is_there_and_a_judge_reads_all_of_it(
    tmp_path: Path, embedder: Embedder
) -> None:
    """With the guidance backend, which has to work as well."""
    dataset, folder = tmp_path / "mine.csv", tmp_path / "run"
    with open(dataset, "w", newline="") as file:
        table = csv.writer(file)
        table.writerows([("Context", "Response"), *((question, ANSWERS[0]) for question in ASKED)])
    fill = [*EVENFILL, "fill", str(dataset), "--topic", "sleep-improvement=2"]
    options = ["--topic", "grief-and-loss=1", SHORT, "--set=judge={}"]
    options.append("--set=engine.structured_output=guidance")
    done = subprocess.run(
        [*fill, *options, "--out", str(folder), "--json"],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    topics = report["topics"]
    held = {topic: figures["accepted"] for topic, figures in topics.items() if figures["accepted"]}
    assert held == {"sleep-improvement": 2, "grief-and-loss": 1}
    assert report["judge"]["records"] == 3
    assert "unparsable" not in report["rejected_by_reason"]
    written = load_dataset(
        "parquet", data_files=f"{folder}/accepted/*.parquet", cache_dir=str(tmp_path / "cache")
    )["train"]
    for row in written:
        (judgement,) = row["judgements"]
        scores = judgement["scores"]
        assert [score["metric"] for score in scores] == list(METRICS)
        assert all(1 <= score["score"] <= 10 and score["rationale"] for score in scores)
    merged = tmp_path / "merged.csv"
    export = ["export", str(folder), "--format", "own", "--merge", "--to", str(merged)]
    subprocess.run([*EVENFILL, *export], check=True, capture_output=True)
    with open(merged, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["Context"] for row in rows[:3]] == list(ASKED)
    vectors = embedder.embed([row["Context"] for row in rows])
    assert (vectors[3:] @ vectors.T - np.eye(6)[3:]).max() < 0.85
