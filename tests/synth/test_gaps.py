"""Gaps: rows are labelled, counted against targets, and held against each other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from synth.cli import app
from synth.config import EmbedderConfig
from synth.embedding import Embedder
from synth.gaps.facets import stated_facets
from synth.gaps.shipped import ShippedLabels
from synth.neighbours import nearest_others
from synth.protocol import Vectors
from synth.specs import Specs
from synth.topic_model import (
    LabelRule,
    PooledTopics,
    Scores,
    Shares,
    SpecTopics,
    TaughtTopics,
    labels_of,
    shipped_weights,
    topic_scorer,
)
from synth.vector_cache import VectorCache

GRIEF = "My mother died in March and I still set a plate for her. The funeral is a blur to me."
SLEEP = "I lie awake until four every night and dread my bed. I am so tired of not sleeping."
BREAD = "Mix the flour with water and salt, let it rise for two hours, and bake it at 220 degrees."
ANSWER = "That sounds hard. What would help you tonight?"


def dataset(path: Path, rows: list[tuple[str, str]]) -> str:
    lines = [json.dumps({"question": q, "topic": t, "answer": ANSWER}) + "\n" for q, t in rows]
    path.write_text("".join(lines))
    return str(path)


def gaps(*arguments: str) -> dict:
    result = CliRunner().invoke(app, ["gaps", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    "text",
    ["I'm 20 weeks pregnant.", "I am 30 pounds over.", "My baby brother died.",
     "I am 14 months sober."],
)  # fmt: skip
def test_a_number_or_a_word_that_says_something_else_is_no_facet(text: str) -> None:
    assert not set(stated_facets(text))


def test_rows_are_counted_by_topic_and_held_against_targets(tmp_path: Path) -> None:
    rows = [(GRIEF, "Sleep Improvement"), (SLEEP, "Sleep Improvement"), (SLEEP + " ", "Pets"),
            (BREAD, "Stress")]  # fmt: skip
    labels = tmp_path / "labels.jsonl"
    found = gaps(dataset(tmp_path / "a.jsonl", rows), "--floor", "2", "--labels", str(labels))
    assert (found["rows"], found["unknown"]) == (4, 1)
    topics = found["topics"]
    assert topics["grief-and-loss"] | {"redundancy": 0} == {
        "existing": 1, "target": 2, "deficit": 1, "redundancy": 0,
    }  # fmt: skip
    assert (topics["sleep-improvement"]["existing"], topics["sleep-improvement"]["deficit"]) == (
        2,
        0,
    )
    assert topics["sleep-improvement"]["redundancy"]["0.95"] == 1.0
    assert found["redundancy"]["0.85"] == 0.5
    assert found["deficit"] == 2 * 33 - 3
    shipped = found["shipped_labels"]
    assert (shipped["compared"], shipped["agreed"]) == (2, 1)
    assert shipped["foreign"] == {"Pets": 1}
    assert shipped["examples"][0]["shipped"] == "sleep-improvement"
    lines = [json.loads(line) for line in labels.read_text().splitlines()]
    assert [line["row"] for line in lines] == [0, 1, 2, 3]
    assert [line["topic"] for line in lines] == [
        "grief-and-loss", "sleep-improvement", "sleep-improvement", None,
    ]  # fmt: skip
    assert all(len(line["top"]) == 3 for line in lines)


def test_shipped_labels_count_when_the_user_trusts_them(tmp_path: Path) -> None:
    path = dataset(tmp_path / "a.jsonl", [(GRIEF, "Sleep Improvement"), (SLEEP, "stress")])
    topics = gaps(path, "--trust-labels")["topics"]
    assert [t for t, gap in topics.items() if gap["existing"]] == ["stress", "sleep-improvement"]


def test_targets_are_the_rows_there_are_unless_something_else_is_wanted(tmp_path: Path) -> None:
    path = dataset(tmp_path / "a.jsonl", [(GRIEF, ""), (SLEEP, "")])
    assert sum(gap["target"] for gap in gaps(path)["topics"].values()) == 2
    assert sum(gap["target"] for gap in gaps(path, "--total", "100")["topics"].values()) == 100
    by_config = gaps(path, "--set", "targets={policy: explicit, topics: {stress: 4}}")["topics"]
    assert {t: gap["target"] for t, gap in by_config.items() if gap["target"]} == {"stress": 4}


def test_the_table_and_the_picture(tmp_path: Path) -> None:
    path = dataset(tmp_path / "a.jsonl", [(GRIEF, "Stress"), (SLEEP, "Stress")])
    picture = tmp_path / "gaps.png"
    result = CliRunner().invoke(app, ["gaps", path, "--picture", str(picture)])
    assert result.exit_code == 0, result.output
    assert "Grief and Loss" in result.stdout
    assert "rows are missing" in result.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    for wrong, message in (("gaps.xyz", "ends in '.xyz'"), ("no/gaps.png", "lies in no folder")):
        result = CliRunner().invoke(app, ["gaps", path, "--picture", str(tmp_path / wrong)])
        assert result.exit_code == 2
        assert message in result.stderr.replace("\n", " ")


def test_labels_never_replace_what_is_read_nor_an_older_file_before_all_went_well(
    tmp_path: Path,
) -> None:
    path = dataset(tmp_path / "a.jsonl", [(GRIEF, ""), (SLEEP, "")])
    before = Path(path).read_bytes()
    result = CliRunner().invoke(app, ["gaps", path, "--labels", path])
    assert result.exit_code == 2
    assert "is what is being read" in result.stderr.replace("\n", " ")
    assert Path(path).read_bytes() == before
    bad, labels = tmp_path / "bad.jsonl", tmp_path / "labels.jsonl"
    bad.write_text(Path(path).read_text() + "{oops\n")
    labels.write_text("old\n")
    assert CliRunner().invoke(app, ["gaps", str(bad), "--labels", str(labels)]).exit_code == 2
    assert labels.read_text() == "old\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jsonl", "bad.jsonl", "labels.jsonl"]


def test_a_total_that_contradicts_the_config_is_one_message(tmp_path: Path) -> None:
    path = dataset(tmp_path / "a.jsonl", [(GRIEF, ""), (SLEEP, "")])
    explicit = "targets={policy: explicit, topics: {stress: 4}}"
    result = CliRunner().invoke(app, ["gaps", path, "--total", "100", "--set", explicit])
    assert result.exit_code == 2
    assert "--total: total is 100, but the explicit topics sum to 4" in result.stderr
    uniform = gaps(path, "--set", "targets.policy=uniform")["topics"]
    assert sum(gap["target"] for gap in uniform.values()) == 2


def test_a_dataset_whose_name_looks_like_markup(tmp_path: Path) -> None:
    path = dataset(tmp_path / "x[b].jsonl", [(GRIEF, ""), (SLEEP, "")])
    result = CliRunner().invoke(app, ["gaps", path])
    assert result.exit_code == 0, result.output
    assert "x[b].jsonl" in result.stdout.replace("\n", "")


def test_a_text_that_is_likelier_about_nothing_is_about_nothing() -> None:
    scores = np.array([[0.3, 0.1], [0.5, 0.2]], dtype=np.float32)
    assert [label.topic for label in labels_of(["a", "b"], scores, LabelRule(0.2))] == [None, "a"]


def test_a_cache_that_cannot_be_used_is_done_without(tmp_path: Path, embedder: Embedder) -> None:
    path = tmp_path / "vectors.sqlite"
    path.write_bytes(b"no database at all" * 100)
    cache = VectorCache(embedder, path)
    assert cache.embed(["one", "two"]).shape == (2, embedder.dim)
    assert cache.made == 2


def test_copies_of_a_row_are_its_nearest_neighbours() -> None:
    vectors = np.eye(4, dtype=np.float32)[[0, 1, 0, 2]]
    assert nearest_others(vectors).tolist() == [1.0, 0.0, 1.0, 0.0]


WRONG = {
    "empty": (b"", "is empty"),
    "binary": (bytes(range(256)) * 20, "is a binary file"),
    "latin": ("question,answer\nIch fühle mich müde,Ach so\n".encode("latin-1"), "is not UTF-8"),
    "ragged": (b"question,answer\na,b\nc,d,e\n", "has 3 cells under 2 columns"),
    "foreign": (b"colour,size\nred,4\n", "has columns 'colour', 'size', which is no form"),
    "headless": (b"question,answer\n", "holds no rows"),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("verb", ["gaps", "fill"])
def test_wrong_input_is_one_message_and_exit_code_2(tmp_path: Path, kind: str, verb: str) -> None:
    data, message = WRONG[kind]
    path = tmp_path / "wrong.csv"
    path.write_bytes(data)
    result = CliRunner().invoke(app, [verb, str(path)])
    assert result.exit_code == 2, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "wrong.csv" in errors[0]


def test_malformed_lines_stop_or_are_counted(tmp_path: Path) -> None:
    path = Path(dataset(tmp_path / "a.jsonl", [(GRIEF, "")] * 18))
    path.write_text(path.read_text() + '{"question": "half a\n' * 2)
    stopped = CliRunner().invoke(app, ["gaps", str(path)])
    assert stopped.exit_code == 2
    assert f"error: {path}:19: is no JSON" in stopped.stderr
    found = gaps(str(path), "--on-bad", "skip")
    assert (found["rows"], found["malformed"]) == (18, 2)
    column = CliRunner().invoke(app, ["gaps", str(path), "--columns", "question=ask,answer=answer"])
    assert column.exit_code == 2
    assert "has no column 'ask'" in column.stderr


def test_shipped_labels_are_read_in_all_their_spellings(specs: Specs) -> None:
    read = ShippedLabels(specs.topics).read
    assert read("Family Conflict") == read("family-conflict") == ("family-conflict",)
    assert read("Children & Adolescents") == ("children-adolescents",)
    assert read("Alzheimer's") == ("alzheimers",)
    assert read("Depression,Anxiety") == ("depression", "anxiety")
    assert read("Cooking") == ()


@pytest.mark.parametrize(
    ("text", "facets"),
    [
        ("I'm 16 and my parents fight.", {("life_stage", "teenager")}),
        ("I am 160 cm tall.", set()),
        ("My son is 16 and lives with me.", set()),
        ("I’m in my early thirties and I live alone.",
         {("life_stage", "thirties"), ("setting", "living_alone")}),
        ("As a single mom I am tired.", {("setting", "single_parent")}),
        ("My sister is a single mom.", set()),
    ],
)  # fmt: skip
def test_only_what_a_text_states_is_a_facet(text: str, facets: set[tuple[str, str]]) -> None:
    assert set(stated_facets(text)) == facets


def test_nearest_others_agree_with_brute_force() -> None:
    rng = np.random.default_rng(0)
    base = rng.standard_normal((12_000, 32)).astype(np.float32)
    vectors = np.concatenate([base, base + 0.2 * rng.standard_normal(base.shape)])
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    assert len(vectors) > 20_000
    some = rng.choice(len(vectors), 500, replace=False)
    cosines = vectors[some] @ vectors.T
    cosines[np.arange(500), some] = -1
    near = cosines.max(axis=1) >= 0.8
    found = nearest_others(vectors)[some] >= 0.8
    assert (found & near).sum() / near.sum() > 0.99
    assert not (found & ~near & (cosines.max(axis=1) < 0.799)).any()


def test_vectors_are_made_once(tmp_path: Path, embedder: Embedder) -> None:
    texts = [GRIEF, SLEEP, GRIEF, BREAD]
    first = VectorCache(embedder, tmp_path / "v" / "a.sqlite")
    one = first.embed(texts)
    second = VectorCache(embedder, tmp_path / "v" / "a.sqlite")
    two = second.embed([*reversed(texts), "something new"])
    assert (first.made, second.made) == (3, 1)
    assert (one == two[3::-1]).all()
    np.testing.assert_allclose(one, embedder.embed(texts), atol=1e-5)


def test_other_topics_than_the_shipped_ones_are_known_by_their_specs(
    specs: Specs, embedder: Embedder
) -> None:
    scorer = SpecTopics(specs, embedder)
    texts = [GRIEF, SLEEP, BREAD]
    scores = scorer.scores(texts, embedder.embed(texts))
    topics = [label.topic for label in labels_of(scorer.topics, scores, LabelRule())]
    assert topics == ["grief-and-loss", "sleep-improvement", None]


def test_the_shipped_scorer_heeds_meaning_words_and_specs(specs: Specs, embedder: Embedder) -> None:
    topics = ["stress", "sleep-improvement", "grief-and-loss"]
    specs = replace(specs, topics={topic: specs.topics[topic] for topic in topics})
    weights = shipped_weights()
    assert weights is not None
    texts, vectors = [GRIEF, SLEEP], embedder.embed([GRIEF, SLEEP])

    def scores(shares: Shares, texts: list[str], vectors: Vectors) -> Scores:
        return PooledTopics(specs, embedder, weights, shares).scores(texts, vectors)

    meaning, words = Shares(1, 0, 0), Shares(0, 1, 0)
    pooled = scores(Shares(), texts, vectors)
    assert list(pooled.argmax(axis=1)) == [2, 1]
    assert (pooled.sum(axis=1) <= 1).all()
    # What they say of a text does not change with the part of it that they do not look at.
    np.testing.assert_array_equal(
        scores(meaning, texts, vectors), scores(meaning, texts[::-1], vectors)
    )
    np.testing.assert_array_equal(
        scores(words, texts, vectors), scores(words, texts, vectors[::-1])
    )
    by_specs = SpecTopics(specs, embedder).scores(texts, vectors)
    np.testing.assert_allclose(scores(Shares(0, 0, 1), texts, vectors), by_specs, atol=1e-5)
    scorer = topic_scorer(specs, embedder, EmbedderConfig())
    np.testing.assert_array_equal(scorer.scores(texts, vectors), pooled)


def test_labelled_rows_teach_a_scorer(specs: Specs, embedder: Embedder) -> None:
    """A collection that files all talk of bread under stress is taken at its word."""
    scorer = SpecTopics(specs, embedder)
    texts = [f"{BREAD} {word}" for word in ("Rye.", "Wheat.", "Spelt.", "Oats.")] * 40
    texts += [f"{SLEEP} {word}" for word in ("Again.", "Today.", "Still.", "Always.")] * 40
    labels = ["stress"] * 160 + ["addiction"] * 160
    taught = TaughtTopics(scorer, texts, embedder.embed(texts), labels)
    rule = LabelRule(least=0.0)
    asked = [BREAD + " Corn.", SLEEP + " Tonight."]
    vectors = embedder.embed(asked)
    before = labels_of(scorer.topics, scorer.scores(asked, vectors), rule)
    after = labels_of(taught.topics, taught.scores(asked, vectors), rule)
    assert before[1].topic == "sleep-improvement"
    assert [label.topic for label in after] == ["stress", "addiction"]


def test_the_embedder_config_decides_whether_vectors_are_kept(tmp_path: Path) -> None:
    from synth.vector_cache import cache_path

    assert cache_path(EmbedderConfig(name=str(tmp_path))) is None
    assert cache_path(EmbedderConfig()) == cache_path(EmbedderConfig(device="cpu"))
    assert cache_path(EmbedderConfig(name="org/name")) != cache_path(EmbedderConfig())
