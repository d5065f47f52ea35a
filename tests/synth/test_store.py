"""The run folder: what is in it, and nothing foreign taken for its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from synth import store
from synth.errors import StoreError
from synth.files import Folder, LocalFolder, open_folder
from synth.store import RunFiles, run_files


@pytest.fixture(params=["disk", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "disk":
        return LocalFolder(tmp_path)
    return open_folder(request.getfixturevalue("bucket"))


def test_a_write_that_dies_before_the_rename_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = LocalFolder(tmp_path)
    folder.write("file", b"old")

    def dies(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(OSError, match="no space"):
        folder.write("file", b"new")
    assert folder.read("file") == b"old"
    assert folder.names() == ["file"]


def test_a_file_is_created_once(folder: Folder) -> None:
    folder.create("claim", b"mine")
    with pytest.raises(FileExistsError):
        folder.create("claim", b"yours")
    assert folder.read("claim") == b"mine"


def test_files_are_written_listed_moved_and_deleted(folder: Folder) -> None:
    assert (folder / "later").names() == []
    with pytest.raises(FileNotFoundError):
        folder.read("nothing")
    folder.write("a", b"1")
    folder.write_with("b", lambda file: [file.write(b"2"), file.write(b"3")])
    assert folder.names() == ["a", "b"]
    folder.move("b", folder / "later")
    assert (folder / "later").read("b") == b"23"
    folder.delete("a")
    folder.delete("a")
    assert folder.names() == ["later"]


def test_a_folder_of_something_else_is_refused(folder: Folder) -> None:
    folder.write("thesis.docx", b"x")
    with pytest.raises(StoreError, match=r"is not a run folder; it holds 'thesis.docx'"):
        store.prepare(RunFiles(folder))


def test_a_place_that_cannot_be_used_is_one_message(tmp_path: Path, s3: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="is a file"):
        run_files(str(tmp_path / "file"))
    for out in ("/proc/nowhere", f"{s3}-which-is-not-there/run"):
        with pytest.raises(StoreError, match=f"{out} cannot be written"):
            store.prepare(run_files(out))
    with pytest.raises(StoreError, match=r"'nosuch://x' cannot be used .* such as s3://"):
        run_files("nosuch://x")


def test_a_store_that_does_not_answer_is_one_message(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr("fsspec.config.conf", {"s3": {"skip_instance_cache": True}})
    with pytest.raises(StoreError, match=r"cannot be written .*127\.0\.0\.1:1"):
        store.prepare(run_files(f"{s3}/run"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_one_message(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="cannot be written"):
        store.prepare(run_files(str(tmp_path / "run")))


def test_json_that_no_run_wrote_is_one_message(folder: Folder) -> None:
    files = RunFiles(folder)
    assert store.read_manifest(files) is None
    folder.write("run.json", b"{")
    with pytest.raises(StoreError, match=r"run.json: cannot be read"):
        store.read_manifest(files)
    folder.write("run.json", b"{}")
    with pytest.raises(StoreError, match=r"run.json: is no run's run.json: it has no 'created_at'"):
        store.read_manifest(files)
    folder.write("run.json", b"[]")
    with pytest.raises(StoreError, match=r"run.json: is not a JSON object"):
        store.read_manifest(files)
