"""An export to the Hugging Face hub: the data, then its card."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from synth.errors import StoreError
from synth.export.columns import Columns
from synth.export.files import Routed, as_dataset, shards


def push(
    name: str,
    columns: Columns,
    splits: Sequence[str],
    records: Routed,
    card: Callable[[Mapping[str, int]], str],
    force: bool = False,
) -> dict[str, int]:
    """Push to the hub, as a private dataset. Returns split -> records.

    Args:
        name: on the hub, `owner/name`.
        columns: of every record.
        splits: their names.
        records: each with its split.
        card: the dataset card, given the number of records per split.
        force: replace a dataset of that name; it stays as public as it is.

    Raises:
        UserError: the records cannot be read or do not fit one schema.
        StoreError: there is such a dataset already, or the hub does not take it.
    """
    with tempfile.TemporaryDirectory(prefix="evenfill-export-") as folder:
        try:
            data = as_dataset(Path(folder), columns, splits, records)
        except OSError as error:
            what = f"the data cannot be gathered in {folder} ({error})"
            raise StoreError("--push", what, "Make room there, or set TMPDIR") from error
        numbers = {split: len(part) for split, part in data.items()}
        text = card(numbers)
        with _told_as_hub(name):
            if not force and _is_there(name):
                what = f"{name!r} is on the hub already"
                raise StoreError("--push", what, "Name another, or pass --force")
            data.push_to_hub(name, private=True, num_shards=shards(data))
            _push_card(name, text)
    return numbers


def _is_there(name: str) -> bool:
    from huggingface_hub import HfApi

    return bool(HfApi().repo_exists(name, repo_type="dataset"))


def _push_card(name: str, text: str) -> None:
    """Our card, with the figures about files and columns that `push_to_hub` wrote into its own."""
    from huggingface_hub import DatasetCard, HfApi

    ours = DatasetCard(text)
    theirs: dict[str, Any] = DatasetCard.load(name).data.to_dict()
    for key, value in theirs.items():
        if key not in ours.data:
            ours.data[key] = value
    HfApi().upload_file(
        path_or_fileobj=str(ours).encode(),
        path_in_repo="README.md",
        repo_id=name,
        repo_type="dataset",
        commit_message="Dataset card",
    )


@contextmanager
def _told_as_hub(name: str) -> Iterator[None]:
    """Turn whatever the hub, its library or the network says into one message."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise StoreError(
            "--push",
            f"the hub did not take {name!r} ({reason[0]})",
            "Check name, network and the token in HF_TOKEN",
        ) from error
