"""Where an export goes: nothing is overwritten unasked, nothing half written stays."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from datasets import DatasetDict, load_from_disk
from huggingface_hub import DatasetCard
from typer.testing import CliRunner

from synth.cli import app
from synth.config import DatasetConfig
from synth.errors import ConfigError, StoreError
from synth.export import Export, export
from synth.lock import RunLock
from synth.store import run_files
from tests.finished_run import as_filled

ENDINGS = pytest.mark.parametrize("to", ["a.jsonl", "a.csv", "a.parquet", "a"])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@ENDINGS
def test_what_is_there_is_replaced_only_by_force(run_folder: Path, tmp_path: Path, to: str) -> None:
    files, place = run_files(str(run_folder)), tmp_path / to
    export(files, Export("evenfill", place))
    before = names(tmp_path)
    with pytest.raises(StoreError, match="is there already"):
        export(files, Export("instruction", place))
    export(files, Export("instruction", place, force=True))
    assert names(tmp_path) == before
    if to == "a":
        assert "instruction" in load_from_disk(str(place)).features
    elif to != "a.parquet":
        assert "instruction" in place.read_text()


def test_force_replaces_no_folder_that_is_no_export(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work/thesis.txt").write_text("mine")
    (tmp_path / "odd.jsonl").mkdir()
    for to in ("work", "odd.jsonl"):
        with pytest.raises(StoreError, match="is no earlier export"):
            export(run_files(str(run_folder)), Export("evenfill", tmp_path / to, force=True))
    assert (tmp_path / "work/thesis.txt").read_text() == "mine"


def test_a_card_of_something_else_is_not_overwritten(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.README.md").write_text("mine")
    with pytest.raises(StoreError, match=r"README\.md is there already"):
        export(run_files(str(run_folder)), Export("evenfill", tmp_path / "a.jsonl"))
    assert not (tmp_path / "a.jsonl").exists()


@pytest.mark.parametrize("force", [True, False])
def test_neither_the_run_nor_a_dataset_of_it_is_written_over(
    run_folder: Path, tmp_path: Path, force: bool
) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"Context": "I hurt.", "Response": "Why?"}\n')
    (tmp_path / "link.jsonl").symlink_to(path)
    os.link(path, tmp_path / "hard.jsonl")
    files = as_filled(run_folder, DatasetConfig(location=str(path)))
    for to in ("mine.jsonl", "link.jsonl", "hard.jsonl"):
        with pytest.raises(ConfigError, match="is the dataset"):
            export(files, Export("own", tmp_path / to, merge=True, force=force))
    for to in ("run/a.jsonl", "run/accepted/a.parquet", "run", "run/x/../saved"):
        with pytest.raises(ConfigError, match="lies inside the run folder"):
            export(files, Export("own", tmp_path / to, force=force))
    assert path.read_text().count("\n") == 1


def test_a_split_of_an_export_is_not_written_over_the_dataset(
    run_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mine-eval.jsonl"
    path.write_text('{"Context": "I hurt.", "Response": "Why?"}\n')
    files = as_filled(run_folder, DatasetConfig(location=str(path)))
    with pytest.raises(ConfigError, match=r"mine-eval\.jsonl is the dataset"):
        export(files, Export("evenfill", tmp_path / "mine.jsonl", eval_share=0.4, force=True))


@pytest.mark.parametrize("to", ["file/a.jsonl", "file/b/a", "shut/a.jsonl", "n" * 300 + ".jsonl"])
def test_a_place_that_cannot_be_is_one_message(run_folder: Path, tmp_path: Path, to: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "shut").symlink_to("/proc/nothing")
    place = str(tmp_path / to)
    result = CliRunner().invoke(app, ["export", str(run_folder), "--to", place])
    assert result.exit_code == 2, result.output
    assert "cannot be written" in result.stderr
    assert names(tmp_path) == ["file", "run", "shut"]


@ENDINGS
def test_a_failure_on_the_way_leaves_what_was_there_and_nothing_else(
    run_folder: Path, tmp_path: Path, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, place = run_files(str(run_folder)), tmp_path / to
    export(files, Export("evenfill", place))
    before = names(tmp_path), [path.stat().st_mtime_ns for path in tmp_path.iterdir()]

    def full(*_: object, **__: object) -> str:
        assert len(names(tmp_path)) > len(before[0])  # it is written aside
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("synth.export.exporting.export_card", full)
    with pytest.raises(StoreError, match="No space left"):
        export(files, Export("instruction", place, force=True))
    assert (names(tmp_path), [path.stat().st_mtime_ns for path in tmp_path.iterdir()]) == before


def test_a_run_that_goes_on_is_refused(run_folder: Path, tmp_path: Path) -> None:
    files = run_files(str(run_folder))
    lock = RunLock(files, "a test")
    with pytest.raises(StoreError, match="is in use by a test"):
        export(files, Export("evenfill", tmp_path / "a.jsonl"))
    lock.release()
    export(files, Export("evenfill", tmp_path / "a.jsonl"))


def test_a_run_that_is_taken_up_meanwhile_is_refused(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (segment,) = (run_folder / "accepted").iterdir()

    def goes_on(*_: object) -> list[bool]:
        later = segment.with_name("segment-0002-000000.parquet")
        later.write_bytes(segment.read_bytes())
        return [False, False, True]

    monkeypatch.setattr("synth.export.exporting.held_out", goes_on)
    how = Export("evenfill", tmp_path / "a.jsonl", eval_share=0.4)
    with pytest.raises(StoreError, match="was written to while it was read"):
        export(run_files(str(run_folder)), how)
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": None}, "'config'"),
        ({"config": {"modle": {}}}, "unknown key 'config.modle'"),
        ({"config": {"targets": {"total": -1}}}, "'config.targets.total' is -1"),
        ({"versions": 5}, "'versions'"),
    ],
)
def test_an_older_or_edited_manifest_is_one_message(
    run_folder: Path, tmp_path: Path, change: Mapping[str, object], message: str
) -> None:
    path = run_folder / "run.json"
    manifest = json.loads(path.read_text()) | change
    path.write_text(json.dumps({k: v for k, v in manifest.items() if v is not None}))
    result = CliRunner().invoke(app, ["export", str(run_folder), "--to", str(tmp_path / "a.jsonl")])
    assert result.exit_code == 2, result.output
    assert "run.json" in result.stderr
    assert message in result.stderr


def test_json_says_where_everything_went(run_folder: Path, tmp_path: Path) -> None:
    to = tmp_path / "a.jsonl"
    options = ["--to", str(to), "--eval-share", "0.4", "--json"]
    result = CliRunner().invoke(app, ["export", str(run_folder), *options])
    told = json.loads(result.stdout)
    assert told["records"] == {"train": 2, "eval": 1}
    assert told["files"] == {name: str(tmp_path / f"a-{name}.jsonl") for name in told["records"]}
    assert told["card"] == f"{to}.README.md"
    assert all(Path(path).exists() for path in [told["card"], *told["files"].values()])


class Hub:
    """A hub that takes everything and remembers it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, there: bool = False):
        self.data: DatasetDict | None = None
        self.private: object = None
        self.card = ""

        def push(data: DatasetDict, name: str, private: bool, **_: object) -> None:
            assert name == "me/mine"
            self.private = private
            self.data = DatasetDict({split: part.to_list() for split, part in data.items()})

        def upload(_: object, *, path_or_fileobj: bytes, **how: object) -> None:
            assert self.data is not None, "the card comes after the data"
            expected = ("README.md", "me/mine", "dataset")
            assert (how["path_in_repo"], how["repo_id"], how["repo_type"]) == expected
            self.card = path_or_fileobj.decode()

        written = DatasetCard("---\nconfigs:\n- config_name: default\n---\n")
        monkeypatch.setattr("datasets.DatasetDict.push_to_hub", push)
        monkeypatch.setattr("huggingface_hub.DatasetCard.load", lambda *_: written)
        monkeypatch.setattr("huggingface_hub.HfApi.repo_exists", lambda *_, **__: there)
        monkeypatch.setattr("huggingface_hub.HfApi.upload_file", upload)


def test_the_hub_gets_the_data_and_then_the_card(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(monkeypatch)
    done = export(run_files(str(run_folder)), Export("messages", hub="me/mine", eval_share=0.4))
    assert done.records == {"train": 2, "eval": 1}
    assert hub.private is True
    assert hub.data is not None
    assert len(hub.data["train"]) == 2
    assert "What it is not for" in hub.card
    card = DatasetCard(hub.card)
    assert card.data.to_dict()["configs"] == [{"config_name": "default"}]
    assert "synthetic" in card.data.to_dict()["tags"]


def test_a_dataset_on_the_hub_is_replaced_only_by_force(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(monkeypatch, there=True)
    files = run_files(str(run_folder))
    with pytest.raises(StoreError, match="'me/mine' is on the hub already"):
        export(files, Export("messages", hub="me/mine"))
    assert hub.data is None
    export(files, Export("messages", hub="me/mine", force=True))
    assert hub.card


def test_a_hub_that_is_not_there_is_one_message(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    Hub(monkeypatch)
    monkeypatch.setattr("datasets.DatasetDict.push_to_hub", refuse)
    with pytest.raises(StoreError, match=r"the hub did not take 'me/mine' \(no route\)"):
        export(run_files(str(run_folder)), Export("messages", hub="me/mine"))


def test_a_local_fault_is_not_called_the_hubs(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(monkeypatch)
    (segment,) = (run_folder / "accepted").iterdir()
    data = segment.read_bytes()

    def damage(*_: object) -> list[bool]:
        segment.write_bytes(data[: len(data) // 2])
        return [False, False, True]

    monkeypatch.setattr("synth.export.exporting.held_out", damage)
    with pytest.raises(StoreError, match="is damaged"):
        export(run_files(str(run_folder)), Export("messages", hub="me/mine", eval_share=0.4))
    assert hub.data is None


def test_a_folder_is_under_its_name_only_when_it_is_whole(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        assert not (tmp_path / "a").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr("synth.export.exporting.publish", killed)
    with pytest.raises(KeyboardInterrupt):
        export(run_files(str(run_folder)), Export("messages", tmp_path / "a"))
    assert names(tmp_path) == ["run"]
