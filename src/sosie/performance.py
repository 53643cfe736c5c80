"""Figures of the leaderboard that come from the reconstruction: resolutions, rates, ROCs, groups.

Each function gives a figure by name; those named floor compare halves A and B of the reference.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sosie.binnings import Binning, bin_events
from sosie.bootstrap import binned_resolution, carried
from sosie.detectors.base import Detector
from sosie.distances import MembersValue, members_value
from sosie.profiles import below
from sosie.rates import HIGH, LOW, Worst, worst
from sosie.roc_cells import Grid, auc_of, cell_words, classes_of, range_words
from sosie.rocs import STATISTICS

Array = np.ndarray[Any, Any]
Figure = dict[str, Any]
NOT_ESTIMATED = "not estimated"
MIN_CLASS = 100
"""Events of each class for which the AUC of a cell is judged."""
AUC_LIMIT, RATE_LIMIT = 0.005, 0.02
"""Changes of an AUC, and of a rate in shares of itself, that do not matter."""


def figure(
    value: float, statistical: float, systematic: float, events: Sequence[int] | Array
) -> Figure:
    """A number with its errors and its events of reference and generated sample.

    A systematic error that is not finite is 'not estimated'.
    """
    known = math.isfinite(systematic)
    return {
        "value": value,
        "statistical": statistical,
        "systematic": systematic if known else NOT_ESTIMATED,
        "events": [int(number) for number in events],
    }


def of_members(found: MembersValue, events: Sequence[int] | Array) -> Figure:
    """The value of the members of an ensemble as a figure."""
    return figure(found.value, found.statistical, found.systematic, events)


def resolution_figures(names: Sequence[str], high: Mapping[str, Array]) -> dict[str, Figure]:
    """Resolution of each reconstructed quantity over that of the reference, as reconstruct found it."""
    ratio = below("ratios", high)
    reference = np.isfinite(high["events/reference"]).sum(axis=0)
    generated = np.isfinite(high["events/members"]).sum(axis=1).min(axis=0)
    events = np.stack([reference, generated], axis=1)
    return _ratio_figures(names, ratio, events)


def _ratio_figures(
    names: Sequence[str], ratio: Mapping[str, Array], events: Array
) -> dict[str, Figure]:
    numbers = zip(ratio["mean"], ratio["statistical"], ratio["systematic"], strict=True)
    figures = {
        name: figure(float(value), float(statistical), float(systematic), both)
        for name, (value, statistical, systematic), both in zip(names, numbers, events, strict=True)
    }
    for name, raw in zip(names, ratio.get("systematic_raw", ()), strict=False):
        figures[name]["systematic_raw"] = float(raw)
    return figures


def floor_resolution(values: Array, weight: Array, binning: Binning, split: Array) -> Figure:
    """Resolution of half A over that of half B, mean over bins, as reconstruct has it for members.

    values and weight (N,), split (J, N) true in half A.
    """

    def widths(half: Array) -> Array:
        none = np.empty((0, int(half.sum())), np.float32)
        found = binned_resolution(
            values[half], weight[half], none, binning.index[half], len(binning.events)
        )
        return found.half68[0]

    return _floor_ratio(widths, values, split)


def _floor_ratio(measure: Callable[[Array], Array], values: Array, split: Array) -> Figure:
    """A number in bins (B,) of half A over that of half B, mean over bins."""

    def ratio(half: Array) -> float:
        above, under = measure(half), measure(~half)
        usable = np.isfinite(above) & (under > 0)
        return float(np.mean(above[usable] / under[usable])) if usable.any() else math.nan

    return of_members(members_value([[ratio(half) for half in split]]), _events(values, split))


def _events(values: Array, split: Array) -> list[int]:
    """The fewest events with a value (N,) of all splits, in half A and in half B."""
    defined = np.isfinite(values)
    return [min(int(defined[side].sum()) for side in sides) for sides in (split, ~split)]


def means(values: Array, weight: Array, index: Array, bins: int) -> Array:
    """Weighted means (B,) of values (N,) in bins (N,) or -1; NaN where the weights say nothing."""
    inside = (index >= 0) & np.isfinite(values)
    x, w, b = values[inside], weight[inside], index[inside]
    total, squares, whole = (np.bincount(b, n, minlength=bins) for n in (w, w * w, w * x))
    usable = carried(total, squares, np.bincount(b, minlength=bins))
    return np.where(usable, whole / np.where(usable, total, 1.0), np.nan)


def _worst_figure(
    found: Worst | None, limit: float, where: str, events: Sequence[int] | Array
) -> Figure:
    """The size of the worst deviation; its sign in ``difference``, its place in words, its limit."""
    if found is None:
        return {**figure(math.nan, math.nan, math.nan, events), "difference": math.nan, "where": ""}
    errors = found.statistical, found.systematic
    shown = figure(abs(found.difference), *errors, events)
    return {**shown, "difference": found.difference, "where": where, "limit": limit}


def rate_figures(
    detector: Detector, high: Mapping[str, Array], variables: Sequence[str]
) -> dict[str, Figure]:
    """Largest |ratio to the reference - 1| of each rate, of the bins in which the reference has 5-95 %."""
    figures = {}
    for p, name in enumerate(detector.rates):
        off, statistical, systematic = {}, {}, {}
        for variable in variables:
            rate = high[f"rates/{variable}/reference"][0, p]
            ratio = below(f"rate_ratios/{variable}", high)
            judged = (rate >= LOW) & (rate <= HIGH)
            # The difference is the reference less the mean; the paired error is that of the ratio.
            off[variable] = np.where(judged, ratio["mean"][0, p] - 1, np.nan)
            statistical[variable] = ratio["difference_error"][0, p]
            systematic[variable] = ratio["systematic"][0, p]
        found = worst(off, statistical, systematic, RATE_LIMIT)
        where = ""
        if found:
            edges, unit = high[f"rates/{found.part}/edges"], detector.variables[found.part].unit
            where = range_words(found.part, edges, found.bin, unit)
        asked = int(np.isfinite(high["events/rates"][:, p]).sum())
        figures[name] = _worst_figure(found, RATE_LIMIT, where, [asked, asked])
    return figures


def floor_rates(
    detector: Detector,
    high: Mapping[str, Array],
    variables: Mapping[str, Array],
    weight: Array,
    split: Array,
) -> dict[str, Figure]:
    """The same of half A to half B; ``variables`` (N,) are those that the rates are binned in."""
    binnings = [
        bin_events(name, values, high[f"rates/{name}/edges"].tolist())
        for name, values in variables.items()
    ]

    def largest(column: Array, half: Array, p: int) -> float:
        off = []
        for binning in binnings:
            rate = high[f"rates/{binning.variable}/reference"][0, p]
            one, two = (
                means(column[side], weight[side], binning.index[side], len(binning.events))
                for side in (half, ~half)
            )
            judged = (rate >= LOW) & (rate <= HIGH) & np.isfinite(one) & (two > 0)
            off.extend(np.abs(one[judged] / two[judged] - 1))
        return max(off, default=math.nan)

    return {
        name: of_members(
            members_value([[largest(column, half, p) for half in split]]), _events(column, split)
        )
        for p, (name, column) in enumerate(zip(detector.rates, high["events/rates"].T, strict=True))
    }


def roc_figures(detector: Detector, high: Mapping[str, Array]) -> dict[str, Figure]:
    """Largest |AUC - AUC of the reference| of each ROC, of the cells with MIN_CLASS events a class."""
    cells, edges = below("rocs/cells", high), _edges(detector, high)
    units = {name: detector.variables[name].unit for name in edges}
    area = STATISTICS.index("auc")
    figures = {}
    for c, name in enumerate(detector.rocs):
        events = high["rocs/events"][c]
        off = np.where(events.min(axis=0) >= MIN_CLASS, -cells["difference"][area, c], np.nan)
        error, s = (cells[part][area, c] for part in ("difference_error", "systematic"))
        found = worst({name: off}, {name: error}, {name: s}, AUC_LIMIT)
        place = found.bin if found else int(events.min(axis=0).argmax())
        where = cell_words(edges, place, units)
        figures[name] = _worst_figure(found, AUC_LIMIT, where, events[:, place])
    return figures


def floor_rocs(
    detector: Detector,
    high: Mapping[str, Array],
    conditions: Array,
    variables: Mapping[str, Array],
    weight: Array,
    split: Array,
) -> dict[str, Figure]:
    """The same between half A and half B."""
    grid = _grid(_edges(detector, high), variables)
    figures = {}
    for c, (name, roc) in enumerate(detector.rocs.items()):
        score, classes = high["events/scores"][:, c], classes_of(roc, conditions)
        events = high["rocs/events"][c].min(axis=0)
        judged = events >= MIN_CLASS
        values = []
        for half in split:
            one, two = (auc_of(score, classes, weight, side, grid) for side in (half, ~half))
            off = np.abs(one - two)[judged]
            values.append(float(np.nanmax(off)) if np.isfinite(off).any() else math.nan)
        least = int(events[judged].min()) // 2 if judged.any() else 0
        figures[name] = of_members(members_value([values]), [least, least])
    return figures


def _edges(detector: Detector, high: Mapping[str, Array]) -> dict[str, Array]:
    return {name: high[f"rocs/edges/{name}"] for name in detector.roc_grid}


def _grid(edges: Mapping[str, Array], variables: Mapping[str, Array]) -> Grid:
    index = np.zeros(len(next(iter(variables.values()))), np.int64)
    for name, limits in edges.items():
        place = bin_events(name, variables[name], limits.tolist()).index
        inside = (index >= 0) & (place >= 0)
        index = np.where(inside, index * (len(limits) - 1) + place, -1)
    return Grid(edges, index)


def group_figures(about: Mapping[str, Any], high: Mapping[str, Array]) -> dict[str, Any]:
    """Resolutions and rates of the groups over those of the reference, mean over bins."""
    results, rates = about["quantities"], about["rates"]
    size = np.full((max(len(results), len(rates)), 2), about["groups"])
    return {
        "group_resolution": _ratio_figures(
            results, below("groups/ratios", high), size[: len(results)]
        ),
        "group_rates": _ratio_figures(rates, below("groups/rate_ratios", high), size[: len(rates)]),
    }


def floor_groups(
    about: Mapping[str, Any], high: Mapping[str, Array], split: Array
) -> dict[str, Any]:
    """The same of half A over half B; split (J, N) of the events."""
    variable, halves = about["variables"][0], split[:, high["groups/first"]]
    values, weight = high["groups/events"], high["groups/weight"]
    edges, events = (high[f"groups/results/{variable}/{part}"] for part in ("edges", "events"))
    binning = Binning(variable, edges, high["groups/index"], edges[:-1], events)
    results, rates = about["quantities"], about["rates"]

    def floor_rate(column: Array) -> Figure:
        def measure(half: Array) -> Array:
            return means(column[half], weight[half], binning.index[half], len(events))

        return _floor_ratio(measure, column, halves)

    columns = values.T
    return {
        "group_resolution": {
            name: floor_resolution(column, weight, binning, halves)
            for name, column in zip(results, columns[: len(results)], strict=True)
        },
        "group_rates": {
            name: floor_rate(column)
            for name, column in zip(rates, columns[len(results) :], strict=True)
        },
    }
