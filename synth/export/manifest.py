"""What an export needs to know of a run, read from its `run.json`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from synth.config import RunConfig
from synth.errors import StoreError
from synth.store import MANIFEST, RunFiles, read_manifest
from synth.validation import explain


class Versions(BaseModel):
    """Of the packages that wrote the run."""

    evenfill: str = "of an unknown version"


class Run(BaseModel):
    """A run, as far as an export tells of it.

    Attributes:
        dataset_digest: of the rows that it filled; None where an older version wrote the run.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    status: str
    created_at: str
    config: RunConfig
    versions: Versions = Versions()
    dataset_digest: str | None = None


def read_run(files: RunFiles) -> Run:
    """The run in a folder.

    Raises:
        StoreError: there is none, or `run.json` is not what this version writes.
    """
    manifest = read_manifest(files)
    if manifest is None:
        raise StoreError(str(files.root), "holds no run", "Give the folder of a run")
    try:
        return Run.model_validate(manifest)
    except ValidationError as error:
        what, right = explain(error, Run)
        remedy = f"{right}, or export with the version that wrote the run"
        raise StoreError(f"{files.root}/{MANIFEST}", what, remedy) from error
