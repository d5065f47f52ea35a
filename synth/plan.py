"""A run that passed every check which needs no engine, and the check against its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synth import judging, prompts, store
from synth.config import RunConfig, content_of, differences, fingerprint
from synth.errors import StoreError
from synth.specs import Specs, find_specs_dir, load_specs
from synth.store import RunFiles
from synth.targets import share_out


@dataclass(frozen=True)
class Plan:
    """A run that passed every check which needs no engine.

    Attributes:
        targets: topic id -> records.
        files: the run folder, as an absolute path.
    """

    config: RunConfig
    specs: Specs
    targets: Mapping[str, int]
    files: RunFiles

    @property
    def digest(self) -> str:
        """The specs' digest, the versions of the prompts and, if it is on, the judge included."""
        judge = f"-j{judging.VERSION}" if self.config.judge else ""
        return f"{self.specs.digest}-p{prompts.VERSION}{judge}"

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.config, self.digest)


def make_plan(config: RunConfig, base: Path) -> Plan:
    """Load the specs and share out the targets.

    Args:
        config: the run config.
        base: the folder of the config file, or the current one.

    Raises:
        UserError: whatever is wrong with specs, targets or the output path.
    """
    specs = load_specs(find_specs_dir(config.topics, base))
    targets = share_out(config.targets, {t: spec.weight for t, spec in specs.topics.items()})
    return Plan(config, specs, targets, store.run_files(config.out))


def check_resumable(plan: Plan, accept_changes: bool) -> dict[str, Any] | None:
    """The manifest of the run that is already in the folder, or None for a new run.

    Raises:
        StoreError: the folder holds a run with another config, and the user did not agree.
    """
    manifest = store.read_manifest(plan.files)
    if manifest is None or manifest.get("fingerprint") == plan.fingerprint:
        return manifest
    changes = differences(manifest.get("content", {}), content_of(plan.config))
    if any(change.startswith("embedder.") for change in changes):
        raise StoreError(
            str(plan.files.root),
            f"holds vectors of another embedder ({'; '.join(changes)})",
            "Keep the embedder, or give another --out",
        )
    if accept_changes:
        return manifest
    if manifest.get("digest") != plan.digest:
        changes.append(f"topic specs or prompts: {manifest.get('digest')} -> {plan.digest}")
    raise StoreError(
        str(plan.files.root),
        "holds a run with another config (" + "; ".join(changes or ["unknown difference"]) + ")",
        "Run with the old config, give another --out, or agree with --accept-changes",
    )
