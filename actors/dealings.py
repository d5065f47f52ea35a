"""A replica's dealings with the coordinator: what it holds, and the way back after a restart."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from actors.checker import Checked
from synth.protocol import (
    NO_EPOCH,
    AnswerBatch,
    CoordinatorPort,
    Holding,
    QuestionBatch,
    Reply,
    Ruling,
    Vectors,
)

_SETTLE_EVERY = 256  # refusals after which a replica should ask for a commit by itself


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A refused question that may not be durable yet; `vector` if the coordinator refused it."""

    number: int
    item: Checked
    vector: Vectors | None


class Dealings:
    """Calls to the coordinator that survive its restarts.

    Args:
        port: the coordinator.
        heard: called with every reply.
        rejoined: called after the coordinator was restarted, with the refused questions that have
            to be sent again; `held` then holds what is still open.

    Attributes:
        held: slot id -> what is in hand of it.
        committing: how many of these only wait to be durable.
    """

    def __init__(
        self,
        port: CoordinatorPort,
        heard: Callable[[Reply], None],
        rejoined: Callable[[Sequence[Unsettled]], None],
    ):
        self._port = port
        self._heard = heard
        self._rejoined = rejoined
        self.held: dict[str, Holding] = {}
        self.committing = 0
        self._unsettled: deque[Unsettled] = deque()
        self._refused = 0
        self._epoch = NO_EPOCH
        self._rejoining = asyncio.Lock()

    async def lease(self, want: int) -> Reply:
        """Ask for up to `want` slots, and hold them; 0 is a sign of life."""
        reply = await self._ask(lambda epoch: self._port.lease(epoch, want))
        if reply.lease:
            self.held.update((slot.id, Holding(slot)) for slot in reply.lease.slots)
        return reply

    async def reserve(self, batch: QuestionBatch) -> Reply:
        """Have questions judged."""
        return await self._ask(lambda epoch: self._port.reserve(epoch, batch))

    async def commit(self, batch: AnswerBatch, ended: Sequence[str]) -> None:
        """Have answers made durable, and let go of the slots that `ended` with them."""
        refused_before = self._refused
        self.committing += len(ended)
        try:
            await self._ask(lambda epoch: self._port.commit(epoch, batch))
        finally:
            self.committing -= len(ended)
        while self._unsettled and self._unsettled[0].number <= refused_before:
            self._unsettled.popleft()  # one commit makes all that came before it durable
        for slot_id in ended:
            self.held.pop(slot_id, None)

    def refused(self, item: Checked, vector: Vectors | None) -> bool:
        """Let go of a refused question; True when a commit is due to make refusals durable."""
        self.held.pop(item.work.slot.id, None)
        self._refused += 1
        self._unsettled.append(Unsettled(self._refused, item, vector))
        return self._refused % _SETTLE_EVERY == 0

    async def _ask(self, send: Callable[[int], Awaitable[Reply]]) -> Reply:
        """Make a call; if the coordinator was restarted meanwhile, rejoin it and call again."""
        while True:
            reply = await send(self._epoch)
            if not reply.rejoin:
                if self._epoch == NO_EPOCH:
                    self._epoch = reply.epoch
                self._heard(reply)
                return reply
            async with self._rejoining:
                if self._epoch != reply.epoch:
                    await self._rejoin()

    async def _rejoin(self) -> None:
        """Hand over what this replica holds, and send again what may not have been written."""
        unsettled, self._unsettled = self._unsettled, deque()
        holdings = list(self.held.values())
        holdings += [Holding(refused.item.work.slot) for refused in unsettled]
        reply = await self._port.rejoin(holdings)
        self._epoch = reply.epoch
        still_open = {v.slot_id for v in reply.verdicts if v.ruling is Ruling.RESERVED}
        for slot_id in [slot_id for slot_id in self.held if slot_id not in still_open]:
            del self.held[slot_id]
        self._rejoined([r for r in unsettled if r.item.work.slot.id in still_open])
