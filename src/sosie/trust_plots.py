"""Figures of how far the errors of an ensemble can be trusted."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from scipy import stats

from sosie.bootstrap import CENTRAL
from sosie.detectors.base import Quantity
from sosie.panels import scale
from sosie.style import COLOURS, LINES, Array, Drawn, draw_band

MARKERS = ("o", "s", "^", "v", "D", "P")
FEWEST = 10
"""Events of a bin of the distance that is drawn."""
Entry = Mapping[str, Any]


def pull_figure(drawn: Sequence[tuple[str, Sequence[Drawn]]]) -> Figure:
    """Pulls of all bins, one row a step, one column a surrogate, against Student's t.

    Filled: with the calibrated spread, line: as the members spread; arrays 'pull' and 'pull_raw',
    the latter only where there is a calibration.
    """
    columns = max(len(parts) for _, parts in drawn)
    figure = Figure(figsize=(max(2.9 * columns, 5.0), 2.7 * len(drawn)), layout="constrained")
    grid = figure.subplots(len(drawn), columns, squeeze=False)
    edges, x = np.linspace(-8, 8, 33), np.linspace(-8, 8, 400)
    for row, (step, parts) in zip(grid, drawn, strict=True):
        for axes, one in zip(row, parts, strict=True):
            counts = {
                name: np.histogram(np.clip(one.arrays[name], -7.99, 7.99), edges)[0]
                for name in ("pull", "pull_raw")
                if name in one.arrays
            }
            axes.stairs(counts["pull"], edges, fill=True, color=one.colour, alpha=0.4)
            if "pull_raw" in counts:
                axes.stairs(counts["pull_raw"], edges, color=one.colour, lw=1.0)
            law = stats.t(one.members - 1) if one.members > 1 else stats.norm()
            axes.plot(x, law.pdf(x) * counts["pull"].sum() * 0.5, "k-", lw=1)
            expected = f"$t$, {one.members - 1} d.o.f." if one.members > 1 else "Gaussian"
            axes.set_title(f"{one.name}, {step}", fontsize=8)
            axes.text(0.03, 0.95, expected, transform=axes.transAxes, va="top", fontsize=7)
            axes.set_xlabel("pull, (sim. $-$ gen.) / error")
        row[0].set_ylabel("bins (beyond $\\pm$8 in the outer ones)")
    return figure


def methods_figure(rows: Sequence[tuple[str, Mapping[str, Entry]]]) -> Figure:
    """Coverage of each ensemble before and after the calibration, one panel a step.

    rows: name, and by step what compare judged: 'raw' and 'calibrated' with 'coverage' and its error.
    """
    steps = list(rows[0][1])
    figure = Figure(figsize=(4.2 * len(steps), 0.9 + 0.42 * len(rows)), layout="constrained")
    for axes, step in zip(
        figure.subplots(1, len(steps), squeeze=False, sharey=True)[0], steps, strict=True
    ):
        axes.axvline(CENTRAL, color="k", lw=0.8)
        for place, (_, found) in enumerate(rows):
            for kind, fill, shift in (("raw", "none", -0.12), ("calibrated", None, 0.12)):
                one = found[step][kind]
                if not one or one["coverage"] is None:
                    continue
                colour = COLOURS[place % len(COLOURS)]
                axes.errorbar(
                    one["coverage"], place + shift, xerr=one["coverage_error"], fmt="o", lw=1,
                    color=colour, mfc=fill or colour,
                )  # fmt: skip
        axes.set_xlim(0, 1)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.set_xlabel(f"coverage of $\\pm$1 $\\sigma$, {step}")
    return figure


def bands_figure(
    rows: Sequence[tuple[str, Quantity, Quantity, Sequence[Drawn]]],
) -> Figure:
    """Generated less simulated in bins, with the band as the members spread (dark) and calibrated.

    rows: statistic, quantity, variable, and surrogates with arrays (B,) of a profile.
    """
    columns = max(len(parts) for *_, parts in rows)
    figure = Figure(figsize=(max(2.9 * columns, 5.0), 2.7 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for line, (statistic, quantity, variable, parts) in zip(grid, rows, strict=True):
        for axes, one in zip(line, parts, strict=True):
            table = one.arrays
            off = -table["difference"]
            for name in ("systematic", "systematic_raw"):
                draw_band(axes, table["edges"], off - table[name], off + table[name], one.colour)
            axes.stairs(off, table["edges"], baseline=None, lw=1.3, color=one.colour)
            axes.errorbar(
                table["centre"], off, table["difference_error"], fmt="none", color="k", lw=0.9
            )
            axes.axhline(0.0, color="k", lw=0.8)
            axes.set_title(one.name, fontsize=8)
            axes.set_xlabel(variable.axis)
            scale(axes, variable, table["edges"])
        unit = f" [{quantity.unit}]" if quantity.unit else ""
        line[0].set_ylabel(f"{statistic} of {quantity.label},\ngen. $-$ sim.{unit}")
    return figure


def _line(axes: Axes, x: Array, y: Array, place: int, marker: int, **more: Any) -> None:
    axes.plot(x, y, color=COLOURS[place % len(COLOURS)], marker=MARKERS[marker % 6], **more)


def distance_figure(entries: Sequence[Entry], steps: Sequence[str]) -> Figure:
    """Coverage, and bias with band, against the distance to the training sample; a column a step.

    entries: what compare wrote of the trust of each ensemble. Colours are surrogates, markers samples.
    """
    figure = Figure(figsize=(4.4 * len(steps), 6.4), layout="constrained")
    grid = figure.subplots(2, len(steps), squeeze=False, sharex=True)
    samples = [name for name in entries[0]["samples"] if name != "calibration"]
    for column, step in enumerate(steps):
        top, bottom = grid[:, column]
        for place, entry in enumerate(entries):
            for marker, sample in enumerate(samples):
                found = entry["samples"][sample][step]["distance"]
                if not found:
                    continue
                number = np.array(found["events"])
                y = {
                    name: np.array([np.nan if v is None else v for v in found[name]])
                    for name in ("coverage", "coverage_error", "bias", "band")
                }
                y = {name: np.where(number >= FEWEST, v, np.nan) for name, v in y.items()}
                edges = np.array(found["edges"])
                x = (edges[1:] + edges[:-1]) / 2 + 0.015 * (place + 0.4 * marker)
                top.errorbar(
                    x, y["coverage"], y["coverage_error"], fmt=MARKERS[marker % 6], lw=0.9,
                    color=COLOURS[place % len(COLOURS)],
                )  # fmt: skip
                _line(bottom, x, y["bias"], place, marker, ls="-", lw=1.1)
                band = np.where(y["band"] > 0, y["band"], np.nan)
                _line(bottom, x, band, place, marker, ls="--", lw=1.1, mfc="none")
        top.axhline(CENTRAL, color="k", lw=0.8)
        top.set_ylim(-0.03, 1.03)
        bottom.set_yscale("log")
        for axes in (top, bottom):
            axes.axvspan(0, 1, color="0.94", lw=0, zorder=0)
        bottom.set_xlabel("distance $D$ to the training sample")
        top.set_title(step)
    grid[0, 0].set_ylabel("coverage of $\\pm$1 $\\sigma$")
    grid[1, 0].set_ylabel("|gen. $-$ sim.| and band / width")
    handles = [
        *(
            Line2D([], [], color=COLOURS[place % len(COLOURS)], label=entry["surrogate"])
            for place, entry in enumerate(entries)
        ),
        *(
            Line2D([], [], color="k", ls="", marker=MARKERS[marker % 6], label=sample)
            for marker, sample in enumerate(samples)
        ),
        Line2D([], [], color="k", ls="-", label="bias"),
        Line2D([], [], color="k", ls="--", label="band"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=min(len(handles), 5))
    return figure


def members_figure(entries: Sequence[Entry], steps: Sequence[str]) -> Figure:
    """Bias, spread and coverage of the first K members against K; a column a step."""
    figure = Figure(figsize=(4.4 * len(steps), 5.6), layout="constrained")
    grid = figure.subplots(2, len(steps), squeeze=False, sharex=True, sharey="row")
    for column, step in enumerate(steps):
        top, bottom = grid[:, column]
        for place, entry in enumerate(entries):
            rows = entry["first_members"][step]
            x = np.array([row["members"] for row in rows])
            for name, line in (("bias", "-"), ("spread", "--")):
                _line(top, x, np.array([row[name] for row in rows]), place, place, ls=line, lw=1.1)
            _line(bottom, x, np.array([row["coverage"] for row in rows]), place, place, lw=1.1)
        bottom.axhline(CENTRAL, color="k", lw=0.8)
        bottom.set_ylim(0, 1)
        bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
        bottom.set_xlabel("members")
        top.set_yscale("symlog", linthresh=0.1)
        top.set_ylim(0, None)
        top.set_title(step)
    grid[0, 0].set_ylabel("bias (—) and spread (- -) /\nstatistical error of the test sample")
    grid[1, 0].set_ylabel("coverage of $\\pm$1 $\\sigma$")
    handles = [
        Line2D([], [], color=COLOURS[p % 6], marker=MARKERS[p % 6], label=entry["surrogate"])
        for p, entry in enumerate(entries)
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=min(len(handles), 4))
    return figure


def size_figure(points: Sequence[tuple[float, Entry]], steps: Sequence[str]) -> Figure:
    """Bias, spread and coverage against the events that were learnt from, with the statistical
    limit of these events; points: number of events, and the trust of the ensemble."""
    figure = Figure(figsize=(4.4 * len(steps), 5.6), layout="constrained")
    grid = figure.subplots(2, len(steps), squeeze=False, sharex=True, sharey="row")
    x = np.array([events for events, _ in points])
    for column, step in enumerate(steps):
        top, bottom = grid[:, column]
        last = [entry["first_members"][step][-1] for _, entry in points]
        for number, name in enumerate(("bias", "spread")):
            top.plot(x, [row[name] for row in last], color=COLOURS[number], marker=MARKERS[number],
                     ls=LINES[number], label=name)  # fmt: skip
        test = points[0][1]["samples"]["test"]["events"]
        top.plot(x, np.sqrt(test / x), "k:", label="statistical error of the training sample")
        bottom.errorbar(
            x, [entry["samples"]["test"][step]["calibrated"]["coverage"] for _, entry in points],
            [entry["samples"]["test"][step]["calibrated"]["coverage_error"] for _, entry in points],
            fmt="ko", lw=0.9,
        )  # fmt: skip
        bottom.axhline(CENTRAL, color="k", lw=0.8)
        bottom.set_ylim(0, 1)
        for axes in (top, bottom):
            axes.set_xscale("log")
        bottom.set_xlabel("training events")
        top.set_title(step)
        top.legend()
    grid[0, 0].set_ylabel("error / statistical error\nof the test sample")
    grid[1, 0].set_ylabel("coverage of $\\pm$1 $\\sigma$")
    return figure


def repulsion_figure(points: Sequence[tuple[float, Entry]], steps: Sequence[str]) -> Figure:
    """Spread of repulsive ensembles against their final alpha; a line a step."""
    figure = Figure(figsize=(5.0, 3.0), layout="constrained")
    axes = figure.subplots()
    x = [alpha for alpha, _ in points]
    for number, step in enumerate(steps):
        y = [entry["first_members"][step][-1]["spread"] for _, entry in points]
        _line(axes, np.array(x), np.array(y), number, number, ls=LINES[number], label=step)
    axes.set_xlabel("final $\\alpha$")
    axes.set_ylabel("spread / statistical error\nof the test sample")
    axes.legend()
    return figure
