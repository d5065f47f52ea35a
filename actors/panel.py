"""The judges of a replica: its own engine, or replicas with a model of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from actors.checker import Checked
from actors.engine import ABORTED, Engine, Generation
from actors.forms import JUDGEMENT
from synth.config import JudgeConfig
from synth.judgement import Judgement, shortfall
from synth.judging import VERSION, judge_messages, parse_scores
from synth.protocol import Reason
from synth.quoting import withholding


class Seat(Protocol):
    """One judge."""

    name: str
    model: str

    async def judge(self, request_id: str, question: str, answer: str) -> Generation:
        """Write one judgement; `abort` when it was ended early."""
        ...


async def write_judgement(
    engine: Engine, request_id: str, question: str, answer: str, seed: int
) -> Generation:
    """Have an engine judge a pair."""
    messages = judge_messages(question, answer)
    return await engine.generate(request_id, JUDGEMENT, messages, seed, 0.0)


class OwnSeat:
    """The engine that wrote the pair judges it, too."""

    def __init__(self, name: str, model: str, engine: Engine, seed: int):
        self.name, self.model = name, model
        self._engine = engine
        self._seed = seed

    async def judge(self, request_id: str, question: str, answer: str) -> Generation:
        return await write_judgement(self._engine, request_id, question, answer, self._seed)


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
    """All judges of a run, as one replica asks them, and what they have to be content with.

    Args:
        seats: one per judge.
        config: the least scores; None when nobody judges.
    """

    def __init__(self, seats: Sequence[Seat], config: JudgeConfig | None):
        self._seats = seats
        self._config = config or JudgeConfig()
        self._own = [seat.name for seat in seats if isinstance(seat, OwnSeat)]

    def __bool__(self) -> bool:
        return bool(self._seats)

    @property
    def own_seats(self) -> int:
        """Requests that the writing engine gets for one judgement."""
        return len(self._own)

    def own_requests(self, request_ids: Iterable[str]) -> list[str]:
        """Those that the writing engine has in hand for judgements under way."""
        return [_request_of(request_id, name) for request_id in request_ids for name in self._own]

    async def judge(self, item: Checked) -> Checked:
        """An answer that passed the gates, with what every judge makes of it.

        Raises:
            ValueError: an engine did not keep to the schema.
        """
        request_id, question, answer = item.work.request_id, item.work.question, item.text
        with withholding(question, answer):
            generations = await asyncio.gather(
                *(
                    seat.judge(_request_of(request_id, seat.name), question, answer)
                    for seat in self._seats
                )
            )
        if any(generation.finish_reason == ABORTED for generation in generations):
            return replace(item, reason=Reason.INTERRUPTED)
        judgements = tuple(
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
        missed = shortfall(judgements, self._config)
        reason, detail = (missed.reason, missed.detail) if missed else ("", "")
        return replace(item, reason=reason, span=detail, judgements=judgements)
