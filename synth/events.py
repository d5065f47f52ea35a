"""What happened when in a run: the events, each of a type of its own.

An event holds figures and names, never a text of a record or a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from synth.report import Snapshot, Status

_LONGEST_CAUSE = 300  # characters; an exception may say a lot


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_CAUSE else text[: _LONGEST_CAUSE - 3] + "..."


Cause = Annotated[str, AfterValidator(_shortened)]
Seconds = Annotated[float, AfterValidator(lambda value: round(value, 3))]


class Event(BaseModel):
    """Base of all events; `time` is UTC."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    time: datetime = Field(default_factory=lambda: datetime.now(UTC))
    event: str


class RunOpened(Event):
    """A start of the run has taken the folder; `accepted` is what it found there."""

    event: Literal["run_started", "run_resumed", "coordinator_restarted"]
    run: str
    epoch: int
    accepted: int
    target: int
    fingerprint: str
    versions: dict[str, str]


class ReplicaUp(Event):
    """A replica's engine is ready, `seconds` after its actor was asked for."""

    event: Literal["replica_up"] = "replica_up"
    replica: str
    node: str
    seconds: Seconds


class ReplicaDied(Event):
    """A replica is gone, for the `deaths`th time in a row."""

    event: Literal["replica_died"] = "replica_died"
    replica: str
    cause: Cause
    deaths: int


class ReplicaRetired(Event):
    """A replica died too often in a row to be started again."""

    event: Literal["replica_retired"] = "replica_retired"
    replica: str
    deaths: int


class ReplicaDraining(Event):
    """A replica hands back its work, since its node is about to leave the cluster."""

    event: Literal["replica_draining"] = "replica_draining"
    replica: str
    node: str


class ReplicaWaiting(Event):
    """A replica cannot start again before the cluster has a node for it."""

    event: Literal["replica_waiting"] = "replica_waiting"
    replica: str


class TopicFull(Event):
    """A topic holds its target."""

    event: Literal["topic_full"] = "topic_full"
    topic: str
    accepted: int


class TopicSaturated(Event):
    """A topic has spent its attempts and is short of its target."""

    event: Literal["topic_saturated"] = "topic_saturated"
    topic: str
    accepted: int
    target: int


class TopicEscalated(Event):
    """Duplicates made a topic's prompts push further away than before in this start."""

    event: Literal["topic_escalated"] = "topic_escalated"
    topic: str
    level: int


class Committed(Event):
    """Rows became durable."""

    event: Literal["committed"] = "committed"
    accepted: int
    rejected: int
    seconds: Seconds


class Compacted(Event):
    """Small segments were merged into larger ones."""

    event: Literal["compacted"] = "compacted"
    segments: int
    seconds: Seconds


class StoreFailing(Event):
    """The store did not take a write, which is tried again."""

    event: Literal["store_failing"] = "store_failing"
    error: Cause


class StoreRecovered(Event):
    """The store took what it had refused, `seconds` after the first attempt."""

    event: Literal["store_recovered"] = "store_recovered"
    seconds: Seconds


class RunStopping(Event):
    """No more leases: the run was interrupted, is out of budget, or has failed."""

    event: Literal["run_stopping"] = "run_stopping"
    status: Status
    reason: str


class RunEnded(Event):
    """The last event of a start that was not killed."""

    event: Literal["run_ended"] = "run_ended"
    status: Status
    reason: str
    accepted: int
    target: int
    generate_s: Seconds


AnyEvent = (
    RunOpened
    | ReplicaUp
    | ReplicaDied
    | ReplicaRetired
    | ReplicaDraining
    | ReplicaWaiting
    | TopicFull
    | TopicSaturated
    | TopicEscalated
    | Committed
    | Compacted
    | StoreFailing
    | StoreRecovered
    | RunStopping
    | RunEnded
)
_ANY: TypeAdapter[AnyEvent] = TypeAdapter(Annotated[AnyEvent, Field(discriminator="event")])


def parse_event(line: str | bytes) -> AnyEvent | None:
    """The event of a line; None when it is torn, or of a kind that is not known here."""
    try:
        return _ANY.validate_json(line)
    except ValidationError:
        return None


@dataclass(frozen=True)
class FleetNews:
    """What the driver tells the coordinator of the replicas.

    Attributes:
        states: state -> replicas in it, every state among them.
        events: what happened since it was told last.
    """

    states: Mapping[str, int]
    events: tuple[AnyEvent, ...] = ()


@dataclass
class TopicWatch:
    """Sees by comparing what has become of the topics.

    Attributes:
        states: the state of each topic when it was seen last.
        levels: the highest escalation of each topic so far.
    """

    states: dict[str, str] = field(default_factory=dict)
    levels: dict[str, int] = field(default_factory=dict)

    def news(self, snapshot: Snapshot) -> list[AnyEvent]:
        """What happened to the topics since the last call; to the first one nothing has."""
        first = not self.states
        found: list[AnyEvent] = []
        for view in snapshot.topics:
            before = self.states.get(view.name)
            self.states[view.name] = view.state
            if not first and view.state != before:
                if view.state == "full":
                    found.append(TopicFull(topic=view.name, accepted=view.accepted))
                elif view.state == "saturated":
                    found.append(
                        TopicSaturated(topic=view.name, accepted=view.accepted, target=view.target)
                    )
            if view.escalation > self.levels.get(view.name, 0):
                self.levels[view.name] = view.escalation
                found.append(TopicEscalated(topic=view.name, level=view.escalation))
        return found
