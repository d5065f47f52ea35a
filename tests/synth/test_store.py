"""The run folder: one writer, and nothing foreign taken for its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from synth import store
from synth.durable import write_durably
from synth.errors import StoreError
from synth.store import RunLock, run_files


def test_a_write_that_dies_before_the_rename_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")

    def dies(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(OSError, match="no space"):
        write_durably(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("x")
    with pytest.raises(StoreError, match=r"is not a run folder; it holds 'thesis.docx'"):
        store.prepare(run_files(str(tmp_path)))


def test_a_folder_that_cannot_be_made_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="is a file"):
        run_files(str(tmp_path / "file"))
    with pytest.raises(StoreError, match="cannot be written"):
        store.prepare(run_files("/proc/nowhere"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_one_message(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="cannot be written"):
        store.prepare(run_files(str(tmp_path / "run")))


def test_a_folder_in_use_names_its_holder_and_is_free_when_that_process_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_LOCK_PATIENCE_S", 0.2)
    code = (
        "import sys, time\nfrom synth.store import RunLock, run_files\n"
        "lock = RunLock(run_files(sys.argv[1]), 'a test')\nprint('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    files = run_files(str(tmp_path))
    assert f"process {holder.pid}" in (store.in_use_by(files) or "")
    with pytest.raises(StoreError, match=f"in use by a test, process {holder.pid}"):
        RunLock(files, "another")
    holder.kill()
    holder.wait()
    assert store.in_use_by(files) is None
    RunLock(files, "another").release()


def test_json_that_no_run_wrote_is_one_message(tmp_path: Path) -> None:
    files = run_files(str(tmp_path))
    assert store.read_manifest(files) is None
    files.manifest.write_text("{")
    with pytest.raises(StoreError, match=r"run.json: cannot be read"):
        store.read_manifest(files)
    files.manifest.write_text("[]")
    with pytest.raises(StoreError, match=r"run.json: is not a JSON object"):
        store.read_manifest(files)
