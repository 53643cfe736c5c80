"""moments: first and second moments of the observables in bins of the conditions, with errors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sosie.arrays import write_arrays
from sosie.bootstrap import binned_moments
from sosie.detectors.base import Detector
from sosie.events import Events
from sosie.profiles import Binning, Twins, named, open_twins, tables
from sosie.progress import say

Array = np.ndarray[Any, Any]
KIND = "moments"
STATISTICS = ("mean", "std")
HISTOGRAM_BINS = 40


def observe(events: Events, detector: Detector, conditions: Array) -> Array:
    """The observables (N, O) of a sample, read in pieces."""
    values = np.empty((len(events), len(detector.observables)))
    for where, response in events.responses():
        found = detector.observe(response, conditions[where])
        values[where] = np.column_stack([found[name] for name in detector.observables])
    return values


def images(events: Events, weight: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of each cell (*shape), read in pieces."""
    total = np.zeros(events.shape)
    squares = np.zeros(events.shape)
    for where, response in events.responses():
        data = response.astype(np.float64)
        total += np.tensordot(weight[where], data, axes=1)
        squares += np.tensordot(weight[where], data**2, axes=1)
    mean = total / weight.sum()
    return mean, np.sqrt(np.maximum(squares / weight.sum() - mean**2, 0))


def histogram_edges(values: Array) -> Array:
    """Edges that hold the central 99 % of the reference, of whole numbers where it has few."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.linspace(0.0, 1.0, HISTOGRAM_BINS + 1)
    low, high = np.quantile(finite, [0.005, 0.995])
    distinct = np.unique(finite[(finite >= low) & (finite <= high)])
    if 1 < len(distinct) < HISTOGRAM_BINS:
        middle = (distinct[1:] + distinct[:-1]) / 2
        steps = np.diff(distinct)
        return np.array([distinct[0] - steps[0] / 2, *middle, distinct[-1] + steps[-1] / 2])
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, HISTOGRAM_BINS + 1)


def histograms(columns: Sequence[Array], weight: Array) -> dict[str, Array]:
    """Histograms of one observable: the first column (N,) is the reference, the others members."""
    edges = histogram_edges(columns[0])
    filled = [np.histogram(values, edges, weights=weight)[0] for values in columns]
    return {"edges": edges, "reference": filled[0], "members": np.stack(filled[1:])}


def all_images(twins: Twins) -> dict[str, Array]:
    """Mean and standard deviation of each cell: reference (*shape) and members (K, *shape)."""
    arrays = named(
        "reference", dict(zip(STATISTICS, images(twins.reference, twins.weight), strict=True))
    )
    each = [images(member, twins.weight) for member in twins.members]
    for statistic, members in zip(STATISTICS, zip(*each, strict=True), strict=True):
        arrays[f"members/{statistic}"] = np.stack(members)
    return arrays


def profile(
    twins: Twins, binning: Binning, reference: Array, members: Sequence[Array]
) -> dict[str, Array]:
    """Mean and standard deviation of observables (N, O) in bins, reference and members."""

    def table(values: Array) -> Array:
        found = binned_moments(
            values, twins.weight, twins.counts, binning.index, len(binning.events)
        )
        return np.stack([found.mean, found.std], axis=1)

    return tables(binning, table(reference), map(table, members))


def run(
    reference: str,
    generated: Sequence[str],
    out: str,
    *,
    seed: int,
    bins: Mapping[str, int | Sequence[float]],
    replicas: int,
) -> None:
    """Write profiles, histograms and mean images of the reference and its generated twins.

    Raises IntermediateError for tables that do not belong together.
    """
    with open_twins(reference, generated, seed, replicas) as twins:
        arrays: dict[str, Array] = {}
        names = list(twins.detector.observables)
        first, *others = (
            observe(sample, twins.detector, twins.conditions)
            for sample in (twins.reference, *twins.members)
        )
        for binning in twins.binnings(bins):
            arrays |= named(f"profiles/{binning.variable}", profile(twins, binning, first, others))
        for index, name in enumerate(names):
            columns = [values[:, index] for values in (first, *others)]
            arrays |= named(f"histograms/{name}", histograms(columns, twins.weight))
        arrays |= named("images", all_images(twins))
        undefined = {
            name: int(np.count_nonzero(~np.isfinite(first[:, index])))
            for index, name in enumerate(names)
        }
        about = {
            "detector": twins.detector.name,
            "statistics": STATISTICS,
            "quantities": names,
            "variables": list(bins),
            "members": len(others),
            "events": len(first),
            "undefined": undefined,
        }
        write_arrays(out, KIND, arrays, about)
    say(
        "moments",
        f"{out}: {len(names)} observables, {len(bins)} variables, {len(generated)} members",
    )
