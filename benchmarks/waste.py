"""Where did a finished run's tokens go, and what did the early duplicate check save?

    evenfill bench waste runs/first --json

Read from the run's own rows, without an engine. Tokens are those that an engine wrote, without
what judges wrote. Two figures are estimates: an accepted row holds the tokens of question and
answer together, so they are told apart by their lengths in characters; and what was saved is the
mean answer for each question that was refused before its answer was written.

The comparison with writing question and answer in one request takes the same shares of good
questions and of good answers, as if independent: a record then costs (question + answer) /
(share of good questions x share of good answers).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.common import Figures, command_line, show, stamped
from synth.errors import StoreError
from synth.gates import Stage
from synth.protocol import Reason
from synth.segments import read_rows
from synth.store import RunFiles, read_report, run_files

_REPEATS = (Reason.DUPLICATE, Reason.EXACT_REPEAT)
_NOBODY_ASKED = (Reason.TOPIC_FULL, Reason.INTERRUPTED, Reason.EXPIRED)
_CUT_SHORT = (Reason.INTERRUPTED, Reason.EXPIRED)  # no verdict on the text
ACCEPTED = "accepted"


@dataclass
class Ledger:
    """What a run's rows add up to; `texts` and `tokens` by cause.

    Attributes:
        question_tokens, answer_tokens: of accepted records, told apart by length.
        judged_questions, good_questions: questions with a verdict, and those that were reserved.
        answers: answers with a verdict, the accepted ones among them.
    """

    texts: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    question_tokens: float = 0.0
    answer_tokens: float = 0.0
    judged_questions: int = 0
    good_questions: int = 0
    answers: int = 0

    @property
    def accepted(self) -> int:
        return self.texts[ACCEPTED]


def cause(stage: str, reason: str) -> str:
    """The cause that a refused text is booked under."""
    if reason in _REPEATS:
        return f"{stage}: repeat"
    if reason in (*_NOBODY_ASKED, Reason.OFF_TOPIC):
        return f"{stage}: {reason}"
    return f"{stage}: gates and judges"


def read_ledger(files: RunFiles) -> Ledger:
    """Add up the rows of a run folder."""
    ledger = Ledger()
    kept: set[str] = set()
    for batch in read_rows(files.accepted, ("id", "question", "answer", "completion_tokens")):
        for row in batch.to_pylist():
            kept.add(row["id"])
            ledger.texts[ACCEPTED] += 1
            ledger.tokens[ACCEPTED] += row["completion_tokens"]
            share = len(row["question"]) / (len(row["question"]) + len(row["answer"]))
            ledger.question_tokens += share * row["completion_tokens"]
            ledger.answer_tokens += (1 - share) * row["completion_tokens"]
    lost: set[str] = set()
    for batch in read_rows(files.rejected, ("id", "stage", "reason", "completion_tokens")):
        for row in batch.to_pylist():
            booked = cause(row["stage"], row["reason"])
            ledger.texts[booked] += 1
            ledger.tokens[booked] += row["completion_tokens"]
            if row["reason"] in _CUT_SHORT:
                continue
            if row["stage"] == Stage.QUESTION:
                ledger.judged_questions += 1
            else:
                ledger.answers += 1
                lost.add(row["id"])
    ledger.answers += len(kept)
    ledger.good_questions = len(kept | lost)
    ledger.judged_questions += ledger.good_questions
    return ledger


def measure(folder: str) -> Figures:
    """Tokens written for each token in an accepted record, by cause, and what was saved.

    Raises:
        StoreError: the folder holds no run, or one without a record.
    """
    files = run_files(folder)
    report = read_report(files)
    ledger = read_ledger(files)
    if not ledger.accepted:
        raise StoreError(str(files.root), "holds no accepted record", "Give a run that has some")
    kept, written = ledger.tokens[ACCEPTED], ledger.tokens.total()
    unjudged = [cause(Stage.QUESTION, reason) for reason in _CUT_SHORT]
    unneeded = sum(
        ledger.tokens[cause(stage, reason)] for stage in Stage for reason in _NOBODY_ASKED
    )
    question = ledger.question_tokens / ledger.accepted
    answer = ledger.answer_tokens / ledger.accepted
    good_questions = ledger.good_questions / ledger.judged_questions
    good_answers = ledger.accepted / ledger.answers
    at_once = (question + answer) / (good_questions * good_answers)
    return {
        "folder": str(files.root),
        "status": report["status"],
        "accepted": ledger.accepted,
        "tokens_written": written,
        "tokens_per_accepted_token": round(written / kept, 3),
        "beyond_duplicates_and_gates": round(unneeded / kept, 4),
        "question_tokens": round(question, 1),
        "answer_tokens": round(answer, 1),
        "good_questions": round(good_questions, 3),
        "good_answers": round(good_answers, 3),
        "saved": {
            name: round(count * answer / written, 3)
            for name, count in ledger.texts.items()
            if name.startswith(f"{Stage.QUESTION}: ") and name not in unjudged
        },
        "saved_tokens": round((ledger.judged_questions - ledger.good_questions) * answer),
        "at_once_tokens_per_accepted_token": round(at_once * ledger.accepted / kept, 3),
        "at_once_over_this_run": round(at_once * ledger.accepted / written, 3),
        "causes": [
            {
                "cause": name,
                "texts": ledger.texts[name],
                "tokens": tokens,
                "per_accepted_token": round(tokens / kept, 4),
            }
            for name, tokens in ledger.tokens.most_common()
        ],
    }


def main(arguments: Sequence[str]) -> None:
    """Run from the command line."""
    parser = command_line("waste", "Where a finished run's tokens went")
    parser.add_argument("folder", help="run folder: a path or a URL")
    options = parser.parse_args(arguments)
    figures = measure(options.folder)
    lines = [
        f"{figures['tokens_per_accepted_token']} tokens written for each one in an accepted "
        f"record; {figures['beyond_duplicates_and_gates']:.2%} beyond duplicates and gates",
        f"answers never written for refused questions: about {figures['saved_tokens']:,} tokens",
        f"question and answer in one request: {figures['at_once_tokens_per_accepted_token']} "
        f"tokens for each one kept, {figures['at_once_over_this_run']} times this run's",
    ]
    show(stamped("waste", arguments, figures), options.json, figures["causes"], lines)


if __name__ == "__main__":
    main(sys.argv[1:])
