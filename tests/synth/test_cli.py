"""The command line: what a person types wrong is one message and exit code 2, never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from synth.cli import app
from synth.config import load_config
from synth.lock import RunLock
from synth.plan import make_plan
from synth.session import Session
from synth.store import run_files
from tests.conftest import REPO, SPECS_DIR


def evenfill(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def mistake(*arguments: str) -> str:
    """The one line that a wrong call prints."""
    result = evenfill(*arguments)
    assert result.exit_code == 2, result.output
    (line,) = [x for x in result.stderr.splitlines() if x.strip()]
    assert line.startswith("error: ")
    return line


def test_a_wrong_key_in_a_topic_spec(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SPECS_DIR, tmp_path / "specs"))
    with open(folder / "stress.yaml", "a") as file:
        file.write("colour: blue\n")
    line = mistake("run", "--set", f"topics={folder}", "--out", str(tmp_path / "run"))
    assert str(folder / "stress.yaml") in line
    assert "unknown key 'colour'" in line


def test_a_missing_model(tmp_path: Path) -> None:
    line = mistake("run", "--set", "model.name=/no/model", "--out", str(tmp_path / "run"))
    assert "model.name: there is no folder '/no/model'" in line


def test_a_target_of_minus_one(tmp_path: Path) -> None:
    line = mistake("run", "--total", "-1", "--out", str(tmp_path / "run"))
    assert "'targets.total' is -1" in line


def test_a_topic_that_does_not_exist(tmp_path: Path) -> None:
    line = mistake("run", "--set", "targets.topics.grief=3", "--out", str(tmp_path / "run"))
    assert "did you mean 'grief-and-loss'?" in line


def test_an_output_folder_without_permission() -> None:
    assert "/proc/run cannot be written" in mistake("run", "--out", "/proc/run")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_an_output_folder_of_somebody_else() -> None:
    code = (
        "import os, sys\n"
        "from synth.errors import StoreError\n"
        "from synth.store import prepare, run_files\n"
        "os.setuid(65534)\n"
        "try:\n    prepare(run_files(sys.argv[1]))\nexcept StoreError as error:\n    print(error)\n"
    )
    with tempfile.TemporaryDirectory() as mine:
        os.chmod(mine, 0o755)
        command = [sys.executable, "-c", code, f"{mine}/run"]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "cannot be written" in result.stdout


def test_a_folder_in_use_by_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synth.lock._PATIENCE_S", 0.1)
    lock = RunLock(run_files(str(tmp_path)), "an evenfill run")
    line = mistake("run", "--out", str(tmp_path))
    assert f"in use by an evenfill run, process {os.getpid()}" in line
    lock.release()


def test_a_folder_with_a_run_of_another_config(tmp_path: Path) -> None:
    options = ["seed=1", f"out={tmp_path / 'run'}"]
    Session(make_plan(load_config(None, options), REPO), accept_changes=False).close()
    line = mistake("run", "--out", str(tmp_path / "run"), "--set", "seed=2")
    assert "seed: 1 -> 2" in line
    assert "--accept-changes" in line


def test_a_config_file_that_is_not_there() -> None:
    assert "nowhere.yaml: there is no such file" in mistake("validate", "--config", "nowhere.yaml")


def test_status_of_a_folder_without_a_run(tmp_path: Path) -> None:
    assert "holds no report.json" in mistake("status", str(tmp_path))


def test_status_of_a_report_that_no_run_wrote(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"rows": 3}')
    assert "is no run's report" in mistake("status", str(tmp_path))


def test_validate_says_what_would_be_made(tmp_path: Path) -> None:
    result = evenfill("validate", "--set", "targets.total=50", "--set", f"out={tmp_path}")
    assert result.exit_code == 0
    assert "valid: 50 records" in result.output
    printed = json.loads(evenfill("validate", "--json", "--set", f"out={tmp_path}").output)
    assert sum(printed["targets"].values()) == 1217


def test_topics_lists_33_and_shows_one_in_full() -> None:
    listed = json.loads(evenfill("topics", "--json", "--set", "targets.total=1217").output)
    assert len(listed) == 33
    assert {row["id"]: row["target"] for row in listed}["grief-and-loss"] == 8
    shown = evenfill("topics", "self-harm")
    assert "risk: expected" in shown.output
    assert "did you mean 'self-esteem'" in mistake("topics", "self-estem")


def test_status_tells_a_run_that_died_without_a_word_from_a_live_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    session = Session(make_plan(load_config(None, [f"out={folder}"]), REPO), accept_changes=False)
    live = json.loads(evenfill("status", str(folder), "--json").output)
    assert (live["live"], live["status"]) == (True, "running")
    session.writer.close()
    dead = json.loads(evenfill("status", str(folder), "--json").output)
    assert (dead["live"], dead["status"]) == (False, "interrupted")
    assert [event["event"] for event in dead["events"]] == ["run_started"]
    shown = evenfill("status", str(folder))
    assert shown.exit_code == 0
    assert f"run_started run={session.run_id} epoch=1 accepted=0" in shown.output


def test_the_doctor_finds_what_would_be_wrong(tmp_path: Path) -> None:
    fine = evenfill("doctor", "--json", "--set", f"out={tmp_path / 'run'}")
    assert fine.exit_code == 0, fine.output
    subjects = {finding["subject"] for finding in json.loads(fine.output)}
    assert {"engine", "cores", "gpus", "memory", "model", "structured output"} <= subjects
    bad = evenfill("doctor", "--set", "engine.replicas=999", "--set", f"out={tmp_path / 'run'}")
    assert bad.exit_code == 2
    assert "999" in bad.output


def test_the_library_starts_without_ray_vllm_or_torch() -> None:
    code = (
        "import sys, synth.cli, synth.config, synth.specs, synth.coordinator\n"
        "heavy = {'ray', 'vllm', 'torch', 'transformers', 'actors'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--address", "head:8265", "--job", "a"], "'head:8265' is not the address of a dashboard"),
        (["--address", "http://h:x", "--job", "a"], "'http://h:x' is not the address"),
        (
            ["--address", "http://127.0.0.1:1", "--job", "a"],
            "nothing answers at http://127.0.0.1:1",
        ),
        (["--address", "http://127.0.0.1:1", "--stop"], "--stop: is given without --job"),
        (
            ["--address", "http://127.0.0.1:1", "--job", "a", "--total", "3"],
            "--job: is given beside",
        ),
        (
            ["--address", "http://127.0.0.1:1", "--out", "runs/a"],
            "out: is 'runs/a', a path of this",
        ),
    ],
)
def test_a_job_that_cannot_be_submitted(options: list[str], part: str) -> None:
    assert part in mistake("submit", *options)


def test_an_address_that_rays_environment_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://other:8265")
    line = mistake("submit", "--address", "http://127.0.0.1:1", "--job", "a")
    assert "but RAY_ADDRESS is http://other:8265" in line
