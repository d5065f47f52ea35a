"""A picture of a dataset's coverage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from synth.errors import StoreError
from synth.gaps.report import Gaps
from synth.specs import TopicSpec

_ENDINGS = (".png", ".svg", ".pdf")
_HAVE, _LACK, _OVER = "#3b6ea5", "#e08a2e", "#a9c1da"


def check_picture(path: Path) -> None:
    """Refuse a picture that could not be written, before the work.

    Raises:
        StoreError: its ending names no format, or there is no such folder.
    """
    if path.suffix not in _ENDINGS:
        what = f"ends in {path.suffix!r}" if path.suffix else "has no ending"
        raise StoreError(str(path), what, f"Name a file in {', '.join(_ENDINGS)}")
    if not path.absolute().parent.is_dir():
        raise StoreError(str(path), "lies in no folder that exists", "Make the folder first")


def draw(gaps: Gaps, specs: Mapping[str, TopicSpec], path: Path, title: str) -> None:
    """Bars of what each topic holds, what it lacks and what is above its target.

    Args:
        gaps: what to draw.
        specs: for the topics' names.
        path: of the picture; its ending chooses the format (png, svg or pdf).
        title: above it.

    Raises:
        StoreError: the picture cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    topics = list(gaps.topics.items())
    figure = Figure(figsize=(8, 0.24 * len(topics) + 1.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    rows = range(len(topics))
    within = [min(gap.existing, gap.target) for _, gap in topics]
    axes.barh(rows, within, color=_HAVE, label="there")
    axes.barh(rows, [g.deficit for _, g in topics], left=within, color=_LACK, label="missing")
    over = [max(0, gap.existing - gap.target) for _, gap in topics]
    axes.barh(rows, over, left=within, color=_OVER, label="above the target")
    for row, (_, gap) in enumerate(topics):
        note = f" {gap.existing} of {gap.target}"
        axes.text(max(gap.existing, gap.target), row, note, va="center", fontsize=7)
    axes.set_yticks(list(rows), [specs[topic].name for topic, _ in topics], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12, y=0.01)
    axes.set_xlabel("rows")
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8, loc="lower right")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:
        what = f"cannot be written ({error})"
        raise StoreError(str(path), what, "Name a .png, .svg or .pdf file") from error
