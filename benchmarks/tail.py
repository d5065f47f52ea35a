"""How long do the last 5 % of a run take, and does one slow replica hold it up?

    evenfill bench tail --json

Whole runs on a virtual clock (`benchmarks/simulation.py`): the real pipelines, balancer and
coordinator; texts take scripted times. For each acceptance rate three runs: all replicas alike,
one of them slow, and that one left out. A straggler holds the run up if it would have ended
sooner without it. One replica alone is only timed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.common import Figures, command_line, positive, shares, show, stamped
from benchmarks.simulation import Outcome, Setting, simulate

_TAIL = 0.05
_ACCEPTANCES = (0.1, 0.3, 0.5, 0.7, 0.9)


def measure(setting: Setting, acceptances: Sequence[float]) -> list[Figures]:
    """One row for each acceptance rate of questions; seconds are virtual.

    `tail_over_fair` is what the last 5 % took over 5 % of the whole run; `held_up_s` how much
    longer the run with a straggler took than the same without that replica.
    """
    rows = []
    for acceptance in acceptances:
        alike = replace(setting, acceptance=acceptance)
        even = simulate(alike)
        rows.append(
            {
                "acceptance": acceptance,
                "accepted": even.accepted,
                "first_95_s": round(even.reached(1 - _TAIL), 1),
                "last_5_s": round(_tail_s(even), 1),
                "tail_over_fair": round(_tail_s(even) / (_TAIL * even.seconds), 2),
                "busy": round(even.busy, 3),
                "unneeded_per_100": round(100 * even.unneeded / even.accepted, 2),
                "unneeded_share": round(even.unneeded_share, 4),
                **(_straggler(alike) if setting.replicas > 1 else {}),
            }
        )
    return rows


def _straggler(alike: Setting) -> Figures:
    """The same run with one slow replica, and without that one."""
    straggling = simulate(replace(alike, slow=1))
    without = simulate(replace(alike, replicas=alike.replicas - 1))
    return {
        "straggler_first_95_s": round(straggling.reached(1 - _TAIL), 1),
        "straggler_last_5_s": round(_tail_s(straggling), 1),
        "without_it_s": round(without.ended, 1),
        "held_up_s": round(straggling.ended - without.ended, 1),
    }


def _tail_s(outcome: Outcome) -> float:
    return outcome.seconds - outcome.reached(1 - _TAIL)


def main(arguments: Sequence[str]) -> None:
    """Run from the command line."""
    base = Setting(records=3300)
    parser = command_line("tail", "How long the last 5 % take, and whether a straggler holds a run")
    parser.add_argument("--acceptance", type=shares, default=_ACCEPTANCES, metavar="SHARE,...")
    parser.add_argument("--replicas", type=positive, default=base.replicas)
    parser.add_argument("--sequences", type=positive, default=base.sequences)
    parser.add_argument("--records", type=positive, default=base.records)
    parser.add_argument("--slowness", type=float, default=base.slowness)
    parser.add_argument("--question-s", type=float, default=base.question_s)
    parser.add_argument("--answer-s", type=float, default=base.answer_s)
    parser.add_argument("--answer-acceptance", type=float, default=base.answer_acceptance)
    parser.add_argument("--hard", type=int, default=base.hard, help="topics of half the chances")
    options = parser.parse_args(arguments)
    setting = replace(
        base,
        replicas=options.replicas,
        sequences=options.sequences,
        records=options.records,
        slowness=options.slowness,
        question_s=options.question_s,
        answer_s=options.answer_s,
        answer_acceptance=options.answer_acceptance,
        hard=options.hard,
    )
    rows = measure(setting, options.acceptance)
    figures = {
        "replicas": setting.replicas,
        "sequences": setting.sequences,
        "question_s": setting.question_s,
        "answer_s": setting.answer_s,
        "answer_acceptance": setting.answer_acceptance,
        "hard": setting.hard,
        "slowness": setting.slowness,
        "runs": rows,
    }
    show(stamped("tail", arguments, figures), options.json, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
