"""How long do the last 5 % of a run take, and does one slow replica hold it up?

    evenfill bench tail --json

Whole runs on a virtual clock (`benchmarks/simulation.py`): the real pipelines, balancer and
coordinator; texts take scripted times. For each acceptance rate three runs: all replicas alike,
one of them slow, and that one left out. A straggler holds the run up if it would have ended
sooner without it. One replica alone is only timed.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.common import Figures, command_line, natural, positive, share, shares, show, stamped
from benchmarks.simulation import Outcome, Setting, simulate

_TAIL = 0.05
_ACCEPTANCES = (0.1, 0.3, 0.5, 0.7, 0.9)


def measure(setting: Setting, acceptances: Sequence[float], seeds: int = 1) -> list[Figures]:
    """One row for each acceptance rate of questions, the mean of runs; seconds are virtual.

    `tail_over_fair` is what the last 5 % took over 5 % of the whole run; `held_up_s` how much
    longer the run with a straggler took than the same without that replica.
    """
    rows = []
    for acceptance in acceptances:
        settings = [
            replace(setting, acceptance=acceptance, seed=setting.seed + more)
            for more in range(seeds)
        ]
        runs = [_run(each) for each in settings]
        means = {key: round(statistics.fmean(run[key] for run in runs), 4) for key in runs[0]}
        rows.append({"acceptance": acceptance, **means})
    return rows


def _run(alike: Setting) -> Figures:
    even = simulate(alike)
    return {
        "accepted": even.accepted,
        "first_95_s": even.reached(1 - _TAIL),
        "last_5_s": _tail_s(even),
        "tail_over_fair": _tail_s(even) / (_TAIL * even.seconds),
        "busy": even.busy,
        "unneeded_per_100": 100 * even.unneeded / even.accepted,
        "unneeded_share": even.unneeded_share,
        **(_straggler(alike) if alike.replicas > 1 else {}),
    }


def _straggler(alike: Setting) -> Figures:
    """The same run with one slow replica, and without that one."""
    straggling = simulate(replace(alike, slow=1))
    without = simulate(replace(alike, replicas=alike.replicas - 1))
    return {
        "straggler_first_95_s": straggling.reached(1 - _TAIL),
        "straggler_last_5_s": _tail_s(straggling),
        "without_it_s": without.ended,
        "held_up_s": straggling.ended - without.ended,
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
    parser.add_argument("--answer-acceptance", type=share, default=base.answer_acceptance)
    parser.add_argument(
        "--hard", type=natural, default=base.hard, help="topics of half the chances"
    )
    parser.add_argument("--seeds", type=positive, default=1, help="runs whose mean is shown")
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
    rows = measure(setting, options.acceptance, options.seeds)
    figures = {
        "replicas": setting.replicas,
        "sequences": setting.sequences,
        "question_s": setting.question_s,
        "answer_s": setting.answer_s,
        "answer_acceptance": setting.answer_acceptance,
        "hard": setting.hard,
        "slowness": setting.slowness,
        "seeds": options.seeds,
        "runs": rows,
    }
    show(stamped("tail", arguments, figures), options.json, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
