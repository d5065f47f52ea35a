"""Turn a run into what trainers read."""

from synth.export.export import Export, export
from synth.export.shapes import SHAPES

__all__ = ["SHAPES", "Export", "export"]
