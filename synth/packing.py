"""Pack a run for another machine: config, specs and gates in one folder, and what cannot travel."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import yaml

from synth import __version__
from synth.config import RunConfig
from synth.errors import ConfigError
from synth.existing import whole_path
from synth.specs import SHIPPED, find_specs_dir

CONFIG_FILE = "run.yaml"


def check_travels(config: RunConfig, base: Path) -> None:
    """Refuse what names a place of this machine, which no node of a cluster has.

    Args:
        config: the run config.
        base: the folder of the config file, or the current one.

    Raises:
        ConfigError: names the key, what was found and what would be right.
    """
    if "://" not in config.out and not Path(config.out).is_absolute():
        raise ConfigError(
            "out",
            f"is {config.out!r}, a path of this machine, but the cluster's head is to write it",
            "Give a URL such as s3://bucket/folder, or a whole path that the head has",
        )
    for field, name in _model_names(config):
        if name.startswith(("~", ".")) or (not Path(name).is_absolute() and Path(name).exists()):
            raise ConfigError(
                field,
                f"is {name!r}, a path of this machine",
                "Give a Hugging Face id, or a whole path that every node has",
            )
    for key in ("location", "train", "like"):
        place = getattr(config.dataset, key, None)
        if place is not None and Path(whole_path(place, base)).is_absolute():
            raise ConfigError(
                f"dataset.{key}",
                f"is {place!r}, a path of this machine",
                "Give a dataset of the hub, or start the run on the cluster's head, beside it",
            )


def _model_names(config: RunConfig) -> Iterator[tuple[str, str]]:
    yield "model.name", config.model.name
    yield "embedder.name", config.embedder.name
    for seat in config.own_judges:
        if seat.model:
            yield f"judge.judges.{seat.name}.model.name", seat.model.name


def check_version(packed_by: str) -> None:
    """Refuse a job of another version, whose prompts and gates may differ.

    Raises:
        ConfigError: names both versions.
    """
    if packed_by != __version__:
        raise ConfigError(
            "evenfill",
            f"is {__version__} on the cluster, but {packed_by} submitted the job",
            "Install the same version on both",
        )


def pack(config: RunConfig, base: Path, folder: Path) -> None:
    """Write what the run needs into an empty folder: `run.yaml`, the topic specs, gates' modules.

    Args:
        config: the run config, checked.
        base: the folder of the config file, or the current one.
        folder: where to.
    """
    shutil.copytree(find_specs_dir(config.topics, base), folder / SHIPPED, ignore=_NO_CACHES)
    for path in _gate_modules(config):
        if path.is_dir():
            shutil.copytree(path, folder / path.name, ignore=_NO_CACHES)
        else:
            shutil.copy(path, folder)
    whole = config.model_dump(mode="json") | {"topics": SHIPPED}
    text = yaml.safe_dump(whole, sort_keys=False, allow_unicode=True)
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")


_NO_CACHES = shutil.ignore_patterns("__pycache__", ".*")


def _gate_modules(config: RunConfig) -> set[Path]:
    """Module files and packages of gates named by a dotted path, unless they are installed."""
    roots = {choice.name.partition(".")[0].partition(":")[0] for choice in config.gates
             if ":" in choice.name}  # fmt: skip
    installed = packages_distributions() if roots else {}
    found = set()
    for root in roots - installed.keys():
        spec = find_spec(root)
        if spec is not None and spec.submodule_search_locations:
            found.add(Path(next(iter(spec.submodule_search_locations))))
        elif spec is not None and spec.origin:
            found.add(Path(spec.origin))
    return found
