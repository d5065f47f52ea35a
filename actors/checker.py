"""The replica's own judgement of a text: parsed, gated and embedded, before anybody is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actors.engine import ABORTED, Generation
from synth.config import RunConfig
from synth.embedding import Embedder
from synth.gates import Draft, Flag, Stage
from synth.gates.reader import reader_for
from synth.gates.registry import Gates, safety_options
from synth.gates.sentences import Side
from synth.judgement import Judgement
from synth.prompts import Message, own_words
from synth.protocol import Candidate, Reason, Slot, Tokens, Vectors
from synth.quoting import withholding
from synth.records import TextParser


@dataclass(frozen=True, slots=True)
class Work:
    """One text to be written.

    Attributes:
        question: that an answer is for.
        at_risk: whether the question shows a risk of suicide or self-harm.
        attempt: how many answers to it were refused.
    """

    slot: Slot
    stage: Stage
    topic: str
    question: str = ""
    at_risk: bool = False
    attempt: int = 0

    @property
    def request_id(self) -> str:
        return f"{self.slot.id}-{self.stage}-{self.attempt}"


@dataclass(frozen=True, slots=True)
class Written:
    """A text that the engine ended, with the prompt that asked for it."""

    work: Work
    messages: Sequence[Message]
    generation: Generation

    @property
    def texts(self) -> tuple[str, ...]:
        """The prompt's messages, and what the engine wrote."""
        return (*(message["content"] for message in self.messages), self.generation.raw)


@dataclass(frozen=True, slots=True)
class Checked:
    """A text after the replica's own gates: `reason` says why it failed, if it did.

    Attributes:
        span: what shows the reason.
        judgements: of an answer that passed the gates, when judges are asked.
    """

    work: Work
    text: str
    tokens: Tokens
    reason: str = ""
    span: str = ""
    flags: tuple[Flag, ...] = ()
    judgements: tuple[Judgement, ...] = ()

    def candidate(self) -> Candidate:
        """The text as it is sent to the coordinator."""
        return Candidate(self.work.slot.id, self.text, self.tokens, self.flags, self.judgements)


class Checker:
    """Parses and gates texts, and embeds the questions that pass; runs on a thread.

    Args:
        config: bounds and gates.
        embedder: for the questions.
    """

    def __init__(self, config: RunConfig, embedder: Embedder):
        self._gates = Gates(config.gates)
        self._reader = reader_for(safety_options(config.gates))
        self._parsers = {stage: TextParser(config.record, stage) for stage in Stage}
        self._embedder = embedder

    def check(self, batch: Sequence[Written]) -> tuple[list[Checked], Vectors]:
        """Every text checked, and the vectors of the questions that passed, in order."""
        with withholding(*(text for written in batch for text in written.texts)):
            checked = [self._check_one(written) for written in batch]
            passed = [
                item.text
                for item in checked
                if item.work.stage is Stage.QUESTION and not item.reason
            ]
            return checked, self._embedder.embed(passed)

    def _check_one(self, written: Written) -> Checked:
        work, generation = written.work, written.generation
        if generation.finish_reason == ABORTED:
            return Checked(work, generation.raw, generation.tokens, Reason.INTERRUPTED)
        parsed = self._parsers[work.stage].parse(generation.raw, generation.finish_reason)
        if parsed.reason:
            return Checked(work, parsed.text, generation.tokens, parsed.reason)
        prompt = own_words(written.messages, work.question)
        draft = Draft(work.stage, parsed.text, work.question, prompt)
        refused, noted = self._gates.judge(draft)
        if refused:
            span = refused.span(draft)
            return Checked(work, parsed.text, generation.tokens, refused.rule, span)
        flags = tuple(finding.flag(draft) for finding in noted)
        return Checked(work, parsed.text, generation.tokens, flags=flags)

    def at_risk(self, questions: Sequence[str]) -> list[bool]:
        """Whether each question shows a risk of suicide or self-harm."""
        self._reader.read(questions, Side.CLIENT)
        return [self._reader.risk(question) is not None for question in questions]
