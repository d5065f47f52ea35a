"""Models in an object store: copied once to a machine, whole or not at all."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import fsspec
import numpy as np
import pytest

from synth.config import EmbedderConfig, load_config
from synth.doctor import examine
from synth.embedding import Embedder
from synth.errors import ModelError
from synth.models import (
    BUILTIN,
    check_model,
    describe,
    embedder_revision,
    resolve_embedder,
    resolve_model,
)
from tests.conftest import REPO

FILES = {"config.json": b"{}", "model-1.safetensors": b"a" * 5000, "sub/vocab.txt": b"b" * 300}

# Says how many files it copied, and takes its time for each but the first that it is asked for.
FETCH = """
import asyncio, sys
from s3fs import S3FileSystem
copied, copy = [], S3FileSystem._get_file
async def counted(self, path, *args, **kwargs):
    copied.append(path)
    await asyncio.sleep(float(sys.argv[2]) if not path.endswith("config.json") else 0)
    return await copy(self, path, *args, **kwargs)
S3FileSystem._get_file = counted
from synth.models import resolve_model
folder = resolve_model(sys.argv[1])
print(len(copied), folder)
"""


def fetch(url: str, cache: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, url, str(seconds)],
        env=os.environ | {"EVENFILL_CACHE": str(cache)},
        cwd=REPO,
        stdout=subprocess.PIPE,
        text=True,
    )


def result(process: subprocess.Popen[str]) -> tuple[int, Path]:
    copied, folder = process.communicate(timeout=120)[0].split()
    return int(copied), Path(folder)


def put(url: str, files: dict[str, bytes]) -> None:
    fsspec.filesystem("s3").pipe({f"{url}/{name}": content for name, content in files.items()})


def held(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def model(bucket: str) -> str:
    url = f"{bucket}/models/tiny"
    put(url, FILES)
    return url


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVENFILL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def test_of_two_processes_that_ask_at_once_one_copies_and_the_other_waits(
    model: str, tmp_path: Path
) -> None:
    both = [fetch(model, tmp_path, 3), fetch(model, tmp_path, 3)]
    (first, folder), (second, same) = map(result, both)
    assert {first, second} == {0, len(FILES)}
    assert folder == same
    assert held(folder) == FILES


def test_a_copy_that_was_killed_leaves_nothing_whole_and_is_gone_on_with(
    model: str, tmp_path: Path
) -> None:
    killed = fetch(model, tmp_path, 60)
    models = tmp_path / "models"
    deadline = time.monotonic() + 60
    while not list(models.glob("*.partial/config.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert [path.suffix for path in models.iterdir() if path.is_dir()] == [".partial"]
    copied, folder = result(fetch(model, tmp_path, 0))
    assert copied == len(FILES) - 1
    assert held(folder) == FILES
    assert not list(models.glob("*.partial"))


def test_a_folder_that_changed_is_copied_again_beside_the_old_copy(model: str, cache: Path) -> None:
    before = resolve_model(model)
    revision = embedder_revision(model)
    assert resolve_model(f"{model}/") == before
    put(model, {"model-1.safetensors": b"c" * 5000})
    after = resolve_model(model)
    assert embedder_revision(model) != revision
    assert Path(before).parent == Path(after).parent == cache
    assert held(Path(before)) == FILES
    assert held(Path(after)) == FILES | {"model-1.safetensors": b"c" * 5000}


def test_a_copy_that_lost_a_file_is_made_whole(model: str, cache: Path) -> None:
    folder = Path(resolve_model(model))
    (folder / "model-1.safetensors").write_bytes(b"torn")
    assert held(Path(resolve_model(model))) == FILES
    assert folder.parent == cache


def test_hidden_files_and_paths_that_lead_outside_are_left_out(model: str, cache: Path) -> None:
    put(model, {".git/config": b"x", "../beside.txt": b"y"})
    assert held(Path(resolve_model(model))) == FILES
    assert not list(cache.rglob("beside.txt"))


def test_looking_at_a_model_copies_nothing(model: str, cache: Path) -> None:
    check_model(model)
    assert not cache.exists()


def test_the_doctor_tells_a_models_size_and_whether_it_is_copied(model: str, cache: Path) -> None:
    def told() -> str:
        findings = examine(load_config(None, [f"model.name={model}"]), REPO)
        (found,) = (finding for finding in findings if finding.subject == "model")
        assert found.level == "ok"
        return found.text

    assert told() == f"{model}, 0.0 GiB, each machine copies it once"
    assert resolve_model(model).startswith(str(cache))
    assert told() == f"{model}, 0.0 GiB, copied already"


def test_records_carry_the_url_of_their_model() -> None:
    assert describe("s3://bucket/models/tiny", "built in") == "s3://bucket/models/tiny"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "there is nothing at 's3://.*/nowhere'. Check the address"),
        ("empty", "the folder 's3://.*/empty' holds no config.json"),
        ("empty/notes.txt", "'s3://.*/empty/notes.txt' is a file"),
    ],
)
def test_a_url_without_a_model_is_one_message(
    bucket: str, cache: Path, name: str, message: str
) -> None:
    put(bucket, {"empty/notes.txt": b"no model"})
    with pytest.raises(ModelError, match=f"^model.name: {message}"):
        check_model(f"{bucket}/{name}")
    with pytest.raises(ModelError, match=f"^embedder.name: {message}"):
        resolve_embedder(f"{bucket}/{name}")
    assert not cache.exists()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://no-such-bucket-here/tiny", "there is nothing at"),
        ("nostore://bucket/tiny", r"cannot be read \(.*nostore"),
        ("https://huggingface.co/org/name", "is a web address. Give a Hugging Face id"),
    ],
)
def test_a_store_that_cannot_be_read_is_one_message(s3: str, url: str, message: str) -> None:
    assert s3
    with pytest.raises(ModelError, match=f"model.name: .*{message}"):
        check_model(url)


def test_missing_credentials_are_one_message_that_says_where_they_go(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(ModelError, match=r"NoCredentialsError.*environment.*AWS_ACCESS_KEY_ID"):
        check_model(model)
    fsspec.filesystem("s3").clear_instance_cache()


def test_a_model_without_room_on_the_disk_is_refused_before_it_is_copied(
    model: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9000, 8000, 1000))
    with pytest.raises(ModelError, match=r"EVENFILL_CACHE: .* free, but .* takes 0.0 GiB"):
        resolve_model(model)
    assert [list(partial.iterdir()) for partial in cache.glob("*.partial")] == [[]]


def test_an_embedder_in_a_bucket_gives_the_vectors_of_the_same_one_in_a_folder(
    bucket: str,
    cache: Path,
    embedder: Embedder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fsspec.filesystem("s3").put(f"{resolve_embedder(BUILTIN)}/", f"{bucket}/m/", recursive=True)
    stored = Embedder(EmbedderConfig(name=f"{bucket}/m"), threads=1)
    texts = ["I cannot sleep.", "What is normal grief?"]
    kept = stored.embed_kept(texts)
    np.testing.assert_allclose(kept, embedder.embed(texts), atol=1e-5)
    monkeypatch.setattr(stored, "embed", lambda _: pytest.fail("embedded again"))
    np.testing.assert_array_equal(stored.embed_kept(texts), kept)
    assert len(list(cache.glob("m-*/config.json"))) == 1
