"""Sources: every public form is found by its content, and counts add up."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from synth.sources import OnBad, SourceError, open_source

ASKED, SAID = "I cannot sleep.", "That sounds tiring. Since when?"
COUNSEL_HEAD = "questionID,questionTitle,questionText,topic,answerText,upvotes,split\n"


def line(**record: object) -> str:
    return json.dumps(record) + "\n"


def dialogue(role: str, content: str, client: str, counsellor: str) -> list[dict[str, str]]:
    return [{role: client, content: ASKED}, {role: counsellor, content: SAID}]


FILES = {
    "mentalchat-early": ("a.jsonl", line(instruction=ASKED, topic="Stress", response=SAID)),
    "instruction": ("a.jsonl", line(instruction="Be kind.", input=ASKED, output=SAID)),
    "context-response": ("a.csv", f'Context,Response\n"{ASKED}","{SAID}"\n'),
    "counselchat": ("a.csv", COUNSEL_HEAD + f'7,Sleep,"{ASKED}",stress,"{SAID}",1,train\n'),
    "messages": ("a.jsonl", line(messages=dialogue("role", "content", "user", "assistant"))),
    "sharegpt": (
        "a.json",
        json.dumps([{"conversations": dialogue("from", "value", "human", "gpt")}]),
    ),
    "esconv": (
        "a.json",
        json.dumps([{"dialog": dialogue("speaker", "content", "seeker", "supporter")}]),
    ),
    "esconv-hub": (
        "a.jsonl",
        line(text=json.dumps({"dialog": dialogue("speaker", "text", "usr", "sys")})),
    ),
    "question-answer": ("a.csv", f'question,answer\n"{ASKED}","{SAID}"\n'),
}


@pytest.mark.parametrize("form", FILES)
def test_a_form_is_found_by_its_content(tmp_path: Path, form: str) -> None:
    name, content = FILES[form]
    (tmp_path / name).write_text(content)
    source = open_source(str(tmp_path / name))
    (row,) = source
    assert source.form.name == form
    assert (row.number, row.question, row.answer) == (0, ASKED, SAID)


def test_labels_come_along_where_a_dataset_ships_them(tmp_path: Path) -> None:
    for form, topic in (("mentalchat-early", "Stress"), ("counselchat", "stress")):
        name, content = FILES[form]
        (tmp_path / name).write_text(content)
        assert next(iter(open_source(str(tmp_path / name)))).topic == topic


def test_counselchat_of_2022_loses_its_markup_and_an_empty_question_takes_the_title(
    tmp_path: Path,
) -> None:
    head = (
        "questionID,questionTitle,questionText,questionUrl,topics,therapistName,therapistUrl,"
        "answerText,upvotes\n"
    )
    row = (
        '7,I cannot sleep.,,u,"Sleep,Stress",A,u,"<p>That sounds tiring.&nbsp;</p><p>Rest.</p>",1\n'
    )
    (tmp_path / "a.csv").write_text(head + row)
    (found,) = open_source(str(tmp_path / "a.csv"))
    assert (found.question, found.topic) == (ASKED, "Sleep,Stress")
    assert found.answer == "That sounds tiring.\xa0\nRest."


def test_empathetic_dialogues_are_split_on_raw_commas_and_grouped(tmp_path: Path) -> None:
    head = "conv_id,utterance_idx,context,prompt,speaker_idx,utterance,selfeval,tags\n"
    rows = (
        "c1,1,sad,p,1,I lost it_comma_ all,5|5,\nc1,2,sad,p,2,Oh no,5|5,\n"
        'c2,1,glad,p,7,"I won,5|5,,extra\nc2,2,glad,p,8,Great,5|5,\n'
    )
    (tmp_path / "a.csv").write_text(head + rows)
    one, two = open_source(str(tmp_path / "a.csv"))
    assert (one.question, one.answer, one.topic) == ("I lost it, all", "Oh no", "sad")
    assert (two.question, two.answer) == ('"I won', "Great")


def test_dialogues_lie_one_to_a_file_in_a_folder(tmp_path: Path) -> None:
    for number in range(2):
        turns = dialogue("role", "content", "client", "counselor")
        (tmp_path / f"{number}.json").write_text(json.dumps(turns))
    assert [row.question for row in open_source(str(tmp_path))] == [ASKED, ASKED]
    transcripts = tmp_path / "more"
    transcripts.mkdir()
    (transcripts / "a.txt").write_text(f"user: {ASKED}\n\nagent: {SAID}\n\nuser: For weeks.\n")
    (row,) = open_source(str(transcripts))
    assert (row.question, row.answer) == (f"{ASKED}\nFor weeks.", SAID)


def test_parquet_and_saved_datasets_are_read(tmp_path: Path) -> None:
    rows = [{"Context": ASKED, "Response": SAID}] * 3
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert len(list(open_source(str(tmp_path / "a.parquet")))) == 3
    Dataset.from_list(rows).save_to_disk(str(tmp_path / "saved"))
    assert len(list(open_source(str(tmp_path / "saved")))) == 3


def test_columns_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f'q,a,t\n"{ASKED}","{SAID}",stress\n')
    columns = {"question": "q", "answer": "a", "topic": "t"}
    (row,) = open_source(str(tmp_path / "a.csv"), columns=columns)
    assert (row.question, row.answer, row.topic) == (ASKED, SAID, "stress")
    with pytest.raises(SourceError, match=r"has no column 'x', only 'q', 'a', 't'"):
        open_source(str(tmp_path / "a.csv"), columns={"question": "q", "answer": "x"})


BROKEN = {
    "empty.csv": (b"", "is empty"),
    "latin.csv": ("question,answer\né,ü\n".encode("latin-1"), "is not UTF-8"),
    "binary.csv": (b"\x7fELF\0\0\0\0", "is a binary file"),
    "ragged.csv": (b"question,answer\na,b\nc,d,e\n", r"ragged.csv:3: has 3 cells under 2 columns"),
    "unknown.csv": (b"this,that\na,b\n", "has columns 'this', 'that', which is no form known"),
    "header.csv": (b"question,answer\n", "holds no rows"),
    "broken.jsonl": (
        b'{"question": "a", "answer": "b"}\n{"question": \n',
        r"broken.jsonl:2: is no JSON",
    ),
    "numbers.jsonl": (b"{}\n", "which is no form known"),
    "torn.parquet": (b"PAR1abc", "is no whole Parquet"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_one_message(tmp_path: Path, name: str) -> None:
    content, words = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=words):
        list(open_source(str(tmp_path / name)))


def test_malformed_rows_are_counted_with_their_places_when_they_are_skipped(tmp_path: Path) -> None:
    good, bad = line(question=ASKED, answer=SAID), '{"question": \n'
    path = tmp_path / "a.jsonl"
    path.write_text(bad + good * 8 + line(question=ASKED) + line(question="", answer=""))
    source = open_source(str(path), on_bad=OnBad.SKIP)
    rows = list(source)
    assert [row.number for row in rows] == list(range(1, 9))
    assert len(rows) + len(source.malformed) == 11
    assert [bad.place.rpartition(":")[2] for bad in source.malformed] == ["1", "10", "11"]
    assert source.malformed[1].problem == "lacks 'answer'"
