"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from synth.config import EmbedderConfig, RunConfig, load_config
from synth.embedding import Embedder
from synth.specs import Specs, load_specs

REPO = Path(__file__).parent.parent
SPECS_DIR = REPO / "topic_specs"

# Ray's workers import the scripted engine by its module's name.
os.environ["PYTHONPATH"] = os.pathsep.join([str(REPO), os.environ.get("PYTHONPATH", "")])


@pytest.fixture(scope="session")
def specs() -> Specs:
    """The shipped topic specs."""
    return load_specs(SPECS_DIR)


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    """The built-in embedder."""
    return Embedder(EmbedderConfig(), threads=1)


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    """A small run into a folder of its own."""
    return load_config(
        None, [f"out={tmp_path / 'run'}", "targets.policy=uniform", "targets.total=33"]
    )
