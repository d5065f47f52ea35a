"""The gates: checks that a candidate must pass, cheap ones first."""

from synth.gates.base import Draft, Finding, Flag, Gate, GateKind, Options, Scope, Severity, Stage

__all__ = ["Draft", "Finding", "Flag", "Gate", "GateKind", "Options", "Scope", "Severity", "Stage"]
