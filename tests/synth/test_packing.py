"""What a run takes along to another machine, and what it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from synth.config import load_config
from synth.errors import ConfigError
from synth.packing import CONFIG_FILE, check_travels, check_version, pack
from synth.plan import make_plan
from tests.conftest import REPO

EVERYTHING = [
    "targets={policy: explicit, topics: {anxiety: 3}}",
    "judge.judges=[{name: own}, {name: second, model: {name: builtin}}]",
    "judge.floors.empathy_validation=4",
    "gates=[placeholder, cliche, {safety: {sentences: false}}]",
    "budget.wall_time=12h",
    "model.name=an/id",
    "out=s3://bucket/runs/ä",
]  # fmt: skip


@pytest.mark.parametrize("options", [["out=s3://bucket/run"], EVERYTHING])
def test_a_packed_run_is_the_same_run(tmp_path: Path, options: list[str]) -> None:
    config = load_config(None, options)
    packed = tmp_path / "packed"
    packed.mkdir()
    pack(config, REPO, packed)
    again = load_config(packed / CONFIG_FILE)
    assert again == config
    assert make_plan(again, packed).fingerprint == make_plan(config, REPO).fingerprint


def test_specs_of_a_users_own_travel_beside_the_config(tmp_path: Path) -> None:
    own = tmp_path / "base" / "mine"
    pack(load_config(None, ["out=/runs/a"]), REPO, packed_into(tmp_path / "shipped"))
    own.parent.mkdir()
    (tmp_path / "shipped" / "topic_specs").rename(own)
    spec = own / "anxiety.yaml"
    spec.write_text(spec.read_text().replace("risk: possible", "risk: expected", 1))
    config = load_config(None, ["topics=mine", "out=/runs/a"])
    packed = packed_into(tmp_path / "packed")
    pack(config, own.parent, packed)
    here, there = (
        make_plan(config, own.parent),
        make_plan(load_config(packed / CONFIG_FILE), packed),
    )
    assert here.specs.digest == there.specs.digest
    assert here.specs.digest != make_plan(load_config(None, ["out=/runs/a"]), REPO).specs.digest


def packed_into(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_gate_of_a_users_own_travels_as_a_module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from synth.gates.base import Gate, Scope\n"
        "GATE = Gate('mine', 1, frozenset({Scope.QUESTION}), lambda draft: iter(()))\n"
    )
    packed = packed_into(tmp_path / "packed")
    program = (
        "from pathlib import Path\n"
        "from synth.config import load_config\n"
        "from synth.packing import pack\n"
        "pack(load_config(None, ['gates=[pii, mine:GATE]', 'out=/r']), Path(), Path('packed'))\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPO)])}
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, env=environment)
    assert sorted(p.name for p in packed.iterdir()) == ["mine.py", "run.yaml", "topic_specs"]


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["out=runs/first"], "out: is 'runs/first', a path of this machine"),
        (["out=/r", "model.name=~/model"], "model.name: is '~/model'"),
        (["out=/r", "embedder.name=local"], "embedder.name: is 'local'"),
        (
            ["out=/r", "judge={judges: [{name: j, model: {name: ./m}}]}"],
            r"judge.judges.j.model.name: is './m'",
        ),
        (["out=/r", "dataset.location=rows.jsonl"], "dataset.location: is 'rows.jsonl'"),
        (["out=/r", "dataset={location: an/id, train: rows.jsonl}"], "dataset.train"),
    ],
)
def test_a_place_of_this_machine_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], part: str
) -> None:
    (tmp_path / "rows.jsonl").touch()
    (tmp_path / "local").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=part):
        check_travels(load_config(None, options), tmp_path)


def test_hub_ids_urls_and_whole_paths_may_travel(tmp_path: Path) -> None:
    options = ["out=/runs/a", "model.name=/models/m", "dataset.location=an/id"]
    check_travels(load_config(None, options), tmp_path)


def test_another_version_is_one_message() -> None:
    with pytest.raises(ConfigError, match=r"on the cluster, but 99\.0 submitted the job"):
        check_version("99.0")
