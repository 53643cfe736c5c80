"""Figures of responses that are vectors: means of their numbers, single events, the transform."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sosie.detectors.base import Detector
from sosie.style import COLOURS, LINES, REFERENCE, Array, Drawn, draw_legend

NAMED = 20
MARKERS = "osD^v<"


def component_names(detector: Detector) -> list[str]:
    """The numbers of a vector response by name: the centres of its only axis."""
    return [str(c) if isinstance(c, str) else f"{c:g}" for c in detector.centres[0].tolist()]


def _mark(axes: Axes, detector: Detector, label: bool = True) -> None:
    """Ticks at the numbers of the response, where there are few."""
    names = component_names(detector)
    if len(names) <= NAMED:
        axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.6, len(names) - 0.4)
    if label:
        axes.set_xlabel(detector.axes[0].axis)


def _unit(detector: Detector) -> str:
    return f" [{detector.unit}]" if detector.unit else ""


def component_figure(detector: Detector, drawn: Sequence[Drawn]) -> Figure:
    """Mean and standard deviation of each number of the response, and what surrogates differ by.

    The arrays of ``drawn`` are those of the images: reference (L,) and members (K, L).
    """
    figure = Figure(figsize=(9.0, 5.0), layout="constrained")
    grid = figure.subplots(
        2, 2, squeeze=False, sharex=True, gridspec_kw={"height_ratios": [1.6, 1]}
    )
    place = np.arange(detector.shape[0])
    for column, statistic in enumerate(("mean", "std")):
        top, bottom = grid[:, column]
        reference = drawn[0].arrays[f"reference/{statistic}"]
        top.plot(place, reference, "ko", ms=4)
        bottom.axhline(0.0, color="k", lw=0.8)
        for number, one in enumerate(drawn):
            members = one.arrays[f"members/{statistic}"]
            mean = members.mean(axis=0)
            spread = one.widen * members.std(axis=0, ddof=1) if len(members) > 1 else None
            aside = place + 0.14 * (number + 1 - (len(drawn) + 1) / 2)
            style: dict[str, Any] = {"fmt": MARKERS[number % 6], "color": one.colour, "lw": 0.9}
            top.errorbar(aside, mean, spread, **style)
            bottom.errorbar(aside, mean - reference, spread, **style)
        top.set_ylabel(f"{statistic} of the response{_unit(detector)}")
        bottom.set_ylabel(f"gen. $-$ sim.{_unit(detector)}")
        _mark(bottom, detector)
    draw_legend(figure, drawn, "outside upper left")
    return figure


def vector_events_figure(
    detector: Detector, titles: Sequence[str], samples: Mapping[str, Array]
) -> Figure:
    """Single events: one panel an event, its numbers in each of the samples (n, L)."""
    figure = Figure(figsize=(2.9 * len(titles), 3.2), layout="constrained")
    grid = figure.subplots(1, len(titles), squeeze=False, sharey=True)[0]
    for number, (axes, title) in enumerate(zip(grid, titles, strict=True)):
        for place, (name, sample) in enumerate(samples.items()):
            colour = "k" if name == REFERENCE else COLOURS[(place - 1) % len(COLOURS)]
            line = "-" if name == REFERENCE else LINES[(place - 1) % len(LINES)]
            values = sample[number]
            axes.plot(range(len(values)), values, color=colour, ls=line, marker="o", label=name)
        axes.set_title(title)
        _mark(axes, detector)
    grid[0].set_ylabel(f"response{_unit(detector)}")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=len(samples))
    return figure


def components_transform_figure(
    detector: Detector, components: Sequence[Mapping[str, Any]], kind: str
) -> Figure:
    """Each number of the response before and after the transform, with skewness and kurtosis."""
    shown = list(zip(component_names(detector), components, strict=True))[:NAMED]
    figure = Figure(figsize=(2.4 * len(shown), 4.4), layout="constrained")
    grid = figure.subplots(2, len(shown), squeeze=False)
    for column, (name, part) in enumerate(shown):
        for row, (entry, label) in enumerate(
            (("before", f"number {name}"), ("after", f"number {name}, transformed"))
        ):
            axes, shape = grid[row, column], part[entry]
            axes.stairs(
                shape["counts"], np.asarray(shape["edges"]), color="k", fill=True, alpha=0.3
            )
            axes.set_xlabel(label)
            axes.set_title(_shape_words(shape), fontsize=7)
    figure.suptitle(detector.axes[0].axis, fontsize=9)
    grid[0, 0].set_ylabel(f"response{_unit(detector)}: events / bin")
    grid[1, 0].set_ylabel(f"{kind.replace('_', '-')}: events / bin")
    return figure


def _shape_words(shape: Mapping[str, Any]) -> str:
    if shape["skewness"] is None or shape["kurtosis"] is None:
        return "no variance"
    return f"skewness {shape['skewness']:.2f}, exc. kurtosis {shape['kurtosis']:.2f}"
