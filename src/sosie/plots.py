"""Figures: each function takes arrays and returns a figure; ``to_svg`` is the one place that saves."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import mplhep
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from sosie.detectors.base import Detector, Fit, Quantity

Array = np.ndarray[Any, Any]
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
    "axes.unicode_minus": True,
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
    """A surrogate's arrays under the name and the place in the colour list that it is drawn with."""

    name: str
    place: int
    members: int
    arrays: Mapping[str, Array]

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
        mplhep.style.use(mplhep.style.ATLAS)
        mpl.rcParams.update(SMALL)
        yield


def to_svg(figure: Figure) -> str:
    """The figure as SVG text, the same bytes for the same figure."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None}, facecolor="white")
    return text.getvalue()


def _steps(
    axes: Axes, edges: Array, low: Array, high: Array, colour: str, label: str | None = None
) -> None:
    axes.fill_between(
        edges, np.append(low, low[-1]), np.append(high, high[-1]), step="post", color=colour, alpha=0.25,
        lw=0, label=label,
    )  # fmt: skip


def _profile(
    axes: Axes, pick: tuple[int, int], reference: Mapping[str, Array], drawn: Sequence[Drawn]
) -> None:
    edges, centre = reference["edges"], reference["centre"]
    for one in drawn:
        mean, s = one.arrays["mean"][pick], one.arrays["systematic"][pick]
        axes.stairs(mean, edges, baseline=None, lw=1.3, **one.style)
        if np.isfinite(s).any():
            _steps(axes, edges, mean - s, mean + s, one.colour)
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
            _steps(axes, edges, off - s, off + s, one.colour)
        place = centre + (number - shift) * 0.12 * np.diff(edges)
        axes.errorbar(place, off, error, fmt="none", color=one.colour, lw=0.9)
    axes.axhline(1.0 if as_ratio else 0.0, color="k", lw=0.8)


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
    size = (3.1 * columns + 0.6, 2.0 * rows + 0.9)
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
                Drawn(d.name, d.place, d.members, {
                    n.removeprefix(f"{variable}/"): a for n, a in d.arrays.items() if n.startswith(f"{variable}/")
                })
                for d in drawn
            ]  # fmt: skip
            pick = (row, index)
            _profile(top, pick, parts[0].arrays, parts)
            _deviation(bottom, pick, parts[0].arrays, parts, as_ratio)
            if variable == "momentum":
                bottom.set_xscale("log")
            if column == 0:
                top.set_ylabel(f"{statistic} of {quantity.label}{unit}")
                bottom.set_ylabel("gen. / sim." if as_ratio else f"gen. $-$ sim.{unit}")
            if row == len(statistics) - 1:
                bottom.set_xlabel(axis.axis)
    figure.align_ylabels(grid[:, 0])
    _margins(figure, size, wspace=0.08, hspace=0.1)
    _legend(figure, drawn)
    return figure


def _margins(figure: Figure, size: tuple[float, float], **space: float) -> None:
    """Margins in inches, whatever the size: room for the labels and the legend on top."""
    width, height = size
    figure.subplots_adjust(
        left=0.75 / width, right=1 - 0.1 / width, bottom=0.5 / height, top=1 - 0.4 / height, **space
    )


def _legend(figure: Figure, drawn: Sequence[Drawn]) -> None:
    handles: list[Any] = [mpl.lines.Line2D([], [], color="k", marker="o", lw=0.8, label=REFERENCE)]
    for one in drawn:
        handles.append(mpl.lines.Line2D([], [], label=one.name, **one.style))
        if one.members > 1:
            handles.append(
                mpl.patches.Patch(
                    color=one.colour, alpha=0.25, lw=0, label=f"{one.name} systematic"
                )
            )
    figure.legend(handles=handles, loc="upper left", ncols=len(handles), borderaxespad=0.2)


def histogram_figure(detector: Detector, names: Sequence[str], drawn: Sequence[Drawn]) -> Figure:
    """Distributions of observables with a ratio panel each; arrays '<observable>/<array>'."""
    columns = min(4, len(names))
    blocks = -(-len(names) // columns)
    size = (3.1 * columns + 0.6, 3.5 * blocks + 0.9)
    figure = Figure(figsize=size)
    outer = figure.add_gridspec(blocks, columns, wspace=0.25, hspace=0.25)
    _margins(figure, size)
    for number, name in enumerate(names):
        inner = outer[number // columns, number % columns].subgridspec(
            2, 1, height_ratios=[1.8, 1], hspace=0.06
        )
        top, bottom = inner.subplots(sharex=True)
        edges = drawn[0].arrays[f"{name}/edges"]
        reference = drawn[0].arrays[f"{name}/reference"].astype(float)
        error = np.sqrt(np.maximum(reference, 0))
        base = np.where(reference > 0, reference, np.nan)
        for one in drawn:
            members = one.arrays[f"{name}/members"].astype(float)
            mean = members.mean(axis=0)
            top.stairs(mean, edges, lw=1.3, **one.style)
            bottom.stairs(mean / base, edges, baseline=None, lw=1.3, **one.style)
            if len(members) > 1:
                s = members.std(axis=0, ddof=1)
                _steps(top, edges, mean - s, mean + s, one.colour)
                _steps(bottom, edges, (mean - s) / base, (mean + s) / base, one.colour)
        middle = (edges[1:] + edges[:-1]) / 2
        top.errorbar(middle, reference, error, fmt="ko", lw=0.6, ms=2)
        bottom.errorbar(middle, reference / base, error / base, fmt="k.", lw=0.6, ms=1)
        bottom.set_ylim(0, 2)
        top.set_xlim(edges[0], edges[-1])
        bottom.set_xlabel(detector.observables[name].axis)
        if number % columns == 0:
            top.set_ylabel("events / bin")
            bottom.set_ylabel("gen. / sim.")
    _legend(figure, drawn)
    return figure


def image_figure(detector: Detector, drawn: Sequence[Drawn]) -> Figure:
    """Mean and standard deviation of each cell: full simulation, and each surrogate over it."""
    figure = Figure(figsize=(3.4 * (1 + len(drawn)), 6.0), layout="constrained")
    grid = figure.subplots(2, 1 + len(drawn), squeeze=False)
    extent = _extent(detector)
    for row, statistic in enumerate(("mean", "std")):
        reference = drawn[0].arrays[f"reference/{statistic}"]
        shown = np.where(reference > 0, reference, np.nan)
        drawing = grid[row, 0].imshow(
            shown.T,
            origin="lower",
            extent=extent,
            norm="log",
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


def event_figure(detector: Detector, titles: Sequence[str], samples: Mapping[str, Array]) -> Figure:
    """Single events: one row a sample (n, *shape), one column an event."""
    count = len(titles)
    figure = Figure(figsize=(2.9 * count, 2.75 * len(samples)), layout="constrained")
    grid = figure.subplots(len(samples), count, squeeze=False, sharex=True, sharey=True)
    for column in range(count):
        top = max(float(sample[column].max()) for sample in samples.values())
        norm = mpl.colors.LogNorm(max(top * 1e-4, 1e-3), max(top, 1e-2))
        for row, (name, sample) in enumerate(samples.items()):
            axes = grid[row, column]
            shown = np.where(sample[column] > 0, sample[column], np.nan)
            drawing = axes.imshow(
                shown.T, origin="lower", extent=_extent(detector), norm=norm, cmap="cividis",
                interpolation="nearest",
            )  # fmt: skip
            if row == 0:
                axes.set_title(titles[column])
            if column == 0:
                axes.set_ylabel(f"{name}\n{detector.axes[1].axis}")
            if row == len(samples) - 1:
                axes.set_xlabel(detector.axes[0].axis)
        figure.colorbar(drawing, ax=grid[:, column], label=f"cell [{detector.unit}]", shrink=0.6)
    return figure


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
        axes.set_ylim(0.5, None)
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


def pull_figure(drawn: Sequence[Drawn], pulls: Mapping[str, Array]) -> Figure:
    """Pulls of all bins of each surrogate against Student's t with K - 1 degrees of freedom."""
    figure = Figure(figsize=(3.6 * len(drawn), 2.9), layout="constrained")
    edges = np.linspace(-8, 8, 33)
    x = np.linspace(-8, 8, 400)
    for axes, one in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True):
        values = pulls[one.name]
        axes.stairs(np.histogram(np.clip(values, -7.99, 7.99), edges)[0], edges, fill=True,
                    color=one.colour, alpha=0.4, label=one.name)  # fmt: skip
        law = stats.t(one.members - 1) if one.members > 1 else stats.norm()
        expected = f"Student's t, {one.members - 1} d.o.f." if one.members > 1 else "Gaussian"
        axes.plot(x, law.pdf(x) * len(values) * 0.5, "k-", lw=1, label=expected)
        axes.set_xlabel("pull, (sim. $-$ gen.) / error")
        axes.set_ylabel("bins (beyond $\\pm$8 in the outer ones)")
        axes.legend(loc="upper left")
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
            _steps(axes, profile["edges"], mean - s, mean + s, one.colour, f"{one.name} systematic")
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
    labels: Mapping[str, str], floor: Mapping[str, Any], surrogates: Mapping[str, Mapping[str, Any]]
) -> Figure:
    """W1 of each observable in reference standard deviations, surrogates against the floor."""
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
    axes.set_xlabel("Wasserstein-1 distance / standard deviation of full simulation")
    axes.legend(loc="upper right")
    return figure
