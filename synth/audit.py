"""Run the gates over a dataset that exists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from synth.gates import Draft, Flag, Severity, Stage
from synth.gates.registry import Gates
from synth.sources import Row


@dataclass(frozen=True, slots=True)
class Audited:
    """A row and what the gates found in it."""

    row: Row
    flags: tuple[Flag, ...]

    @property
    def severity(self) -> str:
        """`red` if any finding is, else `yellow` if there is one, else `none`."""
        found = {flag.severity for flag in self.flags}
        worst = (level for level in (Severity.RED, Severity.YELLOW) if level in found)
        return str(next(worst, "none"))

    def as_dict(self) -> dict[str, Any]:
        """One line of `--json`."""
        findings = [asdict(flag) for flag in self.flags]
        return {"row": self.row.number, "severity": self.severity, "findings": findings}


def audit(rows: Iterable[Row], gates: Gates) -> Iterator[Audited]:
    """Every row with everything that any gate finds in its question, its answer, or both."""
    for row in rows:
        drafts = []
        if row.question:
            drafts.append(Draft(Stage.QUESTION, row.question))
        if row.answer:
            drafts.append(Draft(Stage.ANSWER, row.answer, row.question))
        flags = (finding.flag(draft) for draft in drafts for finding in gates.findings(draft))
        yield Audited(row, tuple(flags))


SEVERITIES = ("red", "yellow", "none")  # of a row


@dataclass
class Summary:
    """Counts over an audited dataset.

    Attributes:
        rules: (gate, rule, severity) -> rows in which it was found.
    """

    rows: int = 0
    severities: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(SEVERITIES, 0)))
    rules: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def add(self, audited: Audited) -> None:
        """Count one row."""
        self.rows += 1
        self.severities[audited.severity] += 1
        found = dict.fromkeys((f.gate, f.rule, str(f.severity)) for f in audited.flags)
        self.rules.update(list(found))
