"""What waits for an engine: what is taken out is gone, and the rest keeps its order."""

from __future__ import annotations

from collections import deque

from actors.backlog import Backlog
from actors.checker import Checked, Work
from synth.gates import Stage
from synth.protocol import Slot, Tokens

TOPICS = ("stress", "anxiety", "stress", "grief-and-loss")
SLOTS = [Slot(str(i), topic, "", {}, 0) for i, topic in enumerate(TOPICS)]
WORKS = [Work(slot, Stage.ANSWER, slot.topic) for slot in SLOTS]


def backlog() -> Backlog:
    judged = deque(Checked(work, "an answer", Tokens()) for work in WORKS)
    return Backlog(judged, deque(WORKS), deque(SLOTS))


def test_what_is_for_full_topics_is_taken_out_of_every_queue() -> None:
    waiting = backlog()
    taken = waiting.take_out(lambda topic: topic == "stress")
    assert [slot.id for slot in taken.to_ask] == ["0", "2"]
    assert [slot.id for slot in waiting.to_ask] == ["1", "3"]
    assert [work.slot.id for work in waiting.to_answer] == ["1", "3"]
    assert [item.work.slot.id for item in waiting.to_judge] == ["1", "3"]
    assert not waiting.take_out(lambda topic: topic == "stress")


def test_only_slots_that_are_still_held_are_kept() -> None:
    waiting = backlog()
    waiting.keep({"3", "0"})
    assert [slot.id for slot in waiting.to_ask] == ["0", "3"]
    assert [work.slot.id for work in waiting.to_answer] == ["0", "3"]
