"""Topic specs: the shipped ones, and what a mistake in one of them says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from synth.errors import SpecError
from synth.specs import FACETS_FILE, Specs, load_specs
from tests.conftest import SPECS_DIR

NAMES_AND_WEIGHTS = {
    "Relationships": 184, "Anxiety": 115, "Depression": 99, "Intimacy": 95, "Family Conflict": 88,
    "Marriage": 67, "Social Relationships": 51, "Parenting": 50, "Self-esteem": 47,
    "Human Sexuality": 43, "Counseling Fundamentals": 42, "Trauma": 35, "Behavioral Change": 34,
    "Relationship Dissolution": 32, "Stress": 27, "LGBTQ": 26, "Substance Abuse": 24,
    "Anger Management": 21, "Addiction": 19, "Professional Ethics": 18, "Spirituality": 15,
    "Legal & Regulatory": 13, "Workplace Relationships": 12, "Sleep Improvement": 10,
    "Domestic Violence": 9, "Grief and Loss": 8, "Career Counseling": 8, "Diagnosis": 5,
    "Children & Adolescents": 5, "Military Issues": 5, "Self-harm": 5, "Eating Disorders": 4,
    "Alzheimer's": 1,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SPECS_DIR, tmp_path / "specs"))


def edit(path: Path, **changes: object) -> None:
    data = yaml.safe_load(path.read_text())
    data.update(changes)
    path.write_text(yaml.safe_dump(data))


def test_the_33_topics_carry_the_names_and_weights_of_the_taxonomy(specs: Specs) -> None:
    assert {t.name: t.weight for t in specs.topics.values()} == NAMES_AND_WEIGHTS


def test_every_topic_has_ten_different_situations(specs: Specs) -> None:
    everywhere = [s for topic in specs.topics.values() for s in topic.situations]
    assert len(everywhere) == len(set(everywhere))
    assert all(len(topic.situations) >= 10 for topic in specs.topics.values())


def test_a_crisis_is_expected_where_it_must_be(specs: Specs) -> None:
    assert specs.topics["self-harm"].risk == "expected"
    for topic in ("depression", "domestic-violence", "eating-disorders", "substance-abuse"):
        assert specs.topics[topic].risk != "low"


def test_every_topic_keeps_several_values_of_every_facet(specs: Specs) -> None:
    for topic in specs.topics:
        for facet in specs.facets:
            assert len(specs.values_for(topic, facet)) >= 3


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"wieght": 3}, ["'wieght'", "did you mean 'weight'"]),
        ({"weight": 0}, ["'weight' is 0", "greater than 0"]),
        ({"weight": -2}, ["'weight' is -2"]),
        ({"situations": []}, ["'situations' is []"]),
        ({"belongs": []}, ["'belongs' is []"]),
        ({"risk": "high"}, ["'risk' is 'high'", "'low', 'possible' or 'expected'"]),
        ({"neighbours": {"anxeity": "fear"}}, ["'anxeity'", "did you mean 'anxiety'"]),
        ({"without": {"voise": ["plain"]}}, ["'voise'", "did you mean 'voice'"]),
        ({"without": {"voice": ["plane"]}}, ["'plane'", "did you mean 'plain'"]),
        ({"id": "anxiety"}, ["'id' is 'anxiety'"]),
    ],
)
def test_a_mistake_names_the_file_and_the_field(
    folder: Path, changes: dict[str, object], parts: list[str]
) -> None:
    path = folder / "stress.yaml"
    edit(path, **changes)
    with pytest.raises(SpecError) as error:
        load_specs(folder)
    for part in [str(path), *parts]:
        assert part in str(error.value)


def test_a_missing_weight_is_named(folder: Path) -> None:
    path = folder / "stress.yaml"
    path.write_text("\n".join(x for x in path.read_text().splitlines() if "weight" not in x))
    with pytest.raises(SpecError, match=r"stress.yaml: 'weight' is missing"):
        load_specs(folder)


def test_two_files_with_one_id_are_refused(folder: Path) -> None:
    shutil.copy(folder / "stress.yaml", folder / "stress2.yaml")
    with pytest.raises(SpecError, match=r"stress2.yaml: 'id' is 'stress', as in .*stress.yaml"):
        load_specs(folder)


def test_a_key_given_twice_is_refused_instead_of_losing_one(folder: Path) -> None:
    path = folder / "stress.yaml"
    path.write_text(path.read_text() + "weight: 3\n")
    with pytest.raises(SpecError, match="'weight' is given twice"):
        load_specs(folder)


def test_broken_yaml_names_the_line(folder: Path) -> None:
    (folder / "stress.yaml").write_text("id: stress\nname: [unclosed\nweight: 1\n")
    with pytest.raises(SpecError, match=r"stress.yaml: not valid YAML in line 3"):
        load_specs(folder)


def test_a_file_that_is_not_text_is_one_message(folder: Path) -> None:
    (folder / "stress.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(SpecError, match=r"stress.yaml: cannot be read"):
        load_specs(folder)


def test_an_empty_folder_is_one_message(tmp_path: Path) -> None:
    shutil.copy(SPECS_DIR / FACETS_FILE, tmp_path)
    with pytest.raises(SpecError, match="holds no topic spec"):
        load_specs(tmp_path)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("voice: {}\n", "facet 'voice'"),
        (
            "voice: {a: plain words, b: other words}\n"
            "conflicts: [{value: voice.c, excludes: [voice.a]}]\n",
            "'voice.c'",
        ),
        ("", "holds no facet"),
        ("situation: {a: plain words, b: other words}\n", "named 'situation'"),
        ("2024: {a: plain words, b: other words}\n", "named 2024"),
    ],
)
def test_a_mistake_in_the_facets_is_named(folder: Path, text: str, part: str) -> None:
    (folder / FACETS_FILE).write_text(text)
    with pytest.raises(SpecError, match=r"facets.yaml") as error:
        load_specs(folder)
    assert part in str(error.value)


def test_the_digest_follows_the_content(folder: Path, specs: Specs) -> None:
    assert load_specs(folder).digest == specs.digest
    edit(folder / "stress.yaml", weight=28)
    assert load_specs(folder).digest != specs.digest
