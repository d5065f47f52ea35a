"""The rules that come with the package, as YAML in `synth/gates/data`."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import yaml


def shipped_text(name: str) -> str:
    """A shipped file's text."""
    return (files("synth.gates") / "data" / name).read_text(encoding="utf-8")


def shipped_rules(name: str) -> Any:
    """What a shipped YAML file holds."""
    return yaml.safe_load(shipped_text(f"{name}.yaml"))
