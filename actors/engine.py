"""One vLLM engine: chat messages in, schema-constrained text out, many at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from actors.forms import Form
from synth.config import RunConfig
from synth.errors import ConfigError, ModelError
from synth.models import BUILTIN, resolve_model
from synth.prompts import Message
from synth.protocol import Tokens

ABORTED = "abort"
_SYSTEM_CHAT = ({"role": "system", "content": "a"}, {"role": "user", "content": "b"})
_CPU_BLOCK = 32  # tokens; a CPU's default of 128 leaves most of a prompt's prefix uncached
_ONE_PROCESS = "vllm.v1.executor.uniproc_executor.UniProcExecutor"


@dataclass(frozen=True, slots=True)
class Generation:
    """What an engine wrote for one request.

    Attributes:
        raw: the text as generated, JSON unless it was cut.
        finish_reason: `stop`, `length`, or `abort` with what there was by then.
        cached_prompt: prompt tokens that the engine had in its prefix cache.
    """

    raw: str
    finish_reason: str | None
    tokens: Tokens
    cached_prompt: int = 0


class Engine(Protocol):
    """What a replica needs of an engine; tests and benchmarks bring a scripted one."""

    async def generate(
        self,
        request_id: str,
        form: str,
        messages: Sequence[Message],
        seed: int,
        warmth: float,
    ) -> Generation:
        """Write one text of the form of that name."""
        ...

    async def abort(self, request_ids: Iterable[str]) -> None:
        """End requests early; their `generate` returns with `abort`."""
        ...

    def close(self) -> None:
        """Stop the engine and everything it started."""
        ...


EngineFactory = Callable[[RunConfig, bool, Mapping[str, Form]], Engine]


def engine_environment(cores: Sequence[int] | None, config: RunConfig) -> dict[str, str]:
    """Environment of a replica's process, set before vLLM is imported.

    Args:
        cores: the CPU cores that this replica has for itself, or None on a GPU.
    """
    variables = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "TOKENIZERS_PARALLELISM": "false"}
    # An engine's processes are all on one node: what they listen on is for that node only.
    variables |= {
        "VLLM_HOST_IP": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
    }
    if config.model.name == BUILTIN:
        variables["HF_HUB_OFFLINE"] = "1"
    if config.engine.structured_output == "outlines":
        # vLLM gives a pattern 5 s to compile, against hostile ones; our bounds need longer.
        variables["VLLM_REGEX_COMPILATION_TIMEOUT_S"] = "600"
    if cores is not None:
        variables["VLLM_CPU_KVCACHE_SPACE"] = str(config.engine.cpu_kv_cache_gib)
        variables["OMP_NUM_THREADS"] = str(len(cores))
        variables["OMP_PLACES"] = "{" + ",".join(map(str, cores)) + "}"
        variables["OMP_PROC_BIND"] = "true"
    return variables


def engine_arguments(config: RunConfig, model: str, on_gpu: bool) -> dict[str, Any]:
    """Keyword arguments of vLLM's engine, the same for a run and for a benchmark's baseline."""
    engine = config.engine
    structured: dict[str, Any] = {"backend": engine.structured_output}
    if engine.structured_output in ("xgrammar", "guidance"):
        structured["disable_any_whitespace"] = True
    arguments: dict[str, Any] = {
        "model": model,
        "dtype": config.model.dtype,
        "max_model_len": config.model.max_model_len,
        "max_num_seqs": engine.max_num_seqs,
        "max_num_batched_tokens": engine.max_num_batched_tokens,
        "structured_outputs_config": structured,
        "seed": config.seed,
        "disable_log_stats": True,
    }
    if on_gpu:
        arguments |= {
            "tensor_parallel_size": engine.tensor_parallel,
            "gpu_memory_utilization": engine.gpu_memory_utilization * engine.gpu_share,
            "enforce_eager": engine.enforce_eager,
        }
        if engine.tensor_parallel > 1:
            arguments["distributed_executor_backend"] = "mp"
    else:
        arguments |= {
            "dtype": "bfloat16" if config.model.dtype == "auto" else config.model.dtype,
            "enforce_eager": True,
            # The model runs in the engine core's own process: another one would spend a third of
            # the engine's start on importing vLLM again. vLLM makes it another one, for OpenMP's
            # sake, but not when the class is named; `engine_environment` sets OpenMP up.
            "distributed_executor_backend": _ONE_PROCESS,
            "block_size": _CPU_BLOCK,
            # A seeded request whose prefill is split crashes vLLM on a CPU (its generator
            # cannot be rewound), so a prompt is read in one step.
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(
                engine.max_num_batched_tokens, config.model.max_model_len
            ),
        }
    return arguments


def sampling_arguments(form: Form, seed: int, warmth: float) -> dict[str, Any]:
    """Keyword arguments of vLLM's `SamplingParams`, but for the output constraint."""
    temperature = min(2.0, form.sampling["temperature"] + warmth)
    return {**form.sampling, "temperature": temperature, "seed": seed}


def _stat_loggers(config: RunConfig) -> list[Any] | None:
    """What vLLM reports each step to, although `disable_log_stats` keeps its own loggers off."""
    if not config.engine.metrics:
        return None
    from vllm.v1.metrics import ray_wrappers

    if ray_wrappers.ray_metrics is None:
        raise ConfigError(
            "engine.metrics",
            "is true, but vLLM's exporter needs Ray Serve, which is not installed",
            "Install it with `pip install 'ray[serve]'`, or leave the key out",
        )
    return [ray_wrappers.RayPrometheusStatLogger]


class VllmEngine:
    """An `AsyncLLM` with continuous batching; requests are tokenised off its event loop.

    Args:
        config: the run config, with the model that this engine is to load.
        on_gpu: whether it has GPUs.
        forms: what it will be asked to write, by name.

    Raises:
        ModelError: the model cannot be loaded, or does not suit the forms.
        ConfigError: its metrics are wanted, and cannot be had.
    """

    def __init__(self, config: RunConfig, on_gpu: bool, forms: Mapping[str, Form]):
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.sampling_params import StructuredOutputsParams
        from vllm.v1.engine.async_llm import AsyncLLM

        self._max_model_len = config.model.max_model_len
        self._forms = forms
        model = resolve_model(config.model.name)
        try:
            arguments = AsyncEngineArgs(
                **engine_arguments(config, model, on_gpu), enable_log_requests=False
            )
            self._engine = AsyncLLM.from_engine_args(arguments, stat_loggers=_stat_loggers(config))
        except (ValueError, OSError) as error:
            raise ModelError(
                "model", f"vLLM cannot load {config.model.name!r} ({error})", "See its log"
            ) from error
        self._tokenizer = self._engine.get_tokenizer()
        self._fold_system = not self._renders(_SYSTEM_CHAT)
        if self._fold_system and not self._renders(_SYSTEM_CHAT[1:]):
            raise ModelError(
                "model.name",
                f"{config.model.name!r} has no usable chat template",
                "Name a model that was tuned for chat",
            )
        self._check_lengths()
        self._tokenising = ThreadPoolExecutor(1, thread_name_prefix="tokenise")
        self._constraint = {
            name: StructuredOutputsParams(json=dict(form.schema)) for name, form in forms.items()
        }

    def _renders(self, chat: Sequence[Message]) -> bool:
        try:
            self._tokenizer.apply_chat_template(list(chat), tokenize=False)
        except Exception:  # a template may raise whatever it likes
            return False
        return True

    def _check_lengths(self) -> None:
        """A prompt, and a text as long as it may be, must fit the model together."""
        for name, form in self._forms.items():
            needed = len(self._tokenise(form.longest)) + form.sampling["max_tokens"]
            if needed > self._max_model_len:
                raise ModelError(
                    "model.max_model_len",
                    f"is {self._max_model_len}, but the prompt of a {name} and the longest one "
                    f"allowed take {needed} tokens",
                    f"Give at least {needed}, or lower {form.shorter}",
                )

    async def generate(
        self,
        request_id: str,
        form: str,
        messages: Sequence[Message],
        seed: int,
        warmth: float,
    ) -> Generation:
        """Write one text under its form's schema."""
        from vllm import SamplingParams
        from vllm.inputs import TokensPrompt
        from vllm.sampling_params import RequestOutputKind

        loop = asyncio.get_running_loop()
        token_ids = await loop.run_in_executor(self._tokenising, self._tokenise, messages)
        parameters = SamplingParams(
            **sampling_arguments(self._forms[form], seed, warmth),
            structured_outputs=self._constraint[form],
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        prompt = TokensPrompt(prompt_token_ids=token_ids)
        async for output in self._engine.generate(prompt, parameters, request_id):
            written = output.outputs[0]
            if written.finish_reason == "error":
                raise RuntimeError(
                    f"vLLM could not run request {request_id}; see the replica's log"
                )
            tokens = Tokens(len(token_ids), len(written.token_ids))
            cached = output.num_cached_tokens or 0
            return Generation(written.text, written.finish_reason, tokens, cached)
        return Generation("", ABORTED, Tokens(len(token_ids), 0))

    def _tokenise(self, messages: Sequence[Message]) -> list[int]:
        chat = list(messages)
        if self._fold_system:
            first, second, *rest = chat
            folded = {
                "role": second["role"],
                "content": f"{first['content']}\n\n{second['content']}",
            }
            chat = [folded, *rest]
        encoded = self._tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        return list(encoded)

    async def abort(self, request_ids: Iterable[str]) -> None:
        """End requests early; their `generate` returns what there was."""
        await self._engine.abort(list(request_ids))

    def close(self) -> None:
        """Stop the engine core and wait for it."""
        self._engine.shutdown()
        self._tokenising.shutdown(wait=False)
