"""Each benchmark runs, at the smallest size, and says where its figures come from."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from benchmarks import scale_out, tail, waste
from benchmarks.catalogue import BENCHMARKS
from benchmarks.stand_ins import Setting
from synth.cli import app
from tests.conftest import REPO
from tests.finished_run import ANSWERS, QUESTIONS

TINY = Setting(replicas=2, sequences=4, records=33)


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["bench", *arguments])


def test_without_a_name_the_benchmarks_are_listed() -> None:
    assert all(f"{name}: " in bench().output for name in BENCHMARKS)
    assert json.loads(bench("--json").output) == BENCHMARKS


def test_an_unknown_name_is_one_message_with_a_hint() -> None:
    result = bench("scaleout")
    assert result.exit_code == 2
    assert "there is no benchmark 'scaleout' (did you mean 'scale_out'?)" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tail", "--replicas", "0"], "'0' is not a whole number of at least 1"),
        (["scale_out", "--replicas", "1,x"], "'x' is not a whole number of at least 1"),
        (["tail", "--acceptance", "0.5,1.5"], "'1.5' is not a share above 0 and up to 1"),
        (["tail", "--hard", "-1"], "'-1' is not a whole number of at least 0"),
        (["scale_out", "--acceptance", "2"], "'2' is not a share above 0 and up to 1"),
        (["tail", "--acceptance", "half"], "'half' is not a share above 0 and up to 1"),
    ],
)
def test_a_number_that_cannot_be_is_one_message(arguments: list[str], message: str) -> None:
    result = bench(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_each_tells_its_own_options(name: str) -> None:
    result = bench(name, "--help")
    assert result.exit_code == 0
    assert f"evenfill bench {name}" in result.output


def test_a_result_names_machine_versions_command_and_date() -> None:
    size = ["--replicas", "2", "--sequences", "4", "--records", "33", "--acceptance", "0.9"]
    result = bench("tail", *size, "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.output)
    assert figures["bench"] == "tail"
    assert figures["command"] == f"evenfill bench tail {' '.join(size)} --json"
    assert {"cpu", "cores", "load", "python"} <= figures["machine"].keys()
    assert {"evenfill", "ray"} <= figures["versions"].keys()
    assert figures["date"].startswith("20")
    assert len(figures["runs"]) == 1


def test_without_json_the_figures_are_a_table() -> None:
    result = bench("scale_out", "--replicas", "1,2", "--sequences", "4", "--records-each", "33")
    assert result.exit_code == 0, result.output
    assert "steady efficiency" in result.output
    assert "evenfill bench scale_out" in result.output


def test_indexes_are_compared_at_the_sizes_asked_for() -> None:
    size = ["--rows", "300,600", "--queries", "64", "--indexes", "flat;evenfill"]
    result = bench("index", *size, "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["results"]
    assert [(row["rows"], row["index"]) for row in rows] == [
        (300, "flat"), (300, "evenfill"), (600, "flat"), (600, "evenfill"),
    ]  # fmt: skip
    assert all(row["recall"] == 1.0 and row["search_ms"] > 0 for row in rows)


def test_a_straggler_shows_in_the_tail() -> None:
    (row,) = tail.measure(TINY, [0.9])
    assert row["accepted"] == TINY.records
    assert row["straggler_first_95_s"] + row["straggler_last_5_s"] > row["first_95_s"]
    assert row["held_up_s"] != 0


def test_one_replica_alone_is_only_timed() -> None:
    (row,) = tail.measure(replace(TINY, replicas=1), [0.9])
    assert row["accepted"] == TINY.records
    assert not any(key.startswith("straggler") for key in row)


def test_two_replicas_are_compared_with_one() -> None:
    one, two = scale_out.measure(TINY, [1, 2], 33)
    assert one["efficiency"] == 1.0
    assert (one["accepted"], two["accepted"]) == (33, 66)
    assert 0.5 < two["efficiency"] < 1.5
    assert two["calls_per_100"] > 0


def test_waste_adds_up_to_the_run(run_folder: Path) -> None:
    figures = waste.measure(str(run_folder))
    report = json.loads((run_folder / "report.json").read_text())
    assert figures["tokens_written"] == report["tokens"]["completion"]
    assert figures["accepted"] == len(QUESTIONS) == len(ANSWERS)
    assert figures["tokens_per_accepted_token"] == 1.0
    assert figures["saved_tokens"] == 0
    assert figures["question_tokens"] + figures["answer_tokens"] == pytest.approx(9.0)


def test_waste_of_a_folder_without_a_run_is_one_message(tmp_path: Path) -> None:
    result = bench("waste", str(tmp_path))
    assert result.exit_code == 2
    assert "holds no report.json" in result.stderr


@pytest.mark.parametrize(
    ("stage", "reason", "expected"),
    [
        ("question", "duplicate", "question: repeat"),
        ("answer", "exact_repeat", "answer: repeat"),
        ("question", "topic_full", "question: topic_full"),
        ("question", "off_topic", "question: off_topic"),
        ("answer", "pii_name", "answer: gates and judges"),
    ],
)
def test_a_refused_text_is_booked_under_its_cause(stage: str, reason: str, expected: str) -> None:
    assert waste.cause(stage, reason) == expected


def test_the_coordinator_is_measured_on_ray() -> None:
    size = ["--replicas", "2", "--drivers", "1", "--sequences", "4", "--question-s", "0.2"]
    size += ["--answer-s", "0.3", "--warm-up-s", "1.5", "--seconds", "1", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "synth", "bench", "coordinator", *size],
        cwd=REPO, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    (row,) = json.loads(done.stdout)["runs"]
    assert row["candidates_per_s"] > 0
    assert row["own_cpu_ms"] > row["labeller_cpu_ms"] > 0
    assert 0 < row["lease_p50_ms"] <= row["lease_p99_ms"]
    assert row["memory_mib"] > 100
    assert row["full_at_gpus"] >= row["full_at_gpus_with_index"] > 0
