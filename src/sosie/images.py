"""Images of two-dimensional responses: means of cells, single events."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from sosie.detectors.base import Detector
from sosie.style import REFERENCE, Array, Drawn


def image_figure(detector: Detector, drawn: Sequence[Drawn]) -> Figure:
    """Mean and standard deviation of each cell: full simulation, and each surrogate over it."""
    figure = Figure(figsize=(3.4 * (1 + len(drawn)), 6.0), layout="constrained")
    grid = figure.subplots(2, 1 + len(drawn), squeeze=False)
    extent = _extent(detector)
    for row, statistic in enumerate(("mean", "std")):
        reference = drawn[0].arrays[f"reference/{statistic}"]
        shown = np.where(
            (reference != 0) if detector.signed else (reference > 0), reference, np.nan
        )
        drawing = grid[row, 0].imshow(
            shown.T,
            origin="lower",
            extent=extent,
            norm="linear" if detector.signed else "log",
            cmap="cividis",
            interpolation="nearest",
        )
        figure.colorbar(
            drawing, ax=grid[row, 0], label=f"{statistic} of cell [{detector.unit}]", shrink=0.85
        )
        grid[row, 0].set_title(REFERENCE)
        for column, one in enumerate(drawn, start=1):
            ratio = one.arrays[f"members/{statistic}"].mean(axis=0) / shown
            drawing = grid[row, column].imshow(
                ratio.T,
                origin="lower",
                extent=extent,
                vmin=0,
                vmax=2,
                cmap="PuOr",
                interpolation="nearest",
            )
            figure.colorbar(
                drawing, ax=grid[row, column], label=f"{statistic}, gen. / sim.", shrink=0.85
            )
            grid[row, column].set_title(f"{one.name} / {REFERENCE}")
    for axes in grid.ravel():
        axes.set_xlabel(detector.axes[0].axis)
        axes.set_ylabel(detector.axes[1].axis)
    return figure


def _extent(detector: Detector) -> tuple[float, float, float, float]:
    (x0, x1), (y0, y1) = (
        (c[0] - (c[1] - c[0]) / 2, c[-1] + (c[1] - c[0]) / 2) for c in detector.centres
    )
    return x0, x1, y0, y1


def _filled(response: Array) -> Array:
    return np.where(response > 0, response, np.nan)


def event_figure(detector: Detector, titles: Sequence[str], samples: Mapping[str, Array]) -> Figure:
    """Single events: one row a sample (n, *shape), one column an event."""
    count = len(titles)
    figure = Figure(figsize=(2.9 * count, 2.5 * len(samples) + 0.6), layout="constrained")
    grid = figure.subplots(len(samples), count, squeeze=False, sharex=True, sharey=True)
    for column in range(count):
        top = max(float(sample[column].max()) for sample in samples.values())
        norm: mpl.colors.Normalize = mpl.colors.LogNorm(max(top * 1e-4, 1e-3), max(top, 1e-2))
        if detector.signed:
            norm = mpl.colors.Normalize(
                min(float(sample[column].min()) for sample in samples.values()), top
            )
        for row, (name, sample) in enumerate(samples.items()):
            axes = grid[row, column]
            drawing = axes.imshow(
                (sample[column] if detector.signed else _filled(sample[column])).T,
                origin="lower",
                extent=_extent(detector),
                norm=norm,
                cmap="cividis",
                interpolation="nearest",
            )
            if row == 0:
                axes.set_title(titles[column])
            if column == 0:
                axes.set_ylabel(f"{name}\n{detector.axes[1].axis}")
            if row == len(samples) - 1:
                axes.set_xlabel(detector.axes[0].axis)
        label = f"cell [{detector.unit}]"
        figure.colorbar(drawing, ax=grid[:, column], label=label, location="bottom", aspect=30)
    return figure
