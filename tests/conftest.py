"""Fixtures that several test files share."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from moto.server import ThreadedMotoServer

from synth.config import EmbedderConfig, RunConfig, load_config
from synth.embedding import Embedder
from synth.plan import Plan
from synth.specs import Specs, load_specs

pytest_plugins = ["tests.finished_run"]

REPO = Path(__file__).parent.parent
SPECS_DIR = REPO / "topic_specs"

# Ray's workers import the scripted engine by its module's name.
os.environ["PYTHONPATH"] = os.pathsep.join([str(REPO), os.environ.get("PYTHONPATH", "")])


def path_of(plan: Plan) -> Path:
    """The run folder of a plan for a local disk."""
    return Path(str(plan.files.root))


@pytest.fixture(scope="session")
def specs() -> Specs:
    """The shipped topic specs."""
    return load_specs(SPECS_DIR)


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    """The built-in embedder."""
    return Embedder(EmbedderConfig(), threads=1)


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The URL of a bucket on a real S3 API server on loopback."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patched:
        for name, value in settings.items():
            patched.setenv(name, value)
        fsspec.filesystem("s3").mkdir("evenfill-tests")
        yield "s3://evenfill-tests"
    server.stop()


@pytest.fixture
def bucket(s3: str, request: pytest.FixtureRequest) -> str:
    """An empty prefix of a bucket, for one test."""
    return f"{s3}/{abs(hash(request.node.nodeid)):x}"


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    """A small run into a folder of its own."""
    return load_config(
        None, [f"out={tmp_path / 'run'}", "targets.policy=uniform", "targets.total=33"]
    )
