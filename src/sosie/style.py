"""The style of the figures: the field's, at the size of a page, readable in print and for the colour-blind."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import mplhep
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]
Place = Literal["upper left", "outside upper left"]
REFERENCE = "full simulation"
# Okabe and Ito's colours, told apart by the colour-blind; line styles tell them apart in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
SMALL = {
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "axes.linewidth": 0.8,
    "axes.formatter.limits": (-3, 6),
    "xtick.major.size": 4,
    "xtick.minor.size": 2,
    "ytick.major.size": 4,
    "ytick.minor.size": 2,
    "xaxis.labellocation": "right",
    "yaxis.labellocation": "top",
    # Minor ticks and layouts by solver cost most of the time of a page with so many panels.
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
    "svg.hashsalt": "sosie",
    "svg.fonttype": "path",
}


@dataclass(frozen=True)
class Drawn:
    """A surrogate's arrays under the name and the place in the colour list that it is drawn with.

    widen: what a standard deviation of its members is multiplied by to give the calibrated band.
    """

    name: str
    place: int
    members: int
    arrays: Mapping[str, Array]
    widen: float = 1.0

    @property
    def style(self) -> dict[str, Any]:
        """Colour and line."""
        return {"color": COLOURS[self.place % len(COLOURS)], "ls": LINES[self.place % len(LINES)]}

    @property
    def colour(self) -> str:
        """Colour alone."""
        return COLOURS[self.place % len(COLOURS)]


@contextmanager
def house_style() -> Iterator[None]:
    """The style of the field at the size of a page."""
    with mpl.rc_context():
        mplhep.style.use([mplhep.style.ATLAS, SMALL])
        yield


def to_svg(figure: Figure) -> str:
    """The figure as SVG text, the same bytes for the same figure."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None}, facecolor="white")
    return text.getvalue()


def draw_band(
    axes: Axes, edges: Array, low: Array, high: Array, colour: str, label: str | None = None
) -> None:
    axes.fill_between(
        edges, np.append(low, low[-1]), np.append(high, high[-1]), step="post", color=colour, alpha=0.25,
        lw=0, label=label,
    )  # fmt: skip


def draw_legend(figure: Figure, drawn: Sequence[Drawn], loc: Place = "upper left") -> None:
    handles: list[Any] = [mpl.lines.Line2D([], [], color="k", marker="o", lw=0.8, label=REFERENCE)]
    for one in drawn:
        handles.append(mpl.lines.Line2D([], [], label=one.name, **one.style))
        if one.members > 1:
            handles.append(
                mpl.patches.Patch(
                    color=one.colour, alpha=0.25, lw=0, label=f"{one.name} systematic"
                )
            )
    figure.legend(handles=handles, loc=loc, ncols=len(handles), borderaxespad=0.2)
