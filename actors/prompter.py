"""Has an engine write the text of one stage of a slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from actors.checker import Work, Written
from actors.engine import Engine
from synth.gates import Stage
from synth.prompts import Example, Message, answer_messages, question_messages
from synth.quoting import withholding
from synth.specs import Specs

_SEED_STEP = 7919  # between the seeds of a slot's answers


class Prompter:
    """Prompts an engine for questions and answers.

    Args:
        specs: topics and facets.
        examples: topic -> pairs of an existing dataset to write like.
        engine: that writes.
    """

    def __init__(self, specs: Specs, examples: Mapping[str, Sequence[Example]], engine: Engine):
        self._specs = specs
        self._examples = examples
        self._engine = engine

    async def write(self, work: Work) -> Written:
        """One text; an error of the engine is raised without the prompt that it may quote."""
        messages = self._messages(work)
        seed = (work.slot.seed + _SEED_STEP * work.attempt) % 2**31
        with withholding(*(message["content"] for message in messages)):
            generation = await self._engine.generate(
                work.request_id, work.stage, messages, seed, work.slot.warmth
            )
        return Written(work, messages, generation)

    def _messages(self, work: Work) -> Sequence[Message]:
        if work.stage is Stage.QUESTION:
            shown = self._examples.get(work.slot.topic, ())
            return question_messages(self._specs, work.slot, shown)
        return answer_messages(self._specs.topics[work.topic], work.question, work.at_risk)
