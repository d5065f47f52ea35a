"""The duplicate index: invariant 2 under any order of reserving, committing and releasing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from synth.index import DuplicateIndex, ExactRepeats, text_key
from tests.fakes import near, vector_of

DIM = 8
THRESHOLD = 0.85


def test_a_near_question_is_found_with_its_neighbour_and_similarity() -> None:
    index = DuplicateIndex(64, THRESHOLD)
    first = vector_of("first")
    index.add(["a"], first[None], ["first words"])
    probe = index.probe(np.stack([near(first, 0.9), near(first, 0.8)]))
    close, far = probe.nearest(0), probe.nearest(1)
    assert close is not None
    assert far is not None
    assert (close.id, far.id) == ("a", "a")
    assert close.opening == "first words"
    assert close.similarity == pytest.approx(0.9, abs=1e-5)
    assert index.too_close(close)
    assert not index.too_close(far)


def test_batch_mates_do_not_pass_each_other() -> None:
    index = DuplicateIndex(64, THRESHOLD)
    first = vector_of("first")
    probe = index.probe(np.stack([first, near(first, 0.95)]))
    assert probe.nearest(0) is None
    probe.reserve(0, "a", "first words")
    assert index.too_close(probe.nearest(1))


def test_a_reservation_blocks_until_it_is_released() -> None:
    index = DuplicateIndex(64, THRESHOLD)
    first = vector_of("first")
    index.probe(first[None]).reserve(0, "a", "first words")
    assert index.too_close(index.probe(near(first, 0.9)[None]).nearest(0))
    index.release("a")
    assert index.probe(near(first, 0.9)[None]).nearest(0) is None


def test_a_pair_exactly_at_the_threshold_is_a_duplicate() -> None:
    index = DuplicateIndex(64, THRESHOLD)
    first = vector_of("first")
    index.add(["a"], first[None], ["first words"])
    assert index.too_close(index.probe(near(first, THRESHOLD)[None]).nearest(0))


def test_neighbours_at_commit_are_the_earlier_ones_only() -> None:
    index = DuplicateIndex(64, THRESHOLD)
    first = vector_of("first")
    index.reserve("a", first, "one")
    index.reserve("b", near(first, 0.5), "two")
    nearest = index.neighbours_before(["a", "b"])
    assert nearest[0] is None
    assert nearest[1] is not None
    assert nearest[1].id == "a"
    index.commit(["a", "b"])
    assert (len(index), index.reserved) == (2, 0)


@pytest.mark.parametrize(
    "other",
    ["I  feel LOW today", "I feel low, today!", "i feel low today.", "I feel ｌｏｗ today"],
)
def test_texts_that_differ_in_form_only_are_exact_repeats(other: str) -> None:
    repeats = ExactRepeats()
    assert repeats.claim("I feel low today", "a")
    assert repeats.owner(other) == "a"
    assert not repeats.claim(other, "b")
    repeats.release(other, "b")
    assert repeats.owner(other) == "a"
    repeats.release(other, "a")
    assert repeats.claim(other, "b")


@given(st.text(st.characters(max_codepoint=127)))
def test_the_key_is_the_same_with_a_sign_that_is_not_ascii(text: str) -> None:
    assert text_key(text) == text_key(f"{text} \N{EM DASH}")


def test_other_words_are_no_repeat() -> None:
    assert text_key("I feel low today") != text_key("I feel slow today")


class Interleavings(RuleBasedStateMachine):
    """Replicas reserve, commit and release in any order; vectors are drawn close together."""

    def __init__(self) -> None:
        super().__init__()
        self.index = DuplicateIndex(DIM, THRESHOLD)
        self.reserved: dict[str, np.ndarray] = {}
        self.committed: dict[str, np.ndarray] = {}
        self.count = 0

    @rule(
        seeds=st.lists(st.integers(0, 30), min_size=1, max_size=6),
        noise=st.lists(st.floats(0.0, 0.6), min_size=6, max_size=6),
    )
    def reserve_batch(self, seeds: list[int], noise: list[float]) -> None:
        rows = []
        for seed, amount in zip(seeds, noise, strict=False):
            base = vector_of(str(seed % 5), DIM)
            mixed = base + amount * vector_of(str(seed + self.count), DIM)
            rows.append((mixed / np.linalg.norm(mixed)).astype(np.float32))
        probe = self.index.probe(np.stack(rows))
        for row, vector in enumerate(rows):
            if not self.index.too_close(probe.nearest(row)):
                name = f"slot-{self.count}"
                self.count += 1
                probe.reserve(row, name, "words")
                self.reserved[name] = vector

    @precondition(lambda self: self.reserved)
    @rule(data=st.data())
    def commit_some(self, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(sorted(self.reserved)), unique=True))
        self.index.commit(chosen)
        for name in chosen:
            self.committed[name] = self.reserved.pop(name)

    @precondition(lambda self: self.reserved)
    @rule(data=st.data())
    def release_one(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.reserved)))
        self.index.release(name)
        del self.reserved[name]

    @invariant()
    def no_two_held_questions_are_at_or_above_the_threshold(self) -> None:
        """Invariant 2."""
        held = list({**self.committed, **self.reserved}.values())
        if len(held) > 1:
            cosines = np.stack(held) @ np.stack(held).T
            np.fill_diagonal(cosines, -1)
            assert cosines.max() < THRESHOLD

    @invariant()
    def the_index_holds_what_was_committed(self) -> None:
        assert len(self.index) == len(self.committed)
        assert self.index.reserved == len(self.reserved)


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck)
)
