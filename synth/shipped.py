"""The rules and texts that come with the package, as YAML and plain text."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import yaml


def shipped_text(name: str, package: str = "synth.gates") -> str:
    """The text of a file in the `data` folder of a package."""
    return (files(package) / "data" / name).read_text(encoding="utf-8")


def shipped_rules(name: str, package: str = "synth.gates") -> Any:
    """What a YAML file in the `data` folder of a package holds."""
    return yaml.safe_load(shipped_text(f"{name}.yaml", package))
