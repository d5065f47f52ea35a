"""A run that passed every check which needs no engine, and the check against its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synth import judging, prompts, store
from synth.config import RunConfig, content_of, differences, fingerprint
from synth.errors import StoreError
from synth.existing import Existing, located, look_at
from synth.report import Status
from synth.specs import Specs, find_specs_dir, load_specs
from synth.store import RunFiles
from synth.targets import check_facets, check_topics, missing, share_out, sized_like


@dataclass(frozen=True)
class Plan:
    """A run that passed every check which needs no engine.

    Attributes:
        targets: topic id -> records to be written.
        files: the run folder, as an absolute path.
        existing: the dataset that is being filled, if there is one.
    """

    config: RunConfig
    specs: Specs
    targets: Mapping[str, int]
    files: RunFiles
    existing: Existing | None = None

    @property
    def digest(self) -> str:
        """The specs' digest, with the versions of prompts and judge, and the dataset's digest."""
        judge = f"-j{judging.VERSION}" if self.config.judge else ""
        dataset = f"-d{self.existing.digest}" if self.existing else ""
        return f"{self.specs.digest}-p{prompts.VERSION}{judge}{dataset}"

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.config, self.digest)


def specs_of(config: RunConfig, base: Path) -> Specs:
    """The topic specs that a config names; `base` is its folder, or the current one."""
    return load_specs(find_specs_dir(config.topics, base))


def make_plan(config: RunConfig, base: Path) -> Plan:
    """Load the specs and share out the targets.

    Args:
        config: the run config.
        base: the folder of the config file, or the current one.

    Raises:
        UserError: whatever is wrong with specs, targets, dataset or the output path.
    """
    specs = specs_of(config, base)
    check_topics(config.targets, specs.topics)
    check_facets(config.targets.facets, specs, ())
    files = store.run_files(config.out)
    weights = {topic: spec.weight for topic, spec in specs.topics.items()}
    existing = None
    if config.dataset is None:
        targets = share_out(config.targets, weights)
    else:
        dataset = located(config.dataset, base)
        existing = look_at(config, dataset, specs)
        rows = existing.total
        if config.targets.policy == "like":
            weights = {topic: existing.like.get(topic, 0) for topic in specs.topics}
            rows = sum(existing.like.values())
        goal = sized_like(config.targets, rows)
        config = config.model_copy(update={"dataset": dataset, "targets": goal})
        targets = share_out(goal, weights)
        if dataset.counted:
            targets = missing(targets, existing.rows)
    check_facets(config.targets.facets, specs, [t for t, number in targets.items() if number])
    return Plan(config, specs, targets, files, existing)


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
    if manifest.get("dataset_digest") != (plan.existing.texts if plan.existing else None):
        raise StoreError(
            str(plan.files.root),
            "holds records that were kept apart from other rows: the dataset is not the one, or "
            "not as it was",
            "Bring it back, or give another --out",
        )
    if accept_changes:
        return manifest
    if manifest.get("digest") != plan.digest:
        changes.append(
            "topic specs, prompts, judge or the topics of the dataset's rows: "
            f"{manifest.get('digest')} -> {plan.digest}"
        )
    raise StoreError(
        str(plan.files.root),
        "holds a run with another config (" + "; ".join(changes or ["unknown difference"]) + ")",
        "Run with the old config, give another --out, or agree with --accept-changes",
    )


def ended_complete(plan: Plan) -> bool:
    """Whether the folder says that this very run ended complete; only the store knows for sure."""
    manifest = store.read_manifest(plan.files)
    return (
        manifest is not None
        and manifest["status"] == Status.COMPLETE
        and manifest["fingerprint"] == plan.fingerprint
        and manifest.get("targets") == dict(plan.targets)
    )
