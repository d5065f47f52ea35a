"""What is in `cluster/`: valid by its schema, true to this repository, and without a secret."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import typer
import yaml
from pydantic import ValidationError
from ray.autoscaler._private.util import prepare_config
from ray.scripts.scripts import start as ray_start

from actors.driver import CLOSE_S, DRAIN_S
from synth.cli import app
from synth.cli.common import overrides
from synth.config import RunConfig, load_config
from tests.cluster.kuberay import RayCluster, RayClusterSpec, RayJob
from tests.conftest import REPO

FOLDER = REPO / "cluster"
FILES = sorted(path for path in FOLDER.iterdir() if path.is_file())
RAY = Path(ray.__file__).parent
VERBS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def text_of(name: str) -> str:
    return (FOLDER / name).read_text()


def rayjob() -> RayJob:
    return RayJob.model_validate(yaml.safe_load(text_of("rayjob.yaml")))


def ray_up() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text_of("ray-up.yaml"))
    return found


def config_of(command: str) -> RunConfig:
    """What `evenfill run ...` would run, by the command's own parser and the config's schema."""
    program, verb, *options = shlex.split(command)
    assert program == "evenfill"
    given = VERBS[verb].make_context(verb, options).params
    return load_config(None, overrides(given["options"], given["total"], given["folder"]))


def options_of_ray_start(text: str) -> set[str]:
    return set(re.findall(r"--([a-z][a-z-]*)", text))


KNOWN_TO_RAY_START = {
    name.removeprefix("--") for option in ray_start.params for name in option.opts
}


# KubeRay


def test_the_lasting_cluster_is_the_one_that_a_job_makes_for_itself() -> None:
    cluster = RayCluster.model_validate(yaml.safe_load(text_of("raycluster.yaml")))
    assert cluster.spec == rayjob().spec.rayClusterSpec


@pytest.mark.parametrize(
    ("found", "instead"),
    [
        ('{num-cpus: "0"}', "{num-cpus: 0}"),
        ("minReplicas: 1\n", "minReplicas: 9\n"),
        ("minReplicas: 1\n", "minReplica: 1\n"),
        ("backoffLimit: 5", 'backoffLimit: "5"'),
        ("shutdownAfterJobFinishes: true", "shutdownAfterJobFinishes: false"),
        ("nvidia.com/gpu:", "nvidia.com/gpus:"),
        ("mode: token", "mode: disabled"),
    ],
)
def test_the_schema_refuses_a_manifest_with_a_mistake(found: str, instead: str) -> None:
    text = text_of("rayjob.yaml")
    assert found in text
    with pytest.raises(ValidationError):
        RayJob.model_validate(yaml.safe_load(text.replace(found, instead)))


@pytest.fixture
def spec() -> RayClusterSpec:
    return rayjob().spec.rayClusterSpec


def test_only_the_gpu_group_asks_for_gpus_and_the_head_runs_no_replica(
    spec: RayClusterSpec,
) -> None:
    assert spec.headGroupSpec.rayStartParams == {"num-cpus": "0"}
    head, gpu, cpu = (container.resources.limits.gpu for container in spec.containers)
    assert list(spec.groups) == ["gpu", "cpu"]
    assert gpu is not None
    assert head is cpu is None


def test_a_run_finds_a_gpu_when_it_starts(spec: RayClusterSpec) -> None:
    assert spec.groups["gpu"].minReplicas > 0


def test_start_parameters_are_options_of_ray_start(spec: RayClusterSpec) -> None:
    groups = [spec.headGroupSpec, *spec.workerGroupSpecs]
    used = {name for group in groups for name in group.rayStartParams}
    assert used <= KNOWN_TO_RAY_START


def test_the_ray_version_is_the_locked_one_and_takes_tokens(spec: RayClusterSpec) -> None:
    lock = (REPO / "requirements" / "cpu.lock").read_text().split()
    assert f"ray=={spec.rayVersion}" in lock
    assert tuple(map(int, spec.rayVersion.split("."))) >= (2, 52, 0)


def test_a_failed_job_resumes_its_run_in_a_new_cluster() -> None:
    job = rayjob().spec
    assert job.backoffLimit > 0
    assert config_of(job.entrypoint.partition(" || ")[0]).out.startswith("s3://")


def test_the_job_stops_itself_by_its_own_name() -> None:
    assert f"ray job stop {rayjob().spec.jobId};" in rayjob().spec.entrypoint


# Machines of a cloud


def test_the_cluster_launcher_takes_its_file() -> None:
    schema = json.loads((RAY / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(ray_up(), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(ray_up() | {"min_workers": 1}, schema)


def test_the_launcher_s_head_listens_on_loopback_and_runs_no_replica() -> None:
    full = prepare_config(ray_up())
    *_, start = full["head_start_ray_commands"]
    assert "--dashboard-host=127.0.0.1" in start
    assert options_of_ray_start(start) <= KNOWN_TO_RAY_START
    assert full["available_node_types"][full["head_node_type"]]["resources"] == {"CPU": 0}
    assert full["setup_commands"] == full["head_setup_commands"] == []


# The images


def built() -> dict[str, str]:
    """Tag -> build argument, of the commands in the container file's comments."""
    found = re.findall(r"^# docker build .*-t (\S+)(?: --build-arg (\S+))?", containerfile(), re.M)
    return dict(found)


def containerfile() -> str:
    return text_of("Containerfile")


def test_every_image_that_is_named_is_built(spec: RayClusterSpec) -> None:
    launcher = ray_up()
    workers = [
        node["docker"]["worker_image"]
        for node in launcher["available_node_types"].values()
        if "docker" in node
    ]
    named = [c.image for c in spec.containers] + [launcher["docker"]["image"], *workers]
    assert {image.rpartition("/")[2] for image in named} == set(built())


def test_a_group_has_the_image_of_its_devices(spec: RayClusterSpec) -> None:
    for container in spec.containers:
        assert bool(built()[container.image]) == (container.resources.limits.gpu is not None)


def test_the_container_file_copies_all_that_is_installed() -> None:
    copied = {
        source
        for line in re.findall(r"^COPY (.*) \S+$", containerfile(), re.M)
        for source in line.split()
    }
    assert all((REPO / source).exists() for source in copied)
    packages = re.search(r"^packages = (\[.*\])$", (REPO / "pyproject.toml").read_text(), re.M)
    assert packages
    assert {name.partition(".")[0] for name in json.loads(packages[1])} <= copied
    assert {"pyproject.toml", "README.md", "requirements"} <= copied


def test_the_container_s_command_is_installed() -> None:
    command = re.search(r"^CMD (\[.*\])$", containerfile(), re.M)
    assert command
    scripts = (REPO / "pyproject.toml").read_text().partition("[project.scripts]")[2]
    assert f"\n{json.loads(command[1])[0]} = " in scripts


# What all files share


def test_every_evenfill_command_in_the_folder_is_one_that_parses() -> None:
    commands = re.findall(r"^evenfill ((?:.*\\\n)*.*)", text_of("README.md"), re.M)
    assert commands
    for command in commands:
        verb, *options = shlex.split(command.replace("\\\n", " "), comments=True)
        VERBS[verb].make_context(verb, options)


def test_every_variable_that_is_set_is_one_that_ray_reads(spec: RayClusterSpec) -> None:
    sources = [RAY / "dashboard/modules/job/job_supervisor.py", RAY / "exceptions.py"]
    sources += (RAY / "_private/authentication").glob("*.py")
    read = "\n".join(path.read_text() for path in sources)
    used = {name for path in FILES for name in re.findall(r"\bRAY_[A-Z_]+\b", path.read_text())}
    used |= {variable.name for container in spec.containers for variable in container.env}
    assert "RAY_JOB_STOP_WAIT_TIME_S" in used
    assert {name for name in used if name not in read} == set()


def test_a_run_that_is_stopped_has_the_time_to_book_what_is_in_flight(
    spec: RayClusterSpec,
) -> None:
    waits = [v.value for c in spec.containers for v in c.env]
    waits += re.findall(r"--signal=B:USR1@(\d+)", text_of("slurm.sh"))
    assert len(waits) == 2
    assert min(map(int, waits)) > DRAIN_S + CLOSE_S


_SECRET_NAME = r"[\w-]*(?:secret|token|password|credential|api_?key|access_?key)[\w-]*"
_SECRETS = [
    # name: value and name=value, unless the value is a reference, a path or a section
    re.compile(rf"(?i)\b{_SECRET_NAME}[\"']?\s*[:=]\s*[\"']?(?![$<{{\[~/])[^\s\"'}},]{{6,}}"),
    re.compile(rf"(?i)\bname: *[\"']?{_SECRET_NAME}[\"']?,?\s+(?:- )?value: *\S"),
    re.compile(r"(?i)^kind: *Secret\b", re.M),
    re.compile(r"://[^/\s:]+:[^/\s@]+@"),
    re.compile(r"-----BEGIN|\bAKIA[0-9A-Z]{16}\b|\bhf_\w{20,}|\b[0-9a-f]{32,}\b"),
]


def secrets_in(text: str) -> list[str]:
    return [found[0] for pattern in _SECRETS for found in pattern.finditer(text)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_holds_a_secret(path: Path) -> None:
    assert secrets_in(path.read_text()) == []


@pytest.mark.parametrize(
    "planted",
    [
        "env: [{name: AWS_SECRET_ACCESS_KEY, value: abc}]",
        "- name: HF_TOKEN\n  value: abc",
        "export RAY_AUTH_TOKEN=letmein",
        "AWS_SECRET_ACCESS_KEY: wJalrXUtnFEMI",
        'redis-password: "letmein"',
        "kind: Secret",
        "--out https://user:letmein@store/bucket",
        "AKIAABCDEFGHIJKLMNOP",
        "hf_abcdefghijklmnopqrstuvwx",
        "0123456789abcdef0123456789abcdef",
    ],
)
def test_a_planted_secret_is_found(planted: str) -> None:
    for path in FILES:
        assert secrets_in(f"{path.read_text()}\n{planted}\n")
