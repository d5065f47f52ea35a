"""The columns of the dataset that a run filled, and new records written into them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from synth.config import DatasetConfig
from synth.errors import ConfigError, StoreError
from synth.existing import TextDigest, open_existing
from synth.export.columns import Columns, batches
from synth.export.shapes import SHAPES, SYSTEM_PROMPT, Pair, Shape, evenfill
from synth.sources.forms import Form, of_turns
from synth.sources.values import turns_of

TRAIN = "train"
_NOWHERE = dict.fromkeys(Pair("", "", "", "", "", "").provenance)
_TURNS = {"messages": ("messages", "turns"), "sharegpt": ("conversations",)}
_KEYS = {  # of a turn: who speaks, and what
    "messages": (("role",), ("content",)),
    "sharegpt": (("from", "role"), ("value", "content")),
}
_ROLES = {"from": ("human", "gpt"), "role": ("user", "assistant")}
_TOPICS = ("topic", "topics")


@dataclass(frozen=True)
class Turns:
    """How a dataset writes dialogues.

    Attributes:
        column: that holds the turns.
        role, content: keys of a turn.
        client, counsellor: what `role` says of them.
        system: the first turn, as it is in the dataset; None where dialogues have none.
        by_key: whether it writes one list per key instead of one object per turn.
    """

    column: str
    role: str
    content: str
    client: str
    counsellor: str
    system: Mapping[str, Any] | None
    by_key: bool

    def of(self, pair: Pair) -> list[dict[str, Any]] | dict[str, list[Any]]:
        """A pair as turns."""
        texts = ((self.client, pair.question), (self.counsellor, pair.answer))
        turns = [{self.role: name, self.content: text} for name, text in texts]
        if self.system:
            turns.insert(0, dict(self.system))
        if self.by_key:
            return {key: [turn[key] for turn in turns] for key in (self.role, self.content)}
        return turns


@dataclass(frozen=True)
class Filled:
    """The dataset that a run filled, as it is now.

    Attributes:
        columns: of all its rows together, and where new records say they are from.
        constants: column -> the one value that all rows have there.
        turns: how it writes dialogues; None for a table.
        splits: split -> rows.
        skipped: malformed rows.
    """

    dataset: DatasetConfig
    form: Form
    columns: Columns
    constants: Mapping[str, Any]
    turns: Turns | None
    splits: Mapping[str, int]
    skipped: int

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every readable row with its split, as it is; what an earlier fill said of itself stays.

        Raises:
            SourceError: a malformed row, where those are to stop the reading.
        """
        for row in open_existing(self.dataset):
            yield row.split or TRAIN, _NOWHERE | dict(row.record)

    def shape(self) -> Shape:
        """Writes a pair into the columns of the dataset.

        Raises:
            ConfigError: pairs cannot be written in that form.
        """
        columns = {} if self.turns else self._flat()
        lists = {name for name in columns.values() if self.columns.holds_lists(name)}

        def shape(pair: Pair) -> dict[str, Any]:
            known = evenfill(pair)
            record = dict.fromkeys(self.columns.names) | dict(self.constants)
            if self.form.name == "evenfill":
                record |= {name: known[name] for name in known if name in record}
            for part, column in columns.items():
                record[column] = [known[part]] if column in lists else known[part]
            if self.turns:
                record[self.turns.column] = self.turns.of(pair)
            return record | pair.provenance

        return shape

    @property
    def repeated(self) -> list[str]:
        """Columns in which new records have the one value of the old rows."""
        record = self.shape()(Pair("", "", "", "", "", ""))
        return [n for n, v in self.constants.items() if v not in (None, "") and record[n] == v]

    def _flat(self) -> dict[str, str]:
        if not self.form.columns:
            raise ConfigError(
                "--format own",
                f"is not possible for a dataset in the form {self.form.name!r}",
                f"Give one of {', '.join(SHAPES)}",
            )
        columns = {p: c for p, c in self.form.columns.items() if c in self.columns.names}
        if self.form.name == "instruction" and self.constants.get("input", "?") in ("", None):
            columns["question"] = "instruction"  # there the instruction is the question
        if self.form.name != "columns":  # whose user said which column is the topic, if any
            found = next((name for name in _TOPICS if name in self.columns.names), None)
            if found is not None:
                columns.setdefault("topic", found)
        if "topic" in columns and not self._holds_labels(columns["topic"]):
            del columns["topic"]  # numbers that stand for topics are not ours to give
        return columns

    def _holds_labels(self, column: str) -> bool:
        return self.columns.holds_text(column) or self.columns.holds_lists(column)


def look_again(dataset: DatasetConfig, digest: str | None) -> Filled:
    """Read the dataset that a run filled once more, and see that it is still the same.

    Args:
        dataset: from the run's config.
        digest: of the rows that were filled; None where it is not known.

    Raises:
        SourceError: it cannot be read.
        StoreError: it is not the one that was filled.
    """
    source = open_existing(dataset)
    look, texts = _Look(source.form), TextDigest()

    def records() -> Iterator[Mapping[str, Any]]:
        for row in source:
            texts.add(row)
            look.add(row.record, row.split)
            yield row.record

    columns = Columns()
    for batch in batches(records()):
        columns.add(batch)
    _check_unchanged(dataset, texts, digest)
    columns.add([Pair("", "", "", "", "", "").provenance])
    turns = look.turns()
    if turns is not None:
        columns.add([{turns.column: turns.of(Pair("", "", "", "", "", ""))}])
    return Filled(
        dataset, source.form, columns, look.constants(), turns, look.splits, source.malformed_count
    )


def _check_unchanged(dataset: DatasetConfig, texts: TextDigest, digest: str | None) -> None:
    """The digest goes over the filled rows and those that new records were to be like."""
    if digest is None:
        return
    if dataset.like is not None:
        for row in open_existing(dataset.model_copy(update={"location": dataset.like})):
            texts.add(row)
    if texts.hexdigest() != digest:
        what = "is not as it was when the run filled it"
        if dataset.like is not None:
            what += f", or {dataset.like} is not"
        raise StoreError(dataset.location, what, "Bring that version back, or give another format")


class _Look:
    """What is noticed on the way through a dataset."""

    def __init__(self, form: Form):
        self._form = form.name
        self._rows = 0
        self._same: dict[str, Any] = {}
        self._column = ""
        self._keys = ("", "")
        self._by_key = False
        self._names: dict[str, str] = {}  # client, counsellor -> what the dataset calls them
        self._system: Mapping[str, Any] | None = None
        self.splits: Counter[str] = Counter()

    def add(self, record: Mapping[str, Any], split: str | None) -> None:
        self.splits[split or TRAIN] += 1
        if not self._rows:
            self._same = dict(record)
        self._same = {n: value for n, value in self._same.items() if record.get(n) == value}
        if self._form in _TURNS:
            self._look_at_turns(record)
        self._rows += 1

    def constants(self) -> dict[str, Any]:
        """Column -> its one value; a single row tells of none."""
        return self._same if self._rows > 1 else {}

    def _look_at_turns(self, record: Mapping[str, Any]) -> None:
        column = next(name for name in _TURNS[self._form] if record.get(name) is not None)
        turns = turns_of(record[column], column)
        if not turns:
            return
        if not self._column:
            role, content = (
                next((key for key in keys if turns[0].get(key) is not None), keys[0])
                for keys in _KEYS[self._form]
            )
            self._column, self._keys = column, (role, content)
            self._by_key = isinstance(record[column], Mapping)
            if str(turns[0].get(role)).lower() == "system":
                self._system = {role: turns[0][role], content: turns[0].get(content)}
        role, content = self._keys
        if self._system and turns[0].get(content) != self._system[content]:
            self._system = {role: self._system[role], content: SYSTEM_PROMPT}
        if len(self._names) < len(_ROLES["role"]):
            for turn in turns:
                self._name(str(turn.get(role) or ""))

    def _name(self, role: str) -> None:
        with suppress(ValueError):  # a row that has another key
            sides = of_turns([(role, "x")])
            if sides.question:
                self._names.setdefault("client", role)
            elif sides.answer:
                self._names.setdefault("counsellor", role)

    def turns(self) -> Turns | None:
        """How dialogues are written; None for a table."""
        if not self._column:
            return None
        client, counsellor = _ROLES[self._keys[0]]
        return Turns(
            self._column,
            *self._keys,
            self._names.get("client", client),
            self._names.get("counsellor", counsellor),
            self._system,
            self._by_key,
        )
