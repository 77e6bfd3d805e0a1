"""What of a figure leaves its picture: text that a file would cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvbench.jobs.figures.base import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text


def saved(make: Callable[[], Figure], folder: Path) -> Figure:
    """The figure as it was saved, all its texts at their places."""
    kept: list[Figure] = []

    def draw() -> Figure:
        kept.append(make())
        return kept[0]

    save_figure(draw, [{"a": 1}], folder / "x", ("png", "svg"))
    (figure,) = kept
    figure.draw_without_rendering()  # places of labels are those of the last resolution that was drawn
    return figure


def cut(figure: Figure) -> list[str]:
    """Texts that are not wholly in the picture."""
    found = []
    for text in _texts(figure):
        box = text.get_window_extent()
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1
        if text.get_text().strip() and text.get_visible() and not inside:
            found.append(text.get_text())
    return found


def _texts(figure: Any) -> Iterator[Text]:
    """All that are drawn: a tick beyond the ends of its axis has a label that never is."""
    yield from figure.texts
    for legend in figure.legends:
        yield from legend.get_texts()
    for part in figure.subfigs:
        yield from _texts(part)
    for axes in figure.axes if not figure.subfigs else ():
        yield from (axes.title, *axes.texts)
        if axes.get_legend() is not None:
            yield from axes.get_legend().get_texts()
        for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
            yield axis.label
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if low <= tick.get_loc() <= high:
                    yield from (tick.label1, tick.label2)
