"""Gates whose models the user brings: Detoxify and Presidio, and what they say without."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from synth.errors import ModelError
from synth.gates import Draft, Stage
from synth.gates.registry import GateChoice, Gates
from synth.models import BUILTIN, resolve_embedder

RELEASED = ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"]
TEXT = "You could rest a little today."


def gates(name: str, **options: object) -> Gates:
    return Gates([GateChoice(name=name, options=options)])


def rules(ready: Gates, stage: Stage, text: str) -> list[str]:
    return [finding.rule for finding in ready.findings(Draft(stage, text))]


@pytest.fixture(scope="module")
def model() -> BertForSequenceClassification:
    """A model of the right form that finds an insult in everything, and nothing else."""
    tokenizer = AutoTokenizer.from_pretrained(resolve_embedder(BUILTIN))
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, num_labels=6, id2label=dict(enumerate(RELEASED)),
    )  # fmt: skip
    made = BertForSequenceClassification(config)
    with torch.no_grad():
        made.classifier.weight.zero_()
        made.classifier.bias.copy_(torch.tensor([-5.0, -5.0, -5.0, -5.0, 5.0, -5.0]))
    return made


@pytest.fixture(scope="module")
def folder(model: BertForSequenceClassification, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toxic")
    model.save_pretrained(path)
    AutoTokenizer.from_pretrained(resolve_embedder(BUILTIN)).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def release(model: BertForSequenceClassification, folder: Path) -> Path:
    """The same model as Detoxify releases one."""
    path = folder / "toxic.ckpt"
    arch = {"num_classes": 6, "model_type": "bert-base-uncased"}
    config = {"dataset": {"args": {"classes": RELEASED}}, "arch": {"args": arch}}
    torch.save({"config": config, "state_dict": model.state_dict()}, path)
    return path


def test_detoxify_scores_the_counsellor_and_never_the_client(folder: Path) -> None:
    ready = gates("detoxify", checkpoint=str(folder))
    assert rules(ready, Stage.ANSWER, TEXT) == ["insult"]
    assert rules(ready, Stage.QUESTION, TEXT) == []
    others = gates("detoxify", checkpoint=str(folder), labels=["toxicity", "identity_attack"])
    assert rules(others, Stage.ANSWER, TEXT) == []


def test_a_released_checkpoint_is_read_with_its_base(folder: Path, release: Path) -> None:
    ready = gates("detoxify", checkpoint=str(release), base=str(folder))
    assert rules(ready, Stage.ANSWER, TEXT) == ["insult"]


def test_missing_weights_are_one_message(folder: Path, release: Path, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"detoxify: .*no weights at '/no/such'"):
        gates("detoxify", checkpoint="/no/such")
    with pytest.raises(ValidationError, match=r"detoxify\.checkpoint: Field required"):
        gates("detoxify")
    with pytest.raises(ValidationError, match="holds no tokenizer: give `base`"):
        gates("detoxify", checkpoint=str(release))
    with pytest.raises(ModelError, match="is no model that can be loaded"):
        gates("detoxify", checkpoint=str(tmp_path))
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match="is no model that can be loaded"):
        gates("detoxify", checkpoint=str(broken), base=str(folder))
    with pytest.raises(ModelError, match="'rude' is none of this model's"):
        gates("detoxify", checkpoint=str(folder), labels=["rude"])


def test_presidio_without_a_model_finds_what_has_a_form() -> None:
    ready = gates("presidio")
    text = "Write to ana@example.com, or come to 10.1.2.3."
    assert rules(ready, Stage.QUESTION, text) == [
        "presidio_email_address",
        "presidio_url",
        "presidio_ip_address",
    ]
    assert rules(ready, Stage.ANSWER, TEXT) == []


def test_presidio_uses_the_model_that_the_user_brings(tmp_path: Path) -> None:
    import spacy

    pipeline = spacy.blank("en")
    ruler = pipeline.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "PERSON", "pattern": "Quillon Vash"}])
    pipeline.to_disk(tmp_path / "pipeline")
    ready = gates("presidio", model=str(tmp_path / "pipeline"))
    text = "I told Quillon Vash about it."
    (finding,) = ready.findings(Draft(Stage.QUESTION, text))
    assert (finding.rule, text[finding.start : finding.end]) == ("presidio_person", "Quillon Vash")


def test_a_presidio_model_that_is_not_here_is_one_message() -> None:
    with pytest.raises(ModelError, match=r"no spaCy model 'en_no_such'.*spacy download en_no_such"):
        gates("presidio", model="en_no_such")
    with pytest.raises(ModelError, match="Presidio knows no 'SHOE_SIZE'"):
        gates("presidio", entities=["SHOE_SIZE"])
