"""An engine that writes by rule: fast, repeatable, and faulty on request."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from actors.engine import ABORTED, Generation
from actors.forms import JUDGEMENT, Form
from synth.config import METRICS, RunConfig
from synth.gates import Stage
from synth.prompts import Message
from synth.protocol import Tokens
from synth.records import KEYS

_WORDS = (
    "window kitchen letter garden station winter basket carpet engine ladder market mirror "
    "pocket ribbon saddle ticket valley wagon bridge candle dinner fabric harbor island jacket "
    "kettle lantern meadow button orchard paper quarry river shelter tunnel umbrella village"
).split()

# A scripted engine writes hundreds of texts a second; the safety gate's classifier reads thirty.
QUICK_GATES = "gates=[placeholder, repetition, role, prompt_echo, language, cliche, pii]"


@dataclass(frozen=True)
class Script:
    """How the engine behaves.

    Attributes:
        delay_s: time that a text takes.
        too_short: share of texts that are far too short.
        copies: share of questions that are the same as many others of their topic.
        scores: the lowest and the highest that it gives as a judge.
        dies_after: texts after which the engine raises, or None.
        quotes: whether it quotes its prompt when it does.
    """

    delay_s: float = 0.002
    too_short: float = 0.0
    copies: float = 0.0
    dies_after: int | None = None
    scores: tuple[int, int] = (5, 9)
    quotes: bool = False

    def __call__(
        self,
        config: RunConfig,  # noqa: ARG002
        on_gpu: bool,  # noqa: ARG002
        forms: Mapping[str, Form],  # noqa: ARG002
    ) -> ScriptedEngine:
        return ScriptedEngine(self)


class ScriptedEngine:
    """Writes a question out of the words of its prompt, and an answer out of its question's."""

    def __init__(self, script: Script):
        self._script = script
        self._aborted: set[str] = set()
        self.requests: list[str] = []
        self.prompts: list[str] = []
        self.in_flight = 0
        self.most_in_flight = 0

    async def generate(
        self, request_id: str, form: str, messages: Sequence[Message], seed: int, warmth: float
    ) -> Generation:
        self.requests.append(request_id)
        self.prompts.append(messages[-1]["content"])
        died = self._script.dies_after
        if died is not None and len(self.requests) > died:
            quoted = f" of {messages[-1]['content']!r}" if self._script.quotes else ""
            raise RuntimeError(f"the scripted engine died{quoted}")
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(self._script.delay_s)
        self.in_flight -= 1
        tokens = Tokens(300, 120)
        if request_id in self._aborted:
            return Generation('{"', ABORTED, tokens)
        if form == JUDGEMENT:
            return Generation(self._judgement(random.Random(request_id)), "stop", tokens)
        stage = Stage(form)
        text = self._text(stage, messages[-1]["content"], random.Random(seed + round(warmth * 10)))
        return Generation(json.dumps({KEYS[stage]: text}), "stop", tokens)

    def _judgement(self, rng: random.Random) -> str:
        low, high = self._script.scores
        scored = {
            metric: {"rationale": "The reply names what the client feels.", "score": score}
            for metric, score in ((metric, rng.randint(low, high)) for metric in METRICS)
        }
        return json.dumps(scored)

    def _text(self, stage: Stage, prompt: str, rng: random.Random) -> str:
        if stage is Stage.ANSWER:
            picked = " ".join(rng.sample(_WORDS, 24))
            return (
                "What you describe is hard, and it makes sense that you feel this way. "
                f"You could think of {picked}, one small thing at a time. "
                "A friend or a counselor nearby can look at the rest with you this week, when "
                "you have had some sleep and a quiet hour for yourself at home."
            )
        topic = re.search(r"Topic: (.*)", prompt)
        situation = re.search(r"Written by someone who (.*)\.", prompt)
        if topic is None or situation is None:
            raise AssertionError(f"not a prompt for a question: {prompt}")
        if rng.random() < self._script.too_short:
            return "I am too short, I know. " + "x" * 250
        if rng.random() < self._script.copies:
            rng = random.Random(topic.group(1))
            words = ["the", "same", "words"]
        else:
            words = situation.group(1).split()
        parts = [
            " ".join([*words[start : start + 5], rng.choice(_WORDS)])
            for start in range(0, len(words), 5)
        ]
        return (
            f"I write to you of {' '.join(rng.sample(_WORDS, 2))} and {topic.group(1).lower()}, "
            f"of {' '.join(rng.sample(_WORDS, 2))} too. In my case it is this: {', '.join(parts)}. "
            f"On my desk there are {' and '.join(rng.sample(_WORDS, 5))}, and I look at them. "
            "I have not found a way to talk about it with my people, and I wonder what I could "
            "do about it this week, or whom I could ask?"
        )

    async def abort(self, request_ids: Iterable[str]) -> None:
        self._aborted.update(request_ids)

    def close(self) -> None:
        """Nothing to stop."""
