"""The run config: how to run. What to make is in the topic specs.

A config comes from a YAML file, from `--set key=value` options, or from both; every
section refuses unknown keys, and every mistake names the file and the key.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from synth.credentials import refuse_credentials
from synth.errors import ConfigError
from synth.gates.registry import DEFAULT_CHOICES, GateChoice, gate_versions
from synth.models import BUILTIN
from synth.validation import explain, read_yaml

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Section(BaseModel):
    """Base of every config section: frozen, and no key that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _seconds(value: Any) -> Any:
    """Read `90`, `90s`, `15m`, `12h` or `2d` as seconds."""
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if not match:
            raise ValueError("a duration is a number of seconds, or one such as 90s, 15m, 12h, 2d")
        return float(match[1]) * _SECONDS[match[2]]
    return value


Duration = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]


class Targets(Section):
    """How many accepted records each topic must hold."""

    policy: Literal["weight", "uniform", "like", "explicit"] = Field(
        "weight", description="how the total is shared out; like: as dataset.like is"
    )
    total: int | None = Field(1217, ge=1, description="records over all topics")
    topics: dict[str, Annotated[int, Field(ge=0)]] = Field(
        default_factory=dict, description="exact targets of single topics; the rest is shared out"
    )
    facets: dict[str, str] = Field(
        default_factory=dict, description="values that every record is to have, such as voice"
    )

    @model_validator(mode="before")
    @classmethod
    def _explicit_needs_no_total(cls, value: Any) -> Any:
        explicit = isinstance(value, dict) and value.get("policy") == "explicit"
        return {"total": None} | value if explicit else value

    @model_validator(mode="after")
    def _explicit_names_topics(self) -> Targets:
        if self.policy == "explicit" and not self.topics:
            raise ValueError("policy 'explicit' asks for targets.topics, such as {anxiety: 10}")
        named = sum(self.topics.values())
        if self.policy == "explicit" and self.total not in (None, named):
            raise ValueError(f"total is {self.total}, but the explicit topics sum to {named}")
        return self


class DatasetConfig(Section):
    """A dataset that exists, whose gaps are to be filled with records unlike its rows."""

    location: str = Field(min_length=1, description="file, folder or hub id")
    form: str | None = Field(None, description="how its records are read, if they do not tell")
    columns: dict[str, str] = Field(
        default_factory=dict, description="which columns are question, answer and topic"
    )
    on_bad: Literal["stop", "skip"] = Field("stop", description="what to do with a malformed row")
    train: str | None = Field(
        None, min_length=1, description="labelled rows for the topic labeller to learn"
    )
    trust_labels: bool = Field(False, description="count its own topic labels instead of ours")
    counted: bool = Field(
        True, description="whether its rows count towards the targets; else those are new records"
    )
    examples: int = Field(
        0, ge=0, le=8, description="rows that a prompt shows, to be written like; never copied"
    )
    like: str | None = Field(
        None, min_length=1, description="dataset whose rows are shown instead of its own"
    )


class ModelConfig(Section):
    """The language model: `builtin`, a Hugging Face id, a folder, or its URL in an object store."""

    name: str = Field(BUILTIN, min_length=1)
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    max_model_len: int = Field(2048, ge=256, description="tokens of prompt and text together")


class EmbedderConfig(Section):
    """The sentence-transformers model whose vectors decide what is a duplicate; named alike."""

    name: str = Field(BUILTIN, min_length=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"


class EngineConfig(Section):
    """vLLM, and how many of it."""

    replicas: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    max_replicas: int | None = Field(
        None, ge=1, description="most that auto starts; an autoscaler is asked for as many"
    )
    device: Literal["auto", "gpu"] = Field(
        "auto", description="gpu: wait for GPUs even where only CPUs are there yet"
    )
    tensor_parallel: int = Field(1, ge=1, description="GPUs that one replica spans")
    gpu_share: float = Field(
        1.0, gt=0, le=1, description="part of a GPU that is a replica's; below 1 several share it"
    )
    max_num_seqs: int = Field(64, ge=1, description="sequences that one replica decodes at once")
    max_num_batched_tokens: int = Field(2048, ge=256, description="tokens of one engine step")
    structured_output: Literal["xgrammar", "outlines", "guidance"] = "xgrammar"
    gpu_memory_utilization: float = Field(
        0.9, gt=0, le=1, description="of its GPUs, or of its share of one"
    )
    cpu_kv_cache_gib: int = Field(2, ge=1, description="key-value cache of a replica on a CPU")
    enforce_eager: bool = Field(False, description="no CUDA graphs; a CPU is always eager")
    start_timeout: Duration = Field(1800.0, description="until a replica must be up")
    stall_timeout: Duration = Field(
        900.0, description="an engine with work that ends no text for so long is restarted"
    )
    max_restarts: int = Field(3, ge=0, description="deaths in a row after which it is retired")
    metrics: bool = Field(False, description="each engine's own metrics, exported by Ray")

    @model_validator(mode="after")
    def _counts_agree(self) -> EngineConfig:
        if self.max_replicas is not None and self.replicas != "auto":
            raise ValueError("max_replicas bounds replicas: auto, but replicas is a number")
        if self.gpu_share < 1 and self.tensor_parallel > 1:
            raise ValueError("gpu_share is below 1, but tensor_parallel asks for several GPUs")
        return self

    @property
    def gpus_per_replica(self) -> float:
        """GPUs of one replica, where it runs on GPUs."""
        return self.tensor_parallel * self.gpu_share


class SamplingConfig(Section):
    """Sampling of both stages. `top_p` costs 40 % of the speed on a CPU; prefer `min_p`."""

    temperature: float = Field(0.7, ge=0, le=2)
    min_p: float = Field(0.05, ge=0, le=1)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0, description="0 keeps all")
    presence_penalty: float = Field(0.3, ge=-2, le=2)
    frequency_penalty: float = Field(0.3, ge=-2, le=2)
    repetition_penalty: float = Field(1.0, gt=0, le=2)


class RecordConfig(Section):
    """The bounds of a record's texts, in words."""

    min_words: int = Field(40, ge=1)
    max_question_words: int = Field(110, ge=2)
    max_answer_words: int = Field(170, ge=2)
    facets: int = Field(
        3, ge=0, description="facets that a prompt fixes; the situation is one more"
    )

    @model_validator(mode="after")
    def _room_between_bounds(self) -> RecordConfig:
        for name in ("max_question_words", "max_answer_words"):
            if getattr(self, name) < 1.5 * self.min_words:
                raise ValueError(
                    f"{name} is {getattr(self, name)}, but must be at least 1.5 times min_words "
                    f"({self.min_words})"
                )
        return self


class DedupConfig(Section):
    """At or above this cosine similarity of their questions, two records are duplicates."""

    threshold: float = Field(0.85, gt=0, le=1)


class TopicGateConfig(Section):
    """When a question counts as being about its topic; scores are cosine similarities."""

    margin: float = Field(0.05, ge=0, le=1, description="may trail the best topic by this much")
    min_score: float = Field(0.3, ge=-1, le=1, description="below it a text is about no topic")
    refile_margin: float = Field(0.1, ge=0, le=2, description="behind by this much: file it there")
    refile_min_score: float = Field(0.4, ge=-1, le=1, description="if it scores this much there")


# The judge's metrics, in the order in which it scores them.
METRICS = (
    "active_listening",
    "empathy_validation",
    "safety_trustworthiness",
    "open_mindedness",
    "clarity_encouragement",
    "boundaries_ethics",
    "holistic_approach",
)
Score = Annotated[float, Field(ge=1, le=10)]


class JudgeSeat(Section):
    """One judge: the writing replicas' own model, or another one on replicas of its own."""

    name: str = Field("own", min_length=1)
    model: ModelConfig | None = Field(None, description="without it the replicas judge themselves")
    replicas: int = Field(1, ge=1, description="engines of a model of its own")


class JudgeConfig(Section):
    """Scores for accepted pairs, and when they are too low."""

    judges: tuple[JudgeSeat, ...] = Field((JudgeSeat(),), min_length=1)
    mean: Score | None = Field(None, description="least mean over all judges and metrics")
    floors: dict[Literal[METRICS], Score] = Field(  # type: ignore[valid-type]
        default_factory=dict, description="least score of a metric, by every judge"
    )
    rationale_chars: int = Field(100, ge=40, le=400, description="length of a rationale at most")

    @model_validator(mode="after")
    def _seats_are_told_apart(self) -> JudgeConfig:
        names = [seat.name for seat in self.judges]
        if len(set(names)) < len(names):
            raise ValueError("two judges have the same name; give each its own")
        if sum(seat.model is None for seat in self.judges) > 1:
            raise ValueError("two judges without a model are the same judge; give one a model")
        return self


class BudgetConfig(Section):
    """When to stop trying."""

    attempts_per_record: int = Field(40, ge=1, description="questions judged per record of target")
    answer_attempts: int = Field(3, ge=1, description="answers written for one question")
    wall_time: Duration | None = Field(None, description="of all starts of the run together")


class LeaseConfig(Section):
    """What replicas hold at a time."""

    slots: int = Field(32, ge=1, description="slots handed over at once")
    timeout: Duration = Field(300.0, description="a replica silent for so long loses its leases")


class StoreConfig(Section):
    """Group commit: a segment is written when either bound is reached."""

    commit_seconds: float = Field(2.0, gt=0)
    commit_records: int = Field(512, ge=1)
    compact_segments: int = Field(64, ge=2, description="commits that are merged into one file")
    retry: Duration = Field(60.0, description="how long a failing write is tried again")


class RunConfig(Section):
    """A whole run."""

    seed: int = Field(7, ge=0, lt=2**31)
    topics: str = Field("topic_specs", min_length=1, description="folder of topic specs")
    dataset: DatasetConfig | None = None
    targets: Targets = Targets()
    model: ModelConfig = ModelConfig()
    embedder: EmbedderConfig = EmbedderConfig()
    engine: EngineConfig = EngineConfig()
    sampling: SamplingConfig = SamplingConfig()
    record: RecordConfig = RecordConfig()
    dedup: DedupConfig = DedupConfig()
    topic_gate: TopicGateConfig = TopicGateConfig()
    gates: tuple[GateChoice, ...] = DEFAULT_CHOICES
    judge: JudgeConfig | None = None
    budget: BudgetConfig = BudgetConfig()
    lease: LeaseConfig = LeaseConfig()
    store: StoreConfig = StoreConfig()
    out: str = Field("runs/first", min_length=1)

    @model_validator(mode="after")
    def _like_names_rows(self) -> RunConfig:
        if self.targets.policy == "like" and not (self.dataset and self.dataset.like):
            raise ValueError("targets.policy is 'like', but dataset.like is not given")
        return self

    @property
    def own_judges(self) -> tuple[JudgeSeat, ...]:
        """The judges that have a model of their own, and so engines of their own."""
        seats = self.judge.judges if self.judge else ()
        return tuple(seat for seat in seats if seat.model)

    @property
    def judge_engines(self) -> int:
        """How many engines judge and do not write."""
        return sum(seat.replicas for seat in self.own_judges)


# Keys that change how a run runs but not what it makes: free to differ on resume.
HOW_ONLY = ("engine", "budget", "lease", "store", "out", "topics")


def content_of(config: RunConfig) -> dict[str, Any]:
    """The part of a config that decides what the dataset will be."""
    content = config.model_dump(mode="json", exclude=set(HOW_ONLY))
    if config.judge:
        content["judge"]["judges"] = [
            seat.model_dump(mode="json", exclude={"replicas"}) for seat in config.judge.judges
        ]
    if config.dataset:  # what it holds, and under which topics, is in the plan's digest
        content["dataset"] = {
            "examples": config.dataset.examples,
            "counted": config.dataset.counted,
        }
    content["gate_versions"] = gate_versions(config.gates)
    content["structured_output"] = config.engine.structured_output
    return content


def fingerprint(config: RunConfig, specs_digest: str) -> str:
    """16 hex digits that change when the dataset would."""
    text = json.dumps([content_of(config), specs_digest], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """`key: old -> new` for every leaf that differs, in order."""
    lines: list[str] = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            lines.append(f"{prefix}{key}: {before!r} -> {after!r}")
    return lines


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run config and apply `key=value` overrides, such as `targets.policy=uniform`.

    Raises:
        ConfigError: names the file or option, the key, what was found and what would be right.
    """
    data: dict[str, Any] = {}
    where = "the run config"
    if path is not None:
        where = str(path)
        data = read_yaml(path, ConfigError)
    for option in overrides:
        _apply(data, option)
    return checked(RunConfig, data, where if path else "the options")


Checked = TypeVar("Checked", bound=Section)


def checked(model: type[Checked], data: Mapping[str, Any], where: str) -> Checked:
    """A section of a config, made from `data`.

    Raises:
        ConfigError: names `where`, the key, what was found and what would be right. A secret in
            plain text is a mistake, too, and is not shown.
    """
    refuse_credentials(where, data)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigError(where, *explain(error, model)) from error


def _apply(data: dict[str, Any], option: str) -> None:
    key, sign, text = option.partition("=")
    if not sign or not key.strip():
        raise ConfigError(
            f"--set {option}", "no key=value", "Write for instance --set targets.policy=uniform"
        )
    node = data
    *parents, leaf = key.strip().split(".")
    refuse_credentials("--set", {key.strip(): text})
    for name in parents:
        node = node.setdefault(name, {})
        if not isinstance(node, dict):
            raise ConfigError(f"--set {option}", f"{name!r} is not a section", "Check the key")
    try:
        node[leaf] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {option}", f"{text!r} is not YAML", "Quote the value") from error
