"""What many draws of each surrogate are worth, against the number drawn."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from sosie.files import read_json
from sosie.panels import margins
from sosie.shown import Shown
from sosie.style import REFERENCE, Drawn

SIZE = (8.5, 6.0)
COUNTS = {"distinct": "distinct responses", "effective": "effective number in fine bins"}
ERRORS = {
    "mean": "error of means in fine bins / width",
    "width": "relative error of widths in fine bins",
}


def _floats(columns: Mapping[str, Any], name: str) -> np.ndarray[Any, Any]:
    return np.array(columns.get(name, []), np.float64)


def _curve(axes: Axes, columns: Mapping[str, Any], name: str, **style: Any) -> None:
    """A column against the number drawn; an error that is 0 stands at the end of its error bar."""
    number, value = _floats(columns, "number"), _floats(columns, name)
    if name not in ERRORS:
        axes.plot(number, value, ms=3, **style)
        return
    error = np.nan_to_num(_floats(columns, f"{name}_error"))
    seen = np.where(value > 0, value, error)
    down = np.where(value > 0, np.minimum(error, 0.7 * seen), 0.0)
    # A line of dashes is for the curve, not for the bars.
    axes.plot(number, seen, ms=3, **style)
    axes.errorbar(number, seen, [down, error], fmt="none", lw=0.7, color=style["color"])


def repetition_figure(drawn: Sequence[Drawn], found: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Distinct responses, effective number, and errors of moments; ``found`` by surrogate, as written."""
    figure = Figure(figsize=SIZE)
    grid = figure.subplots(2, 2, sharex=True)
    floor = next(iter(found.values()))["floor"]
    most = [0.0]
    for axes, (name, label) in zip(grid.flat, (COUNTS | ERRORS).items(), strict=True):
        for one in drawn:
            columns = found[one.name]["drawn"]
            _curve(axes, columns, name, marker="o", **one.style)
            most += columns.get("number", [])
        _curve(axes, floor, name, marker="o", color="k", ls="none")
        _ideal(axes, name, [floor, *(found[one.name]["drawn"] for one in drawn)])
        axes.set_xscale("log")
        axes.set_yscale("log")
        if name in ERRORS:
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylabel(label)
        training = next(iter(found.values()))["training"]
        axes.axvline(training, color="0.7", lw=0.8, ls=":")
    for axes in grid[1]:
        axes.set_xlabel("number drawn")
    margins(figure, SIZE, wspace=0.3, hspace=0.08)
    handles = [
        *grid[0, 0].plot([], [], "ko", ms=3, label=f"{REFERENCE}, training sample"),
        *grid[0, 0].plot([], [], color="0.6", ls="-", lw=0.8, label="independent draws"),
    ]
    handles += [grid[0, 0].plot([], [], label=one.name, **one.style)[0] for one in drawn]
    columns = min(len(handles), 5)
    figure.legend(handles=handles, loc="upper left", ncols=columns, borderaxespad=0.2)
    if len(handles) > columns:
        rows = -(-len(handles) // columns)
        figure.subplots_adjust(top=1 - (0.25 + 0.18 * rows) / SIZE[1])
    return figure


def _ideal(axes: Axes, name: str, several: Sequence[Mapping[str, Any]]) -> None:
    """What independent draws of the right law give."""
    longest = max(several, key=lambda columns: max(columns.get("number", []), default=0))
    number = _floats(longest, "number")
    wanted = _floats(longest, f"{name}_independent") if name in ERRORS else number
    axes.plot(number, wanted, color="0.6", lw=0.8, zorder=0)


def repetition_figures(folder: Path, surrogates: Sequence[str]) -> Iterator[Shown]:
    """The figure of the page, none where nothing was drawn; raises IntermediateError."""
    found = {
        name: read_json(folder / f"compare/{name}/repetition.json", "compare", ["drawn", "floor"])
        for name in surrogates
    }
    drawn = [
        Drawn(name, place, 1, {})
        for place, name in enumerate(surrogates)
        if found[name]["drawn"].get("number")
    ]
    if drawn:
        one = found[drawn[0].name]
        yield Shown(
            "repetition",
            "What many draws are worth",
            f"Responses are drawn for the conditions of the training sample ({one['training']} events, dotted line), again and "
            "again. Above: how many of them differ, and how many independent ones the means in fine bins are worth. "
            f"Below: how far means and widths of the observables in {one['bins']} bins of all conditions lie from full simulation, "
            "the error of the test sample subtracted in quadrature. What keeps falling below the last black point adds to "
            "what the training sample itself knows; what levels off there repeats it, and what levels off above it is biased.",
            repetition_figure(drawn, found),
        )
