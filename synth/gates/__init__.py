"""The gates: checks that a candidate must pass, cheap ones first."""

from __future__ import annotations

from collections.abc import Sequence

from synth.gates import text
from synth.gates.base import Draft, Finding, Gate, Severity, Stage

_BOTH = frozenset(Stage)

GATES: dict[str, Gate] = {
    gate.name: gate
    for gate in (
        Gate("placeholder", 1, _BOTH, text.placeholder),
        Gate("repetition", 1, _BOTH, text.repetition),
        Gate("role", 1, _BOTH, text.role),
        Gate("prompt_echo", 1, _BOTH, text.prompt_echo),
    )
}
DEFAULT_GATES = tuple(GATES)


def first_red(draft: Draft, names: Sequence[str]) -> Finding | None:
    """The first finding that rejects `draft`, trying the named gates in their order."""
    for name in names:
        gate = GATES[name]
        if draft.stage in gate.stages:
            finding = gate.check(draft)
            if finding and finding.severity is Severity.RED:
                return finding
    return None


__all__ = ["DEFAULT_GATES", "GATES", "Draft", "Finding", "Gate", "Severity", "Stage", "first_red"]
