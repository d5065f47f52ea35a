"""The fields of KubeRay's `ray.io/v1` resources that our manifests use, and no others.

After KubeRay's API reference (v1.6.2, v1.7.1), with the rules of its validation that
concern these fields. The definitions themselves are in no Python package.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Strict(BaseModel):
    """No field that is not named here, and no type that Kubernetes would not take."""

    model_config = ConfigDict(extra="forbid", strict=True)


Name = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=47)]
Quantity = Annotated[str, Field(pattern=r"^[1-9][0-9]*(m|Mi|Gi)?$")]


class Metadata(Strict):
    name: Name


class SecretRef(Strict):
    name: Name


class EnvFrom(Strict):
    secretRef: SecretRef


class EnvVar(Strict):
    name: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
    value: str


class Limits(Strict):
    cpu: Quantity
    memory: Quantity
    gpu: Quantity | None = Field(None, alias="nvidia.com/gpu")


class Resources(Strict):
    limits: Limits


class Container(Strict):
    name: Literal["ray-head", "ray-worker"]
    image: str
    resources: Resources
    envFrom: list[EnvFrom]
    env: list[EnvVar] = Field(default_factory=list)


class Toleration(Strict):
    key: str
    operator: Literal["Exists"]


class PodSpec(Strict):
    """Without a restart policy: autoscaler v2 allows none but Never, the default there."""

    containers: Annotated[list[Container], Field(min_length=1, max_length=1)]
    tolerations: list[Toleration] = Field(default_factory=list)

    @property
    def container(self) -> Container:
        return self.containers[0]


class Template(Strict):
    spec: PodSpec


class HeadGroup(Strict):
    rayStartParams: dict[str, str]
    template: Template


class WorkerGroup(Strict):
    groupName: Name
    minReplicas: Annotated[int, Field(ge=0)]
    maxReplicas: Annotated[int, Field(ge=0)]
    rayStartParams: dict[str, str]
    template: Template

    @model_validator(mode="after")
    def _in_order(self) -> WorkerGroup:
        if self.minReplicas > self.maxReplicas:
            raise ValueError("minReplicas is greater than maxReplicas")
        return self


class AuthOptions(Strict):
    mode: Literal["token"]


class AutoscalerOptions(Strict):
    version: Literal["v2"]
    idleTimeoutSeconds: Annotated[int, Field(ge=0)]


class RayClusterSpec(Strict):
    rayVersion: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    authOptions: AuthOptions
    enableInTreeAutoscaling: Literal[True]
    autoscalerOptions: AutoscalerOptions
    headGroupSpec: HeadGroup
    workerGroupSpecs: list[WorkerGroup]

    @property
    def groups(self) -> dict[str, WorkerGroup]:
        return {group.groupName: group for group in self.workerGroupSpecs}

    @property
    def containers(self) -> list[Container]:
        templates = [self.headGroupSpec.template, *(g.template for g in self.workerGroupSpecs)]
        return [template.spec.container for template in templates]


class RayCluster(Strict):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: RayClusterSpec


class RayJobSpec(Strict):
    submissionMode: Literal["K8sJobMode", "HTTPMode"]
    jobId: str
    entrypoint: str
    backoffLimit: Annotated[int, Field(ge=0)]
    shutdownAfterJobFinishes: bool
    ttlSecondsAfterFinished: Annotated[int, Field(ge=0)]
    rayClusterSpec: RayClusterSpec

    @model_validator(mode="after")
    def _nothing_to_wait_for(self) -> RayJobSpec:
        if self.ttlSecondsAfterFinished and not self.shutdownAfterJobFinishes:
            raise ValueError("ttlSecondsAfterFinished without shutdownAfterJobFinishes")
        return self


class RayJob(Strict):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: RayJobSpec
