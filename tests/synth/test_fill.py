"""Filling a dataset: deficits become targets, its rows are never written again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from synth.balancer import Balancer
from synth.cli import app
from synth.config import DatasetConfig, load_config
from synth.embedding import Embedder
from synth.errors import ConfigError, StoreError, UserError
from synth.fill import Request, plan_fill
from synth.gates import Draft, Stage
from synth.gates.registry import Gates
from synth.plan import Plan, check_resumable
from synth.prompts import Slot, answer_messages, own_words, question_messages
from synth.protocol import Candidate, QuestionBatch, Tokens
from synth.restore import restore
from synth.session import Session
from synth.specs import Specs
from tests.conftest import REPO

SLEEP = (
    "I lie awake every night until three and cannot fall asleep, tired as I am, and in the morning "
    "I drag myself to work and count the hours until I can lie down again, only to lie awake. I "
    "have tried tea and a darker room. What could help me sleep?"
)
GRIEF = (
    "My mother died in March and I still set a plate for her every evening before I notice it. The "
    "funeral is a blur to me, and my brother wants to sell her house by the summer. I am not ready "
    "to give her coats away. How do other people get through the first year?"
)
ANSWER = (
    "Three hours awake in the dark is a long time, and it wears you down by day as well. You could "
    "get up when you notice that you are counting, sit somewhere dim with something dull, and go "
    "back to bed when your eyes close. If it stays so for a few more weeks, a doctor can look at "
    "it with you."
)


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    path = tmp_path / "mine.jsonl"
    rows = [{"Context": text, "Response": ANSWER} for text in (SLEEP, SLEEP + " Again?", GRIEF)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def plan(dataset: str | DatasetConfig, request: Request, folder: Path, *options: str) -> Plan:
    config = load_config(None, [f"out={folder}", *options])
    return plan_fill(dataset, request, config, REPO)


def wanted(plan: Plan) -> dict[str, int]:
    return {topic: number for topic, number in plan.targets.items() if number}


def test_targets_are_what_is_missing(dataset: str, tmp_path: Path) -> None:
    floor = plan(dataset, Request(floor=2), tmp_path / "run")
    assert floor.targets["sleep-improvement"] == 0
    assert floor.targets["grief-and-loss"] == 1
    assert sum(floor.targets.values()) == 2 * 33 - 3
    by_config = plan(dataset, Request(), tmp_path / "run",
                     "targets={policy: explicit, topics: {sleep-improvement: 5}}")  # fmt: skip
    assert wanted(by_config) == {"sleep-improvement": 3}
    exact = plan(dataset, Request(topics={"sleep-improvement": 4}), tmp_path / "run")
    assert wanted(exact) == {"sleep-improvement": 4}
    like = plan(dataset, Request(like=dataset, count=6), tmp_path / "run")
    assert wanted(like) == {"sleep-improvement": 4, "grief-and-loss": 2}
    assert sum(wanted(plan(dataset, Request(), tmp_path / "run")).values()) == 3
    total = plan(dataset, Request(total=1217), tmp_path / "run")
    assert total.targets["sleep-improvement"] == 8


def test_the_dataset_is_part_of_what_a_run_is(dataset: str, tmp_path: Path) -> None:
    request = Request(topics={"stress": 1})
    before = plan(dataset, request, tmp_path / "run").fingerprint
    moved = tmp_path / "moved.jsonl"
    moved.write_text(Path(dataset).read_text())
    assert plan(str(moved), request, tmp_path / "run").fingerprint == before
    moved.write_text(Path(dataset).read_text().replace("plate", "chair"))
    assert plan(str(moved), request, tmp_path / "run").fingerprint != before


def test_rows_of_the_dataset_are_not_written_again(
    dataset: str, tmp_path: Path, embedder: Embedder
) -> None:
    made = plan(dataset, Request(topics={"sleep-improvement": 4}), tmp_path / "run")
    session = Session(made, accept_changes=False)
    lease = session.coordinator.lease("r0", 3).lease
    assert lease is not None
    texts = (
        SLEEP.replace("tea and a darker room", "a darker room and some tea"),
        SLEEP,
        "Since my shifts changed I wake up at four and my sleep does not come back at all.",
    )
    candidates = [Candidate(slot.id, text, Tokens(10, 5))
                  for slot, text in zip(lease.slots, texts, strict=True)]  # fmt: skip
    batch = QuestionBatch(tuple(candidates), embedder.embed(texts))
    verdicts = session.coordinator.reserve("r0", batch).verdicts
    assert [verdict.ruling for verdict in verdicts] == ["refused", "refused", "reserved"]
    refused = session.coordinator.take_batch()
    session.writer.write(refused)
    session.coordinator.settle(refused)
    report = session.coordinator.report(session.timing())
    assert report["rejected_by_reason"] == {"duplicate": 1, "exact_repeat": 1}
    session.close()


def test_examples_are_shown_and_a_copy_of_one_is_refused(
    dataset: str, tmp_path: Path, specs: Specs
) -> None:
    made = plan(dataset, Request(topics={"stress": 1}, examples=2), tmp_path / "run",
                "gates=[prompt_echo]")  # fmt: skip
    assert made.existing is not None
    examples = made.existing.examples["stress"]
    assert len(examples) == 2
    slot = Slot("a-1", "stress", "has too much to do", {}, 7)
    shown = question_messages(specs, slot, examples)
    assert [message["content"] for message in shown[2::2]][:2] == [
        json.dumps({"client_message": example.question}) for example in examples
    ]
    answer = answer_messages(specs.topics["stress"], "my question", False, examples)
    gates = Gates(made.config.gates)
    copy = "At work I drag myself along. " + examples[0].question
    (finding,) = gates.findings(Draft(Stage.QUESTION, copy, prompt=own_words(shown)))
    assert finding.rule == "prompt_echo"
    (finding,) = gates.findings(
        Draft(Stage.ANSWER, ANSWER, "my question", own_words(answer, "my question"))
    )
    assert finding.rule == "prompt_echo"


def test_a_crisis_is_answered_by_the_policys_examples_whatever_the_dataset_shows(
    dataset: str, tmp_path: Path, specs: Specs
) -> None:
    made = plan(dataset, Request(topics={"stress": 1}, examples=1), tmp_path / "run")
    assert made.existing is not None
    shown = made.existing.examples["stress"]
    usual = answer_messages(specs.topics["stress"], "q", False, shown)
    crisis = answer_messages(specs.topics["stress"], "q", True, shown)
    assert ANSWER[:40] in str(usual)
    assert crisis == answer_messages(specs.topics["stress"], "q", True)


def test_every_slot_has_the_facets_that_were_asked_for(specs: Specs) -> None:
    fixed = {"life_stage": "teenager", "voice": "texting"}
    balancer = Balancer(specs, dict.fromkeys(specs.topics, 3), 40, 2, "7", fixed)
    slots = balancer.draw(map(str, range(40)))
    assert len(slots) == 40
    assert all(fixed.items() <= slot.facets.items() for slot in slots)
    assert all(len(slot.facets) == 4 for slot in slots)
    assert all(slot.facets.get("setting") != "separated" for slot in slots)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(topics={"grief": 3}), "there is no topic 'grief' (did you mean"),
        (Request(topics={"stress": -1}), "--topic: 'topics.stress' is -1"),
        (Request(examples=9), "dataset: 'examples' is 9"),
        (Request(floor=1, facets={"mood": "sad"}), "there is no facet 'mood'"),
        (Request(floor=1, facets={"voice": "angrily"}), "(did you mean 'angry'?)"),
        (Request(topics={"stress": 1}, facets={"life_stage": "retired", "setting": "shift_work"}),
         "cannot stand with"),
        (Request(like="nowhere.jsonl"), "nowhere.jsonl"),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_met_is_one_message(
    dataset: str, tmp_path: Path, request_: Request, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        plan(dataset, request_, tmp_path / "run")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("wanted_", "message"),
    [
        ({"total": 5, "floor": 5}, "--floor: is given beside --total"),
        ({"topics": {"stress": 1}, "like": "a.jsonl"}, "--like: is given beside --topic"),
        ({"count": 5}, "--count: is given without --like"),
        ({"floor": 0}, "--floor: is 0"),
    ],
)
def test_a_request_that_contradicts_itself_cannot_be_made(
    wanted_: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Request(**wanted_)
    assert message in str(caught.value)


def test_what_the_config_says_of_the_dataset_holds_unless_an_option_differs(
    dataset: str, tmp_path: Path
) -> None:
    made = plan(dataset, Request(topics={"stress": 1}), tmp_path / "run", "dataset.examples=1",
                f"dataset.location={dataset}")  # fmt: skip
    assert made.config.dataset is not None
    assert made.config.dataset.examples == 1
    off = plan(dataset, Request(topics={"stress": 1}, examples=0), tmp_path / "run",
               "dataset.examples=1", f"dataset.location={dataset}")  # fmt: skip
    assert off.config.dataset is not None
    assert off.config.dataset.examples == 0


def test_paths_are_whole_whatever_they_were_given_as(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = plan("mine.jsonl", Request(like="mine.jsonl"), tmp_path / "run")
    assert made.config.dataset is not None
    assert made.config.dataset.location == made.config.dataset.like == dataset


def test_rows_to_write_like_are_not_written_again_and_no_row_is_quoted_unasked(
    dataset: str, tmp_path: Path, embedder: Embedder
) -> None:
    other = tmp_path / "other.jsonl"
    text = "My sister will not speak to me since the wedding, and our mother takes her side."
    other.write_text(json.dumps({"Context": text, "Response": ANSWER}) + "\n")
    made = plan(dataset, Request(like=str(other), count=2, examples=0), tmp_path / "run")
    restored = restore(made, embedder, "abc", 1)
    for known, name in ((text, "like-0"), (GRIEF, "row-2")):
        nearest = restored.index.probe(embedder.embed([known])).nearest(0)
        assert nearest is not None
        assert (nearest.id, nearest.opening) == (name, "")


def test_a_dataset_that_changed_is_not_filled_on(
    dataset: str, tmp_path: Path, embedder: Embedder
) -> None:
    request = Request(topics={"stress": 1})
    made = plan(dataset, request, tmp_path / "run")
    Session(made, accept_changes=False).close()
    assert check_resumable(plan(dataset, request, tmp_path / "run"), False)
    path = Path(dataset)
    path.write_text(path.read_text().replace("plate", "chair"))
    with pytest.raises(StoreError, match="kept apart from other rows"):
        check_resumable(plan(dataset, request, tmp_path / "run"), True)
    with pytest.raises(StoreError, match="has changed since the run was planned"):
        restore(made, embedder, "abc", 2)


def test_examples_that_do_not_fit_a_record_are_one_message(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dataset.examples: no row of .* could be shown"):
        plan(dataset, Request(topics={"stress": 1}, examples=1), tmp_path / "run",
             "record.max_question_words=30", "record.min_words=20")  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--topic", "grief-and-loss"], "--topic: is 'grief-and-loss'. Write --topic NAME=VALUE"),
        (["--topic", "stress=few"], "--topic: asks for 'few' records of 'stress'"),
        (["--topic", "stress=1", "--topic", "stress=2"], "--topic: names 'stress' twice"),
        (["--topic", "sleep=2"], "there is no topic 'sleep' (did you mean"),
        (["--facet", "voice"], "--facet: is 'voice'"),
    ],
)
def test_options_that_say_nothing_are_one_message(
    dataset: str, options: list[str], message: str
) -> None:
    result = CliRunner().invoke(app, ["fill", dataset, *options])
    assert result.exit_code == 2
    assert message in result.stderr.replace("\n", " ")


def test_nothing_missing_is_no_run(dataset: str, tmp_path: Path) -> None:
    config = "targets={policy: explicit, topics: {grief-and-loss: 0}}"
    folder = tmp_path / "run"
    result = CliRunner().invoke(app, ["fill", dataset, "--set", config, "--out", str(folder)])
    assert result.exit_code == 0, result.output
    assert "nothing is missing" in result.stdout
    assert not folder.exists()
