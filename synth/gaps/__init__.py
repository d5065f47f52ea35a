"""What a dataset that exists holds, and what it lacks."""

from synth.gaps.report import Gaps, gaps_of
from synth.gaps.survey import Survey, Surveyor

__all__ = ["Gaps", "Survey", "Surveyor", "gaps_of"]
