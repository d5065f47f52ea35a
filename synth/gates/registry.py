"""Find gates by name and make them: the built-in ones, entry points, and dotted paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from synth.errors import did_you_mean
from synth.gates import cliche, detoxify, form, language, pii, presidio, safety
from synth.gates.base import Draft, Finding, Gate, GateKind, Scope, Severity
from synth.gates.reader import SafetyOptions

ENTRY_POINTS = "evenfill.gates"


_TEXTS = frozenset({Scope.QUESTION, Scope.ANSWER})
_BUILT_IN: tuple[Gate | GateKind, ...] = (  # cheap ones first
    Gate("placeholder", 2, _TEXTS, form.placeholder),
    Gate("repetition", 1, _TEXTS, form.repetition),
    Gate("role", 1, _TEXTS, form.role),
    Gate("prompt_echo", 1, _TEXTS, form.prompt_echo),
    Gate("language", 1, _TEXTS, language.language),
    cliche.KIND,
    Gate("pii", 1, _TEXTS, pii.pii),
    safety.KIND,
    presidio.KIND,
    detoxify.KIND,
)
BUILT_IN: Mapping[str, Gate | GateKind] = {gate.name: gate for gate in _BUILT_IN}


class GateChoice(BaseModel):
    """A gate named in a run config: `name`, or `name: {option: value}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and len(value) == 1 and "name" not in value:
            ((name, options),) = value.items()
            return {"name": name, "options": options or {}}
        return value

    @model_validator(mode="after")
    def _can_be_made(self) -> GateChoice:
        kind = find(self.name)
        if isinstance(kind, GateKind):
            try:
                kind.options.model_validate(self.options)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in (self.name, *first["loc"]))
                raise ValueError(f"{where}: {first['msg']}") from error
        elif self.options:
            raise ValueError(f"{self.name}: takes no options")
        return self


def find(name: str) -> GateKind | Gate:
    """The gate of that name.

    Raises:
        ValueError: there is none, or it is not a gate.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    for entry in entry_points(group=ENTRY_POINTS, name=name):
        return _as_gate(name, entry.load)
    if ":" in name:
        module, _, attribute = name.partition(":")
        return _as_gate(name, lambda: getattr(import_module(module), attribute))
    raise ValueError(f"no gate {name!r}{did_you_mean(name, BUILT_IN)}")


def _as_gate(name: str, load: Callable[[], Any]) -> GateKind | Gate:
    try:
        found = load()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"gate {name!r} cannot be loaded ({error})") from error
    if not isinstance(found, Gate | GateKind):
        raise ValueError(f"{name!r} is no Gate and no GateKind, but {type(found).__name__}")
    return found


_ON_REQUEST = {presidio.KIND.name, detoxify.KIND.name}  # they need models that users bring
DEFAULT_CHOICES = tuple(GateChoice(name=name) for name in BUILT_IN if name not in _ON_REQUEST)
# People ask in other forms than a model that was told to write as a client.
AUDIT_CHOICES = tuple(choice for choice in DEFAULT_CHOICES if choice.name != "role")


class Gates:
    """Gates ready to judge, in their order.

    Args:
        choices: as in the run config.

    Raises:
        UserError: what a gate needs is not there; says what.
    """

    def __init__(self, choices: Sequence[GateChoice] = DEFAULT_CHOICES):
        self._gates = [_made(choice) for choice in choices]

    def findings(self, draft: Draft) -> Iterator[Finding]:
        """All that any gate finds in a text."""
        scopes = {Scope(draft.stage)}
        if draft.stage == Scope.ANSWER and draft.question:
            scopes.add(Scope.RECORD)
        for gate in self._gates:
            if gate.scopes & scopes:
                yield from gate.check(draft)

    def judge(self, draft: Draft) -> tuple[Finding | None, list[Finding]]:
        """The first finding that refuses a text, if any; and the yellow ones before it."""
        noted: list[Finding] = []
        for finding in self.findings(draft):
            if finding.severity is Severity.RED:
                return finding, noted
            noted.append(finding)
        return None, noted


def _made(choice: GateChoice) -> Gate:
    found = find(choice.name)
    return found if isinstance(found, Gate) else found.gate(choice.options)


def safety_options(choices: Sequence[GateChoice]) -> SafetyOptions:
    """How a run reads risk: as its safety gate does, and by phrases where that is off."""
    for choice in choices:
        if choice.name == safety.KIND.name:
            return SafetyOptions.model_validate(choice.options)
    return SafetyOptions(sentences=False)


def gate_versions(choices: Sequence[GateChoice]) -> dict[str, int]:
    """The version of each gate; a new one makes another dataset."""
    return {choice.name: find(choice.name).version for choice in choices}
