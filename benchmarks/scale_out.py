"""Do N replicas make N times as many records?

    evenfill bench scale_out --replicas 1,10,100,1000 --json

Whole runs on a virtual clock (`benchmarks/simulation.py`): the real pipelines, balancer and
coordinator, with as many records for each replica whatever their number. The coordinator is
busy for `--call-ms` with each call and for `--candidate-ms` with each text, one after the other;
`evenfill bench coordinator` measures both. With 0 for both, what is left is what leases, limits
and the tail cost.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.common import Figures, command_line, positive, share, show, stamped, whole_numbers
from benchmarks.simulation import Outcome, Setting, simulate

_REPLICAS = (1, 10, 100, 1000)
_STEADY = (0.25, 0.75)  # shares of a run between which neither its start nor its tail shows


def measure(setting: Setting, replicas: Sequence[int], records_each: int) -> list[Figures]:
    """One row for each number of replicas, the first being the measure of the others.

    `efficiency` compares whole runs, `steady_efficiency` their middle halves.
    """
    rows: list[Figures] = []
    for number in replicas:
        outcome = simulate(replace(setting, replicas=number, records=number * records_each))
        rate, steady = outcome.accepted / outcome.seconds, _steady_rate(outcome)
        first = rows[0] if rows else {"replicas": number, "per_s": rate, "steady_per_s": steady}
        factor = number / first["replicas"]
        calls = outcome.counts.calls
        rows.append(
            {
                "replicas": number,
                "accepted": outcome.accepted,
                "seconds": round(outcome.seconds, 1),
                "per_s": round(rate, 3),
                "steady_per_s": round(steady, 3),
                "efficiency": round(rate / (factor * first["per_s"]), 3),
                "steady_efficiency": round(steady / (factor * first["steady_per_s"]), 3),
                "busy": round(outcome.busy, 3),
                "starved_steps": outcome.counts.starved,
                "unneeded_per_100": round(100 * outcome.unneeded / outcome.accepted, 2),
                "calls_per_100": round(100 * calls.total() / outcome.accepted),
                "leases_per_100": round(100 * calls["lease"] / outcome.accepted),
            }
        )
    return rows


def _steady_rate(outcome: Outcome) -> float:
    low, high = _STEADY
    return (high - low) * outcome.accepted / (outcome.reached(high) - outcome.reached(low))


def main(arguments: Sequence[str]) -> None:
    """Run from the command line."""
    base = Setting(sequences=16)
    parser = command_line("scale_out", "Do N simulated replicas make N times as many records?")
    parser.add_argument("--replicas", type=whole_numbers, default=_REPLICAS, metavar="N,...")
    parser.add_argument("--sequences", type=positive, default=base.sequences)
    parser.add_argument("--records-each", type=positive, default=165, help="for each replica")
    parser.add_argument("--acceptance", type=share, default=base.acceptance)
    parser.add_argument("--question-s", type=float, default=base.question_s)
    parser.add_argument("--answer-s", type=float, default=base.answer_s)
    parser.add_argument("--call-ms", type=float, default=0.0)
    parser.add_argument("--candidate-ms", type=float, default=0.0)
    options = parser.parse_args(arguments)
    setting = replace(
        base,
        sequences=options.sequences,
        acceptance=options.acceptance,
        question_s=options.question_s,
        answer_s=options.answer_s,
        call_s=options.call_ms / 1000,
        candidate_s=options.candidate_ms / 1000,
    )
    rows = measure(setting, options.replicas, options.records_each)
    figures = {
        "sequences": setting.sequences,
        "question_s": setting.question_s,
        "answer_s": setting.answer_s,
        "acceptance": setting.acceptance,
        "call_ms": options.call_ms,
        "candidate_ms": options.candidate_ms,
        "runs": rows,
    }
    show(stamped("scale_out", arguments, figures), options.json, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
