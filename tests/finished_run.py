"""A small finished run with notes of the gates and with judgements."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from synth.config import METRICS, DatasetConfig, load_config
from synth.embedding import Embedder
from synth.existing import TextDigest, existing_rows
from synth.gates import Flag, Severity, Stage
from synth.judgement import Judgement, Score
from synth.plan import make_plan
from synth.protocol import AnswerBatch, Candidate, QuestionBatch, Tokens
from synth.session import Session
from synth.store import RunFiles, run_files

REPO = Path(__file__).parent.parent

TOPIC = "sleep-improvement"
QUESTIONS = (
    "I lie awake every night until three and cannot fall asleep, tired as I am.",
    "Since my shifts changed I wake up at four and my sleep does not come back.",
    "I dread going to bed, because I count the hours of sleep that are left.",
)
ANSWERS = (
    "Lying awake for hours wears you down. You could get up & read until you are sleepy.",
    "Thank you for reaching out. Shifts move the body's clock, and light in the morning helps.",
    "Counting hours makes them shorter. You could turn the clock to the wall tonight.",
)
NOTED = Flag("cliche", "cliche", Severity.YELLOW, Stage.ANSWER, "Thank you for reaching out")


def judgement(judge: str, score: int) -> Judgement:
    """All seven metrics rated alike."""
    scores = tuple(Score(metric, score, f"{judge} gives {score}") for metric in METRICS)
    return Judgement(judge, "a model", 1, 100, 50, scores)


@pytest.fixture
def run_folder(tmp_path: Path, embedder: Embedder) -> Path:
    """Three records; the second is noted, the third is rated lowest by both judges."""
    folder = tmp_path / "run"
    config = load_config(
        None, [f"out={folder}", "targets.policy=explicit", f"targets.topics.{TOPIC}=3", "judge={}"]
    )
    session = Session(make_plan(config, REPO), accept_changes=False)
    lease = session.coordinator.lease("r0", 3).lease
    assert lease is not None
    ids = [slot.id for slot in lease.slots]
    questions = [Candidate(i, q, Tokens(10, 5)) for i, q in zip(ids, QUESTIONS, strict=True)]
    batch = QuestionBatch(tuple(questions), embedder.embed(QUESTIONS))
    session.coordinator.reserve("r0", batch)
    answers = [
        Candidate(
            ids[at],
            answer,
            Tokens(8, 4),
            (NOTED,) if at == 1 else (),
            (judgement("own", (9, 8, 4)[at]), judgement("second", (8, 7, 5)[at])),
        )
        for at, answer in enumerate(ANSWERS)
    ]
    session.coordinator.commit("r0", AnswerBatch(tuple(answers)))
    rows = session.coordinator.take_batch()
    session.writer.write(rows)
    session.coordinator.settle(rows)
    session.close()
    return folder


def as_filled(folder: Path, dataset: DatasetConfig) -> RunFiles:
    """Make the run in a folder one that filled `dataset`, by what its manifest says."""
    path = folder / "run.json"
    manifest = json.loads(path.read_text())
    texts = TextDigest()
    for _, row in existing_rows(dataset):
        texts.add(row)
    manifest["config"]["dataset"] = dataset.model_dump(mode="json")
    manifest["dataset_digest"] = texts.hexdigest()
    path.write_text(json.dumps(manifest))
    return run_files(str(folder))
