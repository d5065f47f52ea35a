"""What every benchmark shares: its command line, what a result was measured on, how it is shown."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from synth.report import versions

Figures = dict[str, Any]


def command_line(name: str, what: str) -> argparse.ArgumentParser:
    """A parser with the option that all benchmarks have."""
    parser = argparse.ArgumentParser(prog=f"evenfill bench {name}", description=what)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def natural(text: str) -> int:
    """`0` as a number, for argparse."""
    return _at_least(0, text)


def positive(text: str) -> int:
    """`10` as a number, for argparse."""
    return _at_least(1, text)


def _at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return int(text)


def whole_numbers(text: str) -> tuple[int, ...]:
    """`10,100` as numbers, for argparse."""
    return tuple(positive(part) for part in text.split(","))


def shares(text: str) -> tuple[float, ...]:
    """`0.2,0.5` as numbers, for argparse."""
    return tuple(share(part) for part in text.split(","))


def share(text: str) -> float:
    """`0.2` as a number, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share above 0 and up to 1")
    return value


def machine() -> Figures:
    """What a result was measured on; `load` is the mean number of running tasks in a minute."""
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load": round(os.getloadavg()[0], 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def stamped(name: str, arguments: Sequence[str], figures: Mapping[str, Any]) -> Figures:
    """A result with where it comes from."""
    return {
        "bench": name,
        "command": shlex.join(["evenfill", "bench", name, *arguments]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        **figures,
    }


def show(
    result: Mapping[str, Any],
    as_json: bool,
    rows: Sequence[Mapping[str, Any]],
    lines: Sequence[str] = (),
) -> None:
    """Print a result: one JSON object, or a table, each of `rows` along its shorter side."""
    if as_json:
        print(json.dumps(result))
        return
    console = Console(soft_wrap=True, highlight=False)
    names = list(rows[0])
    upright = len(rows) > len(names)
    table = Table(*names) if upright else Table(show_header=False)
    if upright:
        for row in rows:
            table.add_row(*(_cell(value) for value in row.values()))
    else:
        for name in names:
            table.add_row(name.replace("_", " "), *(_cell(row[name]) for row in rows))
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)
    on = result["machine"]
    where = f"{result['date']}, {on['cores']} cores of {on['cpu']}, load {on['load']}"
    for line in (*lines, f"{result['command']}; {where}"):
        console.print(line, markup=False)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
