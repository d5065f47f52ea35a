"""Turn a run into what trainers read."""

from synth.export.exporting import export
from synth.export.how import Export, Exported
from synth.export.shapes import SHAPES

__all__ = ["SHAPES", "Export", "Exported", "export"]
