"""The benchmarks that `evenfill bench` knows by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module

from synth.errors import ConfigError, did_you_mean

# name: what it tells. Each is a module here with `main(arguments)`, imported when it is run.
BENCHMARKS: Mapping[str, str] = {
    "constraint": "speed and valid texts of each structured-output backend, and without one",
    "coordinator": "when one coordinator is full: CPU per candidate and latencies, up to 4,000 "
    "simulated replicas",
    "index": "cost and recall of indexes, from ten thousand rows to a million",
    "saturation": "completion tokens/s of a whole run over offline LLM.chat on the same requests",
    "scale_out": "simulated replicas against linear growth, on a virtual clock",
    "tail": "how long the last 5 % of a run take, and whether a slow replica holds it up",
    "waste": "tokens of a finished run by what became of them, and what the early check saved",
}


def run(name: str, arguments: Sequence[str]) -> None:
    """Run one benchmark with its own command-line arguments.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in BENCHMARKS:
        hint = did_you_mean(name, BENCHMARKS)
        raise ConfigError("bench", f"there is no benchmark {name!r}{hint}", "See `evenfill bench`")
    import_module(f"benchmarks.{name}").main(arguments)
