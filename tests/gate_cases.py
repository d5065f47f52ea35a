"""The labelled cases of the gates, and what gates make of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from synth.gates import Draft, Severity, Stage
from synth.gates.registry import Gates

CASES = Path(__file__).parent / "cases"
SAME_RULE = {"meta_talk": {"meta_talk", "placeholder"}, "repetition": {"repetition", "garbled"}}


@dataclass
class Tally:
    """Counts over cases, by the rule that a case is about.

    Attributes:
        found: cases in which the rule that they break was found.
        missed: those in which it was not.
        red: red cases that any rule refused.
        refused: clean cases that were refused.
    """

    found: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    reds: int = 0
    red: int = 0
    clean: int = 0
    refused: int = 0

    @property
    def recall(self) -> float:
        """Share of the cases in which the rule that they break was found."""
        hits = self.found.total()
        return hits / (hits + self.missed.total())

    @property
    def false_red(self) -> float:
        """Share of the clean cases that were refused."""
        return self.refused / self.clean


def read_cases(part: str, *names: str) -> Iterator[dict[str, str]]:
    """Cases of `tuned` or `held_out`, from the files of those names."""
    for name in names:
        for line in (CASES / part / f"{name}.jsonl").read_text().splitlines():
            yield json.loads(line)


def measure(gates: Gates, cases: Iterator[dict[str, str]]) -> Tally:
    """What `gates` find in questions, answers and pairs."""
    tally = Tally()
    for case in cases:
        drafts = (
            Draft(Stage.QUESTION, case["question"]),
            Draft(Stage.ANSWER, case["answer"], case["question"]),
        )
        findings = [finding for draft in drafts for finding in gates.findings(draft)]
        rules = {finding.rule for finding in findings}
        refused = any(finding.severity is Severity.RED for finding in findings)
        rule = case["rule"]
        if case["label"] == "clean":
            tally.clean += 1
            tally.refused += refused
            continue
        hit = bool(rules & SAME_RULE.get(rule, {rule}))
        (tally.found if hit else tally.missed)[rule] += 1
        if case["label"] == "red":
            tally.reds += 1
            tally.red += refused
    return tally
