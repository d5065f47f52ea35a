"""Topic specs: what to make. One YAML file per topic, and the facets that all of them share."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from synth.errors import SpecError, did_you_mean
from synth.validation import explain, read_yaml

SHIPPED = "topic_specs"
FACETS_FILE = "facets.yaml"
SITUATION = "situation"  # stored beside the facets

Line = Annotated[str, Field(min_length=3)]
Conflicts = Mapping[tuple[str, str], Collection[tuple[str, str]]]


class TopicSpec(BaseModel):
    """One topic: its weight, what belongs in it, and concrete situations."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    name: str = Field(min_length=1)
    weight: float = Field(gt=0, description="share of the total under the weight policy")
    risk: Literal["low", "possible", "expected"] = Field(description="is a crisis to be expected")
    description: str = Field(min_length=20)
    belongs: tuple[Line, ...] = Field(min_length=1)
    neighbours: dict[str, Line] = Field(min_length=1, description="topic id: what belongs there")
    situations: tuple[Line, ...] = Field(min_length=10)
    without: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="facet: values that make no sense for this topic"
    )


class Facet(BaseModel):
    """A dimension that varies inside every topic: value id -> words for the prompt."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    values: dict[str, Line] = Field(min_length=2)


class Conflict(BaseModel):
    """Facet values that cannot stand together, such as a teenager who lives with in-laws."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: str = Field(pattern=r"^\w+\.\w+$", description="facet.value")
    excludes: tuple[str, ...] = Field(min_length=1, description="facet.value, ...")


@dataclass(frozen=True)
class Specs:
    """All topics, by id, and the facets.

    Attributes:
        topics: topic id -> spec, in order of falling weight, then id.
        facets: facet name -> value id -> words.
        conflicts: (facet, value) -> those that exclude it; in both directions.
        digest: 16 hex digits over all of it.
    """

    topics: Mapping[str, TopicSpec]
    facets: Mapping[str, Mapping[str, str]]
    conflicts: Conflicts
    digest: str

    def values_for(self, topic: str, facet: str) -> tuple[str, ...]:
        """The value ids of `facet` that make sense for `topic`."""
        left_out = self.topics[topic].without.get(facet, ())
        return tuple(value for value in self.facets[facet] if value not in left_out)

    def clash(self, one: tuple[str, str], other: tuple[str, str]) -> bool:
        """Whether two (facet, value) pairs exclude each other."""
        return other in self.conflicts.get(one, ())


def find_specs_dir(name: str, base: Path) -> Path:
    """The folder that `topics: name` means: beside the config, here, or the shipped one.

    Raises:
        SpecError: there is no such folder.
    """
    for folder in (base / Path(name).expanduser(), Path(name).expanduser()):
        if folder.is_dir():
            return folder
    if name == SHIPPED:
        return Path(str(files(SHIPPED)))
    raise SpecError(
        "topics", f"there is no folder {name!r}", f"Give a folder of topic specs, or {SHIPPED!r}"
    )


def load_specs(folder: Path) -> Specs:
    """Read and check every spec in `folder`.

    Raises:
        SpecError: names the file, the field, what was found and what would be right.
    """
    facets, conflicts = _load_facets(folder / FACETS_FILE)
    topics: dict[str, TopicSpec] = {}
    came_from: dict[str, Path] = {}
    for path in _spec_files(folder):
        spec = _load_topic(path)
        if spec.id in topics:
            raise SpecError(
                str(path), f"'id' is {spec.id!r}, as in {came_from[spec.id]}", "Give each its own"
            )
        if path.stem != spec.id:
            raise SpecError(str(path), f"'id' is {spec.id!r}", f"Name the file {spec.id}.yaml")
        topics[spec.id], came_from[spec.id] = spec, path
    if not topics:
        raise SpecError(str(folder), "holds no topic spec", "Put one YAML file per topic there")
    for spec in topics.values():
        _check_references(spec, came_from[spec.id], topics, facets)
    ordered = dict(sorted(topics.items(), key=lambda item: (-item[1].weight, item[0])))
    return Specs(ordered, facets, conflicts, _digest(ordered, facets, conflicts))


def _spec_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.suffix in (".yaml", ".yml") and path.name != FACETS_FILE:
            yield path


def _load_topic(path: Path) -> TopicSpec:
    try:
        return TopicSpec.model_validate(read_yaml(path, SpecError))
    except ValidationError as error:
        raise SpecError(str(path), *explain(error, TopicSpec)) from error


def _load_facets(path: Path) -> tuple[dict[str, dict[str, str]], Conflicts]:
    data = read_yaml(path, SpecError)
    raw_conflicts = data.pop("conflicts", [])
    facets: dict[str, dict[str, str]] = {}
    for name in data:
        if not re.fullmatch(r"[a-z]\w*", str(name)) or name == SITUATION:
            remedy = f"Use a lower-case word other than {SITUATION!r}"
            raise SpecError(str(path), f"a facet is named {name!r}", remedy)
    try:
        for name, values in data.items():
            facets[name] = Facet.model_validate({"values": values}).values
    except ValidationError as error:
        what, remedy = explain(error, Facet)
        raise SpecError(str(path), f"facet {name!r}: {what}", remedy) from error
    if not facets:
        raise SpecError(str(path), "holds no facet", "Give at least one, such as voice")
    excluded: dict[tuple[str, str], set[tuple[str, str]]] = {}
    if not isinstance(raw_conflicts, list):
        raise SpecError(str(path), "'conflicts' is not a list", "See the shipped facets.yaml")
    for raw in raw_conflicts:
        try:
            conflict = Conflict.model_validate(raw)
        except ValidationError as error:
            what, remedy = explain(error, Conflict)
            raise SpecError(str(path), f"'conflicts': {what}", remedy) from error
        one = _facet_value(conflict.value, facets, path)
        for other in (_facet_value(v, facets, path) for v in conflict.excludes):
            excluded.setdefault(one, set()).add(other)
            excluded.setdefault(other, set()).add(one)
    return facets, excluded


def _facet_value(
    dotted: str, facets: Mapping[str, Mapping[str, str]], path: Path
) -> tuple[str, str]:
    facet, _, value = dotted.partition(".")
    if value not in facets.get(facet, {}):
        known = [f"{f}.{v}" for f, values in facets.items() for v in values]
        raise SpecError(
            str(path),
            f"'conflicts' names {dotted!r}{did_you_mean(dotted, known)}",
            "Give facet.value as above it",
        )
    return facet, value


def _check_references(
    spec: TopicSpec,
    path: Path,
    topics: Mapping[str, TopicSpec],
    facets: Mapping[str, Mapping[str, str]],
) -> None:
    for other in spec.neighbours:
        if other not in topics or other == spec.id:
            hint = did_you_mean(other, topics)
            raise SpecError(
                str(path), f"'neighbours' names {other!r}{hint}", "Give other topic ids"
            )
    for facet, values in spec.without.items():
        if facet not in facets:
            hint = did_you_mean(facet, facets)
            raise SpecError(str(path), f"'without' names {facet!r}{hint}", "Give a facet's name")
        for value in values:
            if value not in facets[facet]:
                hint = did_you_mean(value, facets[facet])
                raise SpecError(
                    str(path), f"'without.{facet}' names {value!r}{hint}", "Give a value's id"
                )
        if set(facets[facet]) <= set(values):
            raise SpecError(str(path), f"'without.{facet}' leaves no value", "Leave at least one")


def _digest(
    topics: Mapping[str, TopicSpec],
    facets: Mapping[str, Mapping[str, str]],
    conflicts: Conflicts,
) -> str:
    whole = [
        [spec.model_dump(mode="json") for spec in topics.values()],
        facets,
        sorted({tuple(sorted((one, two))) for one in conflicts for two in conflicts[one]}),
    ]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]
