"""Figures of the steps: each function takes arrays and returns a figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sosie.detectors.base import Fit, Quantity
from sosie.style import COLOURS, REFERENCE, Array, Drawn, draw_band


def transform_figure(
    before: Mapping[str, Any], after: Mapping[str, Any], unit: str, kind: str
) -> Figure:
    """Filled cells before and after the transform, with skewness and excess kurtosis."""
    figure = Figure(figsize=(8.5, 3.0), layout="constrained")
    for axes, shape, label in zip(
        figure.subplots(1, 2),
        (before, after),
        (f"filled cell [{unit}]", f"filled cell after {kind.replace('_', '-')}"),
        strict=True,
    ):
        edges = np.asarray(shape["edges"])
        axes.stairs(shape["counts"], edges, color="k", fill=True, alpha=0.3)
        axes.stairs(shape["counts"], edges, color="k")
        axes.set_yscale("log")
        axes.set_ylim(0.5, 30 * max(shape["counts"]))
        axes.set_xlabel(label)
        axes.set_ylabel("cells / bin")
        text = f"skewness {shape['skewness']:.2f}\nexcess kurtosis {shape['kurtosis']:.2f}"
        axes.text(0.97, 0.95, text, transform=axes.transAxes, ha="right", va="top")
    return figure


def curves_figure(name: str, curves: Mapping[str, Array]) -> Figure:
    """Learning curves, one panel a column of the table."""
    shown = [column for column in curves if column != "epoch"]
    figure = Figure(figsize=(3.1 * len(shown), 2.8), layout="constrained")
    for axes, column in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        finite = np.isfinite(curves[column])
        axes.plot(curves["epoch"][finite], curves[column][finite], color=COLOURS[0])
        if column == "distance" and finite.any():
            best = np.flatnonzero(finite)[np.argmin(curves[column][finite])]
            axes.plot(
                curves["epoch"][best], curves[column][best], "o", color=COLOURS[1], label="kept"
            )
            axes.set_yscale("log")
            axes.legend()
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{column} ({name})")
    return figure


def pull_map(
    one: Drawn, names: Sequence[str], variables: Sequence[str], statistics: Sequence[str]
) -> Figure:
    """All pulls of a surrogate at a glance: one row a quantity, one column a bin."""
    figure = Figure(figsize=(10.5, 0.17 * len(names) + 1.6), layout="constrained")
    grid = figure.subplots(1, len(statistics), sharey=True)
    for axes, row in zip(np.atleast_1d(grid), range(len(statistics)), strict=True):
        parts = [one.arrays[f"{v}/pull"][row] for v in variables]
        drawing = axes.imshow(
            np.concatenate(parts, axis=1),
            cmap="PuOr",
            vmin=-5,
            vmax=5,
            aspect="auto",
            interpolation="nearest",
        )
        axes.set_facecolor("0.7")
        ends = np.cumsum([part.shape[1] for part in parts])
        for end in ends[:-1]:
            axes.axvline(end - 0.5, color="k", lw=0.8)
        axes.set_xticks(
            [e - p.shape[1] / 2 - 0.5 for e, p in zip(ends, parts, strict=True)], variables
        )
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.minorticks_off()
        axes.tick_params(length=0)
        axes.set_title(f"{one.name}: {statistics[row]}")
    figure.colorbar(
        drawing, ax=np.atleast_1d(grid).tolist(), label="pull", extend="both", shrink=0.8
    )
    return figure


def fit_figure(name: str, fit: Fit, axis: Quantity, column: int, drawn: Sequence[Drawn]) -> Figure:
    """Resolution in bins with the fitted curve of full simulation and surrogates."""
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axes = figure.subplots()
    first = drawn[0].arrays
    profile = {n.removeprefix("profile/"): a for n, a in first.items() if n.startswith("profile/")}
    x = np.geomspace(profile["edges"][0], profile["edges"][-1], 200)
    for one in drawn:
        axes.plot(x, fit.model(x, one.arrays["fit/mean"]), label=one.name, **one.style)
        mean, s = (one.arrays[f"profile/{n}"][1, column] for n in ("mean", "systematic"))
        axes.plot(profile["centre"], mean, "s", color=one.colour, mfc="white")
        if np.isfinite(s).any():
            draw_band(
                axes, profile["edges"], mean - s, mean + s, one.colour, f"{one.name} systematic"
            )
    axes.plot(x, fit.model(x, first["fit/reference"]), "k-", lw=0.8)
    axes.errorbar(
        profile["centre"], profile["reference"][1, column], profile["reference_error"][1, column],
        fmt="ko", lw=0.8, label=REFERENCE,
    )  # fmt: skip
    axes.set_xscale("log")
    axes.set_ylim(0, None)
    axes.set_xlabel(axis.axis)
    axes.set_ylabel(f"{name.replace('_', ' ')}, {fit.formula}")
    axes.legend()
    return figure


def distance_figure(
    labels: Mapping[str, str],
    axis: str,
    floor: Mapping[str, Any],
    surrogates: Mapping[str, Mapping[str, Any]],
) -> Figure:
    """A distance of each quantity, surrogates against the floor; ``axis`` says which distance."""
    names = list(labels)
    figure = Figure(figsize=(8.5, 0.19 * len(names) + 1.2), layout="constrained")
    axes = figure.subplots()
    y = np.arange(len(names))[::-1]

    def read(figures: Mapping[str, Any], entry: str) -> Array:
        return np.array(
            [figures[n][entry] if isinstance(figures[n][entry], float) else np.nan for n in names]
        )

    value, error = read(floor, "value"), read(floor, "statistical")
    axes.barh(y, value + error, height=1.0, color="0.85", label="floor (with its spread)")
    for place, (name, figures) in enumerate(surrogates.items()):
        axes.errorbar(
            read(figures, "value"), y + 0.2 * (place - (len(surrogates) - 1) / 2),
            xerr=read(figures, "statistical"), fmt="osD^v<"[place % 6], color=COLOURS[place % len(COLOURS)],
            lw=0.9, label=name,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yticks(y, [labels[name] for name in names], fontsize=7)
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.minorticks_off()
    axes.set_xlabel(axis)
    figure.legend(loc="outside upper right", ncols=1 + len(surrogates))
    return figure
