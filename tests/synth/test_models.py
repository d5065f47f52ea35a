"""Models: built in, local, or missing; the conversion survives company and kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from synth.errors import ModelError
from synth.models import resolve_embedder, resolve_model

CONVERT = "from synth.models import ensure_builtin_model; print(ensure_builtin_model())"


def convert(cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CONVERT],
        env=os.environ | {"EVENFILL_CACHE": str(cache), "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def test_two_processes_convert_once_even_after_a_third_was_killed_half_way(tmp_path: Path) -> None:
    killed = convert(tmp_path)
    models = tmp_path / "models"
    deadline = time.monotonic() + 120
    while not any(models.glob("*.partial")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert any(models.glob("*.partial"))
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    both = [convert(tmp_path), convert(tmp_path)]
    folders = {process.communicate(timeout=300)[0].strip() for process in both}
    assert len(folders) == 1
    folder = Path(folders.pop())
    assert (folder / "config.json").exists()
    assert (folder / "chat_template.jinja").exists()
    assert not list(models.glob("*.partial"))


def test_a_folder_that_does_not_exist_is_one_message() -> None:
    with pytest.raises(ModelError, match=r"model.name: there is no folder './nowhere'"):
        resolve_model("./nowhere")


def test_a_folder_without_a_model_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"embedder.name: the folder .* holds no config.json"):
        resolve_embedder(str(tmp_path))


def test_a_hub_id_that_cannot_be_had_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"model.name: 'nobody/nothing'"):
        resolve_model("nobody/nothing")


def test_a_local_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert resolve_model(str(tmp_path)) == str(tmp_path.resolve())
