"""Read datasets that exist: their form found by content, their rows one after another."""

from synth.sources.open import Source, open_source
from synth.sources.rows import Malformed, OnBad, Row, SourceError

__all__ = ["Malformed", "OnBad", "Row", "Source", "SourceError", "open_source"]
