"""Identifiers found by Microsoft Presidio, with a spaCy model that the user brings.

With `model: blank` no model is needed: then only what has a form of its own is found (dates, phone
numbers, e-mail addresses, card numbers and the like), which the `pii` gate finds too. With a model
such as `en_core_web_lg` it also finds names and places that are in no list.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from pydantic import Field, model_validator

from synth.errors import ModelError
from synth.gates.base import Check, Draft, Finding, GateKind, Options, Scope, Severity

_BLANK = "blank"
_FROM_MODEL = ("PERSON", "LOCATION", "NRP")


class PresidioOptions(Options):
    """What to look for, and with which model.

    Attributes:
        model: name or folder of a spaCy pipeline; `blank` does without.
        entities: Presidio's names of what counts; all that the model can find when empty.
        score: Presidio's confidence from which a find counts, 0 to 1.
        severity: of what is found.
    """

    model: str = _BLANK
    entities: tuple[str, ...] = (
        "PERSON",
        "LOCATION",
        "PHONE_NUMBER",
        "EMAIL_ADDRESS",
        "URL",
        "IP_ADDRESS",
        "US_SSN",
        "CREDIT_CARD",
        "IBAN_CODE",
        "US_PASSPORT",
        "US_DRIVER_LICENSE",
        "MEDICAL_LICENSE",
    )
    score: float = Field(0.5, ge=0, le=1)
    severity: Severity = Severity.RED

    @model_validator(mode="after")
    def _is_installed(self) -> PresidioOptions:
        if find_spec("presidio_analyzer") is None:
            raise ValueError("presidio is not installed: run pip install 'evenfill[presidio]'")
        return self


def _analyzer(options: PresidioOptions) -> Any:
    import spacy
    import tldextract.tldextract as tldextract
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    # The e-mail recognizer would ask the network for a newer list of domain endings.
    tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=())

    class Loaded(SpacyNlpEngine):
        """A pipeline that is here already: Presidio's own engine would download one."""

        def __init__(self, pipeline: Any):
            super().__init__()
            self.nlp = {"en": pipeline}

    if options.model == _BLANK:
        return AnalyzerEngine(nlp_engine=Loaded(spacy.blank("en")), supported_languages=["en"])
    try:
        pipeline = spacy.load(options.model)
    except (OSError, ValueError) as error:
        raise ModelError(
            "gates.presidio.model",
            f"there is no spaCy model {options.model!r} here",
            f"Run `python -m spacy download {options.model}`, give its folder, or {_BLANK!r}",
        ) from error
    return AnalyzerEngine(nlp_engine=Loaded(pipeline), supported_languages=["en"])


def make(options: PresidioOptions) -> Check:
    """The check with these options; loads the model."""
    analyzer = _analyzer(options)
    known = set(analyzer.get_supported_entities("en"))
    wanted = set(options.entities or known)
    unknown = sorted(wanted - known - set(_FROM_MODEL))
    if unknown:
        raise ModelError(
            "gates.presidio.entities",
            f"Presidio knows no {unknown[0]!r}",
            f"Name some of {', '.join(sorted(known))}",
        )
    entities = sorted(wanted & known)

    def check(draft: Draft) -> Iterator[Finding]:
        found = analyzer.analyze(
            draft.text, language="en", entities=entities, score_threshold=options.score
        )
        for each in sorted(found, key=lambda result: (result.start, result.end)):
            rule = f"presidio_{each.entity_type.lower()}"
            yield Finding("presidio", rule, options.severity, draft.stage, each.start, each.end)

    return check


KIND = GateKind("presidio", 1, frozenset({Scope.QUESTION, Scope.ANSWER}), PresidioOptions, make)
