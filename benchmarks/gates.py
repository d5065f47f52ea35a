"""How much do the gates find, what do they refuse wrongly, and what do they cost?

    python -m benchmarks.gates --part held_out --files form --gates placeholder,pii
    python -m benchmarks.gates --part tuned --files crisis,content --gates safety
    python -m benchmarks.gates --files crisis --gates '{safety: {sentences: false}}'

Over the labelled cases in `tests/cases`; prints JSON. Milliseconds are CPU time per pair, after the
rules have been loaded.
"""

from __future__ import annotations

import argparse
import json
import time

import yaml

from synth.gates.registry import GateChoice, Gates
from tests.gate_cases import measure, read_cases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=["tuned", "held_out"], default="tuned")
    parser.add_argument("--files", default="form", help="of form, crisis, content")
    parser.add_argument("--gates", required=True, help="as in a run config, without the brackets")
    options = parser.parse_args()
    choices = yaml.safe_load(f"[{options.gates}]")
    gates = Gates([GateChoice.model_validate(choice) for choice in choices])
    cases = list(read_cases(options.part, *options.files.split(",")))
    measure(gates, iter(cases))
    started = time.process_time()
    tally = measure(gates, iter(cases))
    spent = time.process_time() - started
    rules = sorted(tally.found | tally.missed)
    figures = {
        "cases": len(cases),
        "recall_by_own_rule": round(tally.recall, 3),
        "red_found": [tally.red, tally.reds],
        "clean_refused": [tally.refused, tally.clean],
        "ms_per_pair": round(1000 * spent / len(cases), 2),
        "found_of": {r: [tally.found[r], tally.found[r] + tally.missed[r]] for r in rules},
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
