"""Names written beside the points of a figure, so that none covers another."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

NEAR, FAR, STEP = 6.0, 150.0, 6.0
"""Distances of a name from its point, in points: the first, the last, and from one to the next."""
MARKER = 4.5
"""Half the size of a marker, in points."""


@dataclass(frozen=True)
class Label:
    """A name, its point (x, y), the ends of its error bars along x and y, and its colour."""

    name: str
    x: float
    y: float
    across: tuple[float, float]
    along: tuple[float, float]
    colour: str

    @property
    def bars(self) -> list[list[tuple[float, float]]]:
        """The ends of both bars, as points."""
        return [[(x, self.y) for x in self.across], [(self.x, y) for y in self.along]]


def _places() -> Iterator[tuple[float, float, float]]:
    """Distance and unit vector of the places of a name about its point, the best ones first."""
    eighths = (0, 1, 7, 4, 3, 5, 2, 6)
    for distance, eighth in product(np.arange(NEAR, FAR, STEP), eighths):
        angle = eighth * math.pi / 4
        yield float(distance), math.cos(angle), math.sin(angle)


def draw_labels(
    figure: Figure, axes: Axes, labels: Sequence[Label], lines: Sequence[float] = ()
) -> list[Bbox]:
    """Write each name where it is free, with a line to its point where that is not near.

    ``lines``: heights of lines across the axes that no name should cover. Limits and margins of
    the axes must be set before. Returns the boxes of the names, in pixels.
    """
    renderer = FigureCanvasAgg(figure).get_renderer()
    margin = MARKER * figure.dpi / 72
    frame = axes.get_window_extent(renderer)
    heights = [axes.transData.transform((label.x, y))[1] for label in labels[:1] for y in lines]
    taken = [Bbox([(frame.x0, height - 1), (frame.x1, height + 1)]) for height in heights]
    for label in labels:
        for room, ends in [(margin, [(label.x, label.y)] * 2), *((2.0, bar) for bar in label.bars)]:
            corners = axes.transData.transform(ends)
            taken.append(Bbox([corners[0] - room, corners[1] + room]))
    frame = frame.padded(-margin)
    written = []
    for label in labels:
        for distance, across, along in _places():
            text = axes.annotate(
                label.name, (label.x, label.y), (distance * across, distance * along),
                textcoords="offset points", fontsize=8, color=label.colour,
                ha="left" if across > 0.1 else "right" if across < -0.1 else "center",
                va="bottom" if along > 0.1 else "top" if along < -0.1 else "center",
            )  # fmt: skip
            box = text.get_window_extent(renderer)
            inside = (
                frame.x0 < box.x0 and frame.y0 < box.y0 and box.x1 < frame.x1 and box.y1 < frame.y1
            )
            if inside and not any(box.overlaps(other) for other in taken):
                break
            text.remove()
        else:
            # Nowhere is free: better one name over another than none.
            text = axes.annotate(label.name, (label.x, label.y), fontsize=8, color=label.colour)
            distance, box = 0.0, text.get_window_extent(renderer)
        if distance > NEAR:
            at = axes.transData.inverted().transform(
                [np.clip(axes.transData.transform((label.x, label.y)), box.min, box.max)]
            )[0]
            axes.plot([label.x, at[0]], [label.y, at[1]], lw=0.5, color=label.colour, zorder=1)
        taken.append(box)
        written.append(box)
    return written
