"""Secrets in configs and commands: refused without being shown, and few false alarms."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from synth.config import RunConfig, load_config
from synth.credentials import masked, refuse_credentials
from synth.errors import ConfigError
from synth.fill import Request, plan_fill
from synth.plan import make_plan
from tests.conftest import REPO

WORD = "aB3" * 20  # none of these is anybody's
SECRETS = {
    "a Hugging Face token": f"hf_{WORD[:34]}",
    "an AWS access key": "AKIA" + "Z7" * 8,
    "a GitHub token": f"ghp_{WORD[:36]}",
    "a GitLab token": f"glpat-{WORD[:20]}",
    "a Google API key": f"AIza{WORD[:35]}",
    "an API key": f"sk-proj-{WORD}",
    "a JSON web token": f"eyJ{WORD[:20]}.eyJ{WORD[:20]}.{WORD[:20]}",
    "a private key": f"-----BEGIN RSA {'PRIVATE'} KEY-----\n{WORD}",
    "a URL with a password": f"s3://minio:{WORD[:8]}/{WORD[8:16]}@bucket/runs",
    "a URL with a token": f"https://{WORD[:20]}@github.com/org/data",
    "a signed URL": f"https://b.s3.amazonaws.com/x?X-Amz-Date=1&X-Amz-Signature={WORD}",
}

HARMLESS = [
    "builtin",
    "Qwen/Qwen2.5-7B-Instruct",
    "sk-research/Long-Model-Name-2-Instruct",
    "hf_models/llama",
    "runs/" + "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
    "/data/" + "aB3dE" * 8,
    "s3://bucket/runs/2024-11-05T10:30@first",
    "gs://bucket/a:b@c",
    "abfss://container@account.dfs.core.windows.net/models/x",
    "http://127.0.0.1:9000/bucket/user@host",
    "ray://head.example.org:10001",
    "tokens/access_key.txt",
    "what I kept as a secret: nobody knows",
]


@pytest.fixture
def key_of_aws() -> str:
    """It has no form of its own."""
    return WORD[:40]


@pytest.mark.parametrize(("kind", "secret"), SECRETS.items())
@pytest.mark.parametrize("key", ["out", "model.name", "dataset.location", "gates", "seed", "nope"])
def test_a_secret_anywhere_in_a_config_is_refused_and_not_shown(
    key: str, kind: str, secret: str, tmp_path: Path
) -> None:
    file = tmp_path / "run.yaml"
    parent, _, leaf = key.rpartition(".")
    text = repr(secret).strip("'")
    line = f'{leaf}: "{text}"' if key != "gates" else f'gates: [{{pii: {{x: "{text}"}}}}]'
    file.write_text(f"{parent}: {{{line}}}\n" if parent else f"{line}\n")
    with pytest.raises(ConfigError) as error:
        load_config(file)
    message = str(error.value)
    assert message.startswith(f"{file}: '{key}")
    assert f"looks like {kind}" in message
    assert "Secrets come from the environment" in message
    assert WORD[:8] not in message
    assert "Z7Z7" not in message


@pytest.mark.parametrize(("kind", "secret"), SECRETS.items())
def test_a_secret_in_an_option_is_refused_and_not_shown(kind: str, secret: str) -> None:
    for option in (f"out={secret}", f"nope.name={secret}", f"out=[{secret}"):
        with pytest.raises(ConfigError, match=f"^--set: .* looks like {kind}") as error:
            load_config(None, [option])
        assert WORD[:8] not in str(error.value)
    assert WORD[:8] not in masked(f"something {secret} went wrong")


@pytest.mark.parametrize(
    "key",
    ["token", "hf_token", "model.api_key", "store.aws_secret_access_key", "aws_access_key_id",
     "store.password", "embedder.credentials", "engine.secret"],
)  # fmt: skip
def test_a_key_that_is_named_like_a_secret_is_refused_and_its_value_not_shown(
    key: str, key_of_aws: str
) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(None, [f"{key}={key_of_aws}"])
    assert f"'{key}' holds what looks like a secret" in str(error.value)
    assert "AWS_SECRET_ACCESS_KEY" in str(error.value)
    assert "HF_TOKEN" in str(error.value)
    assert key_of_aws not in str(error.value)


@pytest.mark.parametrize("value", HARMLESS)
def test_ordinary_names_places_and_hashes_pass(value: str) -> None:
    refuse_credentials("--out", {"out": value})
    assert load_config(None, [f"out={value!r}"]).out == value
    assert masked(value) == value


def test_the_whole_default_config_passes() -> None:
    refuse_credentials("defaults", RunConfig().model_dump())


def test_a_config_made_in_python_is_looked_at_too(tmp_path: Path) -> None:
    secret = SECRETS["a Hugging Face token"]
    with pytest.raises(ConfigError, match=r"'model\.name' holds what looks like"):
        make_plan(RunConfig.model_validate({"model": {"name": secret}}), REPO)
    with pytest.raises(ConfigError, match="'location' holds what looks like"):
        plan_fill(SECRETS["a URL with a password"], Request(), RunConfig(), out=str(tmp_path))
    with pytest.raises(ValidationError) as error:
        RunConfig.model_validate({"token": secret})
    assert secret not in str(error.value)


@pytest.mark.parametrize(
    "command",
    [
        ["run", "--out", "SECRET"],
        ["run", "--total", "SECRET"],
        ["run", "--address=SECRET"],
        ["gaps", "SECRET"],
        ["audit", "SECRET"],
        ["export", "run", "--to", "SECRET"],
        ["status", "SECRET"],
        ["SECRET"],
    ],
)
def test_a_secret_in_a_command_ends_it_with_one_line_that_does_not_show_it(
    command: list[str], tmp_path: Path
) -> None:
    secret = SECRETS["a URL with a password"]
    arguments = [argument.replace("SECRET", secret) for argument in command]
    done = subprocess.run(
        [sys.executable, "-m", "synth", *arguments],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "looks like a URL with a password" in done.stderr
    assert done.stderr.count("\n") == 1
    assert WORD[:8] not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
