"""The judges of a replica: its own engine, or replicas with a model of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from actors.engine import ABORTED, Engine, Generation
from actors.forms import JUDGEMENT
from synth.judgement import Judgement
from synth.judging import VERSION, judge_messages, parse_scores


class Seat(Protocol):
    """One judge."""

    name: str
    model: str

    async def judge(self, request_id: str, question: str, answer: str) -> Generation:
        """Write one judgement; `abort` when it was ended early."""
        ...


class OwnSeat:
    """The engine that wrote the pair judges it, too."""

    def __init__(self, name: str, model: str, engine: Engine, seed: int):
        self.name, self.model = name, model
        self._engine = engine
        self._seed = seed

    async def judge(self, request_id: str, question: str, answer: str) -> Generation:
        messages = judge_messages(question, answer)
        return await self._engine.generate(request_id, JUDGEMENT, messages, self._seed, 0.0)


class RemoteSeat:
    """Judge actors with another model; each pair goes to the one with the least to do.

    Args:
        handles: of the actors, each with a method `judge` like a seat's.
    """

    def __init__(self, name: str, model: str, handles: Sequence[Any]):
        self.name, self.model = name, model
        self._handles = handles
        self._in_hand = [0] * len(handles)

    async def judge(self, request_id: str, question: str, answer: str) -> Generation:
        at = self._in_hand.index(min(self._in_hand))
        self._in_hand[at] += 1
        try:
            generation: Generation = await self._handles[at].judge.remote(
                request_id, question, answer
            )
        finally:
            self._in_hand[at] -= 1
        return generation


def _request_of(request_id: str, seat: str) -> str:
    return f"{request_id}-{seat}"


class Panel:
    """All judges of a run, as one replica asks them."""

    def __init__(self, seats: Sequence[Seat]):
        self._seats = seats

    def __bool__(self) -> bool:
        return bool(self._seats)

    def own_requests(self, request_ids: Iterable[str]) -> list[str]:
        """Those that the writing engine has in hand for judgements under way."""
        own = [seat.name for seat in self._seats if isinstance(seat, OwnSeat)]
        return [_request_of(request_id, name) for request_id in request_ids for name in own]

    async def judge(
        self, request_id: str, question: str, answer: str
    ) -> tuple[Judgement, ...] | None:
        """What every judge makes of a pair; None when that was ended early.

        Raises:
            ValueError: an engine did not keep to the schema.
        """
        generations = await asyncio.gather(
            *(
                seat.judge(_request_of(request_id, seat.name), question, answer)
                for seat in self._seats
            )
        )
        if any(generation.finish_reason == ABORTED for generation in generations):
            return None
        return tuple(
            Judgement(
                seat.name,
                seat.model,
                VERSION,
                generation.tokens.prompt,
                generation.tokens.completion,
                parse_scores(generation.raw),
            )
            for seat, generation in zip(self._seats, generations, strict=True)
        )
