"""Figures of rates and ROC curves."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sosie.detectors.base import Detector, Quantity
from sosie.panels import draw_profile, margins, scale
from sosie.rates import HIGH, LOW
from sosie.roc_cells import range_words
from sosie.rocs import STATISTICS
from sosie.style import Array, Drawn, draw_band, draw_legend

LEAST = 1e-4
"""The smallest mis-identification that is drawn."""


def rate_figure(
    quantity: Quantity,
    index: int,
    variables: Mapping[str, Quantity],
    rates: Sequence[Drawn],
    ratios: Sequence[Drawn],
) -> Figure:
    """A rate against each variable, and its ratio to the reference; arrays '<variable>/<array>'."""
    columns = len(variables)
    size = (max(3.1 * columns + 0.6, 6.0), 4.9)
    figure = Figure(figsize=size)
    grid = figure.subplots(
        2, columns, squeeze=False, sharex="col", sharey="row",
        gridspec_kw={"height_ratios": [1.6, 1]},
    )  # fmt: skip
    reach = 0.02
    for column, (variable, axis) in enumerate(variables.items()):
        top, bottom = grid[:, column]
        tables = [_of(one, variable) for one in rates]
        draw_profile(top, (0, index), tables[0].arrays, tables)
        edges, rate = (tables[0].arrays[n] for n in ("edges", "reference"))
        judged = (rate[0, index] >= LOW) & (rate[0, index] <= HIGH)
        for number, one in enumerate(_of(drawn, variable) for drawn in ratios):
            mean, error, s = (
                one.arrays[n][0, index] for n in ("mean", "difference_error", "systematic")
            )
            _ratio(bottom, edges, mean, error, s, one, number - (len(ratios) - 1) / 2)
            far = np.abs(mean - 1) + np.where(np.isfinite(error), error, 0)
            reach = max([reach, *far[judged & np.isfinite(mean)]])
        for place in np.flatnonzero(~judged):
            bottom.axvspan(edges[place], edges[place + 1], color="0.92", lw=0, zorder=0)
        bottom.axhline(1.0, color="k", lw=0.8)
        bottom.set_xlabel(axis.axis)
        scale(bottom, axis, edges)
    grid[0, 0].set_ylabel(quantity.axis)
    grid[1, 0].set_ylabel("gen. / sim.")
    reach = min(1.15 * reach, 1.0)
    grid[1, 0].set_ylim(1 - reach, 1 + reach)
    figure.align_ylabels(grid[:, 0])
    margins(figure, size, wspace=0.08, hspace=0.1)
    draw_legend(figure, rates)
    return figure


def _of(one: Drawn, variable: str) -> Drawn:
    start = f"{variable}/"
    found = {n.removeprefix(start): a for n, a in one.arrays.items() if n.startswith(start)}
    return replace(one, arrays=found)


def _ratio(
    axes: Axes, edges: Array, mean: Array, error: Array, s: Array, one: Drawn, shift: float
) -> None:
    axes.stairs(mean, edges, baseline=None, lw=1.3, **one.style)
    if np.isfinite(s).any():
        draw_band(axes, edges, mean - s, mean + s, one.colour)
    place = (edges[1:] + edges[:-1]) / 2 + shift * 0.12 * np.diff(edges)
    axes.errorbar(place, mean, error, fmt="none", color=one.colour, lw=0.9)


def roc_figure(
    detector: Detector, index: int, edges: Mapping[str, Array], drawn: Sequence[Drawn]
) -> Figure:
    """One ROC in all cells; the first variable of the grid runs upwards, the second to the right.

    The arrays of ``drawn`` are those below ``rocs``.
    """
    rows, columns = (len(one) - 1 for one in edges.values())
    size = (3.0 * columns + 0.8, 2.4 * rows + 1.2)
    figure = Figure(figsize=size)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    area = STATISTICS.index("auc")
    for cell in range(rows * columns):
        row, column = divmod(cell, columns)
        axes = grid[rows - 1 - row, column]
        axes.plot(*_positive(drawn[0].arrays["curves/reference"][index, cell]), "k-", lw=1.6)
        lines = [f"sim. AUC {drawn[0].arrays['cells/reference'][area, index, cell]:.4f}"]
        for one in drawn:
            members = one.arrays["curves/members"][:, index, cell]
            mean = members.mean(axis=0)
            axes.plot(*_positive(mean), lw=1.3, **one.style)
            if len(members) > 1:
                s = one.widen * members[:, 1].std(axis=0, ddof=1)
                low, high = np.maximum(mean[1] - s, LEAST), np.maximum(mean[1] + s, LEAST)
                axes.fill_between(mean[0], low, high, color=one.colour, alpha=0.25, lw=0)
            lines.append(f"{one.name} {one.arrays['cells/mean'][area, index, cell]:.4f}")
        axes.text(0.03, 0.97, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=6.5)
        words = [
            range_words(name, edges[name], place, detector.variables[name].unit)
            for name, place in zip(edges, (row, column), strict=True)
        ]
        axes.set_title("\n".join(words), fontsize=7)
    grid[0, 0].set_yscale("log")
    grid[0, 0].set_ylim(LEAST, 30)
    for axes in grid[-1]:
        axes.set_xlabel("efficiency for signal")
    for axes in grid[:, 0]:
        axes.set_ylabel("mis-identification")
    # Two lines of title stand above each row, the legend above all.
    margins(figure, size, top=0.8, wspace=0.06, hspace=0.3)
    draw_legend(figure, drawn)
    return figure


def _positive(curve: Array) -> tuple[Array, Array]:
    return curve[0], np.where(curve[1] >= LEAST, curve[1], np.nan)


def delta_auc_figure(detector: Detector, drawn: Sequence[Drawn]) -> Figure:
    """Differences of AUC and ratios of the rejection in every cell of every ROC, with their errors."""
    names = list(detector.rocs)
    figure = Figure(figsize=(3.4 * len(names) + 0.6, 5.0), layout="constrained")
    grid = figure.subplots(2, len(names), squeeze=False, sharex=True, sharey="row")
    for column, name in enumerate(names):
        for row, statistic in enumerate(STATISTICS):
            axes = grid[row, column]
            for number, one in enumerate(drawn):
                base, off, error, s = (
                    one.arrays[f"cells/{part}"][row, column]
                    for part in ("reference", "difference", "difference_error", "systematic")
                )
                off, shift = -off, 0.16 * (number - (len(drawn) - 1) / 2)
                if statistic == "rejection":
                    off, error, s = 1 + off / base, error / base, s / base
                place = np.arange(len(off)) + shift
                axes.errorbar(place, off, error, fmt="osD^v<"[number % 6], color=one.colour, lw=0.9)
                if np.isfinite(s).any():
                    whole = np.hypot(error, s)
                    axes.errorbar(
                        place, off, whole, fmt="none", color=one.colour, lw=2.5, alpha=0.3
                    )
            axes.axhline(1.0 if statistic == "rejection" else 0.0, color="k", lw=0.8)
        grid[0, column].set_title(detector.rocs[name].axis.label)
        cells = range(drawn[0].arrays["cells/reference"].shape[-1])
        grid[1, column].set_xticks(cells, [str(cell + 1) for cell in cells])
        grid[1, column].set_xlim(-0.7, len(cells) - 0.3)
        grid[1, column].set_xlabel(f"cell of ({', '.join(detector.roc_grid)})")
    grid[0, 0].set_ylabel("AUC, gen. $-$ sim.")
    grid[1, 0].set_ylabel("rejection at 90 %, gen. / sim.")
    grid[1, 0].set_ylim(0, 2)
    figure.legend(
        [_handle(one, number) for number, one in enumerate(drawn)],
        [one.name for one in drawn],
        loc="outside upper left",
        ncols=len(drawn),
    )
    return figure


def _handle(one: Drawn, number: int) -> Line2D:
    return Line2D([], [], color=one.colour, marker="osD^v<"[number % 6], lw=0.9)
