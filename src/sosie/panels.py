"""Panels with ratios: profiles of a quantity in bins, and distributions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from sosie.detectors.base import Detector, Quantity
from sosie.style import Array, Drawn, draw_band, draw_legend


def draw_profile(
    axes: Axes, pick: tuple[int, int], reference: Mapping[str, Array], drawn: Sequence[Drawn]
) -> None:
    """Surrogates as lines with bands, the reference as points; ``pick`` is statistic and quantity."""
    edges, centre = reference["edges"], reference["centre"]
    for one in drawn:
        mean, s = one.arrays["mean"][pick], one.arrays["systematic"][pick]
        axes.stairs(mean, edges, baseline=None, lw=1.3, **one.style)
        if np.isfinite(s).any():
            draw_band(axes, edges, mean - s, mean + s, one.colour)
    half = [centre - edges[:-1], edges[1:] - centre]
    axes.errorbar(
        centre,
        reference["reference"][pick],
        reference["reference_error"][pick],
        half,
        fmt="ko",
        lw=0.8,
    )


def _deviation(
    axes: Axes,
    pick: tuple[int, int],
    reference: Mapping[str, Array],
    drawn: Sequence[Drawn],
    as_ratio: bool,
) -> None:
    edges, centre = reference["edges"], reference["centre"]
    base = np.where(reference["reference"][pick] == 0, np.nan, reference["reference"][pick])
    shift = (len(drawn) - 1) / 2
    for number, one in enumerate(drawn):
        # The error is that of the paired difference, in which the common conditions cancel.
        off, error = -one.arrays["difference"][pick], one.arrays["difference_error"][pick]
        s = one.arrays["systematic"][pick]
        if as_ratio:
            off, error, s = 1 + off / base, error / np.abs(base), s / np.abs(base)
        axes.stairs(off, edges, baseline=None, lw=1.3, **one.style)
        if np.isfinite(s).any():
            draw_band(axes, edges, off - s, off + s, one.colour)
        place = centre + (number - shift) * 0.12 * np.diff(edges)
        axes.errorbar(place, off, error, fmt="none", color=one.colour, lw=0.9)
    axes.axhline(1.0 if as_ratio else 0.0, color="k", lw=0.8)


def scale(axes: Axes, axis: Quantity, edges: Array) -> None:
    """Draw a variable from its first to its last edge, momenta on a logarithmic axis."""
    if axis.unit == "GeV" and edges[0] > 0:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(edges[0], edges[-1])


def profile_figure(
    quantity: Quantity,
    index: int,
    statistics: Sequence[str],
    variables: Mapping[str, Quantity],
    drawn: Sequence[Drawn],
) -> Figure:
    """Each statistic of one quantity against each variable, with a panel of ratio or difference.

    The arrays of ``drawn`` are those of the profiles, named '<variable>/<array>', (S, Q, B).
    """
    rows, columns = 2 * len(statistics), len(variables)
    # A single column leaves room for the legend of several surrogates.
    size = (max(3.1 * columns + 0.6, 6.0), 2.0 * rows + 0.9)
    figure = Figure(figsize=size)
    grid = figure.subplots(
        rows, columns, squeeze=False, sharex="col", sharey="row",
        gridspec_kw={"height_ratios": [1.6, 1] * len(statistics)},
    )  # fmt: skip
    for row, statistic in enumerate(statistics):
        tables = [
            {
                name: drawn[0].arrays[f"{v}/{name}"][row, index]
                for name in ("reference", "reference_error")
            }
            for v in variables
        ]
        as_ratio = all(
            np.all(t["reference"][np.isfinite(t["reference"])] > 0)
            and np.nanmin(t["reference"] / np.maximum(t["reference_error"], 1e-30), initial=np.inf)
            > 5
            for t in tables
        )
        unit = f" [{quantity.unit}]" if quantity.unit else ""
        for column, (variable, axis) in enumerate(variables.items()):
            top, bottom = grid[2 * row, column], grid[2 * row + 1, column]
            parts = [
                replace(d, arrays={
                    n.removeprefix(f"{variable}/"): a for n, a in d.arrays.items() if n.startswith(f"{variable}/")
                })
                for d in drawn
            ]  # fmt: skip
            pick = (row, index)
            draw_profile(top, pick, parts[0].arrays, parts)
            _deviation(bottom, pick, parts[0].arrays, parts, as_ratio)
            scale(bottom, axis, parts[0].arrays["edges"])
            if column == 0:
                top.set_ylabel(f"{statistic} of {quantity.label}{unit}")
                bottom.set_ylabel("gen. / sim." if as_ratio else f"gen. $-$ sim.{unit}")
            if row == len(statistics) - 1:
                bottom.set_xlabel(axis.axis)
    figure.align_ylabels(grid[:, 0])
    margins(figure, size, wspace=0.08, hspace=0.1)
    draw_legend(figure, drawn)
    return figure


def margins(figure: Figure, size: tuple[float, float], top: float = 0.4, **space: float) -> None:
    """Margins in inches, whatever the size: room for the labels, and for the legend on ``top``."""
    width, height = size
    figure.subplots_adjust(
        left=0.75 / width, right=1 - 0.1 / width, bottom=0.5 / height, top=1 - top / height, **space
    )


def histogram_figure(detector: Detector, names: Sequence[str], drawn: Sequence[Drawn]) -> Figure:
    """Distributions of observables with a ratio panel each; arrays '<observable>/<array>'."""
    columns = min(4, len(names))
    blocks = -(-len(names) // columns)
    size = (3.1 * columns + 0.6, 3.5 * blocks + 0.9)
    figure = Figure(figsize=size)
    outer = figure.add_gridspec(blocks, columns, wspace=0.25, hspace=0.25)
    margins(figure, size)
    for number, name in enumerate(names):
        inner = outer[number // columns, number % columns].subgridspec(
            2, 1, height_ratios=[1.8, 1], hspace=0.06
        )
        top, bottom = inner.subplots(sharex=True, squeeze=False)[:, 0]
        edges = drawn[0].arrays[f"{name}/edges"]
        reference = drawn[0].arrays[f"{name}/reference"].astype(float)
        error = drawn[0].arrays[f"{name}/reference_error"]
        base = np.where(reference > 0, reference, np.nan)
        for one in drawn:
            members = one.arrays[f"{name}/members"].astype(float)
            mean = members.mean(axis=0)
            top.stairs(mean, edges, lw=1.3, **one.style)
            bottom.stairs(mean / base, edges, baseline=None, lw=1.3, **one.style)
            if len(members) > 1:
                s = one.widen * members.std(axis=0, ddof=1)
                draw_band(top, edges, mean - s, mean + s, one.colour)
                draw_band(bottom, edges, (mean - s) / base, (mean + s) / base, one.colour)
        middle = (edges[1:] + edges[:-1]) / 2
        top.errorbar(middle, reference, error, fmt="ko", lw=0.6, ms=2)
        bottom.errorbar(middle, reference / base, error / base, fmt="k.", lw=0.6, ms=1)
        top.set_ylim(0, None)
        bottom.set_ylim(0, 2)
        top.set_xlim(edges[0], edges[-1])
        bottom.set_xlabel(detector.observables[name].axis)
        if number % columns == 0:
            top.set_ylabel("events / bin")
            bottom.set_ylabel("gen. / sim.")
    draw_legend(figure, drawn)
    return figure
