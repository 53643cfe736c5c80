"""moments: first and second moments of the observables in bins of the conditions, with errors.

Reference and members are read side by side and once, in pieces: memory does not grow with events.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sosie.arrays import open_arrays, write_arrays
from sosie.binnings import Binning
from sosie.bootstrap import BinnedMoments, Draws, in_bins
from sosie.detectors.base import Detector
from sosie.errors import InputError, IntermediateError
from sosie.events import SLAB, Events
from sosie.profiles import Twins, named, open_twins, tables
from sosie.progress import say

Array = np.ndarray[Any, Any]
KIND = "moments"
STATISTICS = ("mean", "std")
HISTOGRAM_BINS = 40
EDGE_EVENTS = 10_000
"""Events of the reference, at most, from which the edges of the histograms are taken."""
SLABS = 1
"""Slabs of events in memory at a time. The results depend on it by rounding, so it is no setting."""


def observe(events: Events, detector: Detector, conditions: Array) -> Array:
    """The observables (N, O) of a sample, read in pieces."""
    values = np.empty((len(events), len(detector.observables)))
    for where, response in events.responses():
        values[where] = _columns(detector, response, conditions[where])
    return values


def _columns(detector: Detector, response: Array, conditions: Array) -> Array:
    found = detector.observe(response, conditions)
    return np.column_stack([found[name] for name in detector.observables])


@dataclass(frozen=True)
class Results:
    """What the reconstruction found for each event: Q quantities of the reference (N, Q) and of
    the members (K, N, Q), arrays or datasets, and how those are labelled that the detector does not
    know."""

    names: Sequence[str] = ()
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    reference: Any = None
    members: Any = None

    def of(self, sample: int, where: slice) -> Array:
        """The values (n, Q) of some events: sample 0 is the reference, 1 the first member."""
        if self.reference is None or self.members is None:
            return np.empty((where.stop - where.start, 0))
        found: Array = self.reference[where] if sample == 0 else self.members[sample - 1, where]
        return found


@contextmanager
def open_results(path: str | None, twins: Twins) -> Iterator[Results]:
    """The results per event that reconstruct wrote for these samples, none without a path.

    Raises IntermediateError for a file of others, InputError where a result is named as an observable.
    """
    if path is None:
        yield Results()
        return
    with open_arrays(path, "reconstruct", "reconstruct") as (arrays, about):
        yield _results_of(path, arrays, about, twins)


def _results_of(
    path: str, arrays: Mapping[str, Any], about: Mapping[str, Any], twins: Twins
) -> Results:
    names = about.get("quantities", [])
    events, members = len(twins.reference), len(twins.members)
    reference, others = arrays.get("events/reference"), arrays.get("events/members")
    if (
        about.get("detector") != twins.detector.name
        or reference is None
        or others is None
        or reference.shape != (events, len(names))
        or others.shape != (members, events, len(names))
    ):
        raise IntermediateError(
            f"{path}: was not made for the {events} events of {twins.reference.path} and "
            f"{members} members; run reconstruct again"
        )
    if twice := [name for name in names if name in twins.detector.observables]:
        raise InputError(
            f"{path}: '{twice[0]}' is the name of an observable too; rename it in reconstruct.results"
        )
    return Results(names, about.get("labels", {}), reference, others)


class Images:
    """Mean and standard deviation of each cell, from sums filled piece by piece."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._weight = 0.0
        self._total, self._squares = np.zeros(shape), np.zeros(shape)

    def add(self, response: Array, weight: Array) -> None:
        """Add responses (n, *shape) with their weights (n,)."""
        data = response.astype(np.float64)
        self._weight += weight.sum()
        self._total += np.tensordot(weight, data, axes=1)
        self._squares += np.tensordot(weight, np.square(data, out=data), axes=1)

    def result(self) -> dict[str, Array]:
        """Mean and standard deviation (*shape) so far; NaN where the weights sum to nothing positive."""
        if not self._weight > 0:
            none = np.full(self._total.shape, np.nan)
            return dict.fromkeys(STATISTICS, none)
        mean = self._total / self._weight
        variance = self._squares / self._weight - mean**2
        return dict(zip(STATISTICS, (mean, np.sqrt(np.maximum(variance, 0))), strict=True))


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


def all_edges(twins: Twins, results: Results) -> list[Array]:
    """Edges of the histogram of each quantity, from every n-th event of the reference."""
    step = -(-len(twins.reference) // EDGE_EVENTS)
    found = []
    for where, response in twins.reference.responses(SLABS):
        chosen = slice(-where.start % step, None, step)
        if len(some := response[chosen]):
            conditions = twins.some(where).conditions[chosen]
            own = _columns(twins.detector, some, conditions)
            found.append(np.column_stack([own, results.of(0, where)[chosen]]))
    return [histogram_edges(column) for column in np.concatenate(found).T]


class Sums:
    """All that moments keeps of one sample, filled piece by piece."""

    def __init__(self, shape: tuple[int, ...], binnings: Sequence[Binning], edges: Sequence[Array]):
        self.profiles = [BinnedMoments(len(binning.events)) for binning in binnings]
        self.histograms = [np.zeros(len(e) - 1) for e in edges]
        self.squares = [np.zeros(len(e) - 1) for e in edges]
        self.undefined = np.zeros(len(edges), dtype=np.int64)
        self.images = Images(shape)
        self._edges = edges

    def add(self, response: Array, values: Array, weight: Array, draws: Sequence[Draws]) -> None:
        """Add responses (n, *shape) and their quantities (n, Q); the draws are of each binning."""
        for profile, drawn in zip(self.profiles, draws, strict=True):
            profile.add(values, drawn)
        parts = zip(self.histograms, self.squares, self._edges, values.T, strict=True)
        for total, squares, edges, column in parts:
            total += np.histogram(column, edges, weights=weight)[0]
            squares += np.histogram(column, edges, weights=weight * weight)[0]
        self.undefined += (~np.isfinite(values)).sum(axis=0)
        self.images.add(response, weight)

    def table(self, variable: int) -> Array:
        """Mean and standard deviation (R+1, 2, Q, B) in bins of a variable."""
        found = self.profiles[variable].result()
        return np.stack([found.mean, found.std], axis=1)


def accumulate(
    twins: Twins, binnings: Sequence[Binning], edges: Sequence[Array], results: Results
) -> list[Sums]:
    """The sums of the reference and of each member."""
    samples = (twins.reference, *twins.members)
    sums = [Sums(twins.reference.shape, binnings, edges) for _ in samples]
    readers = [sample.responses(SLABS) for sample in samples]
    for start in range(0, len(twins.reference), SLABS * SLAB):
        where = slice(start, min(start + SLABS * SLAB, len(twins.reference)))
        some = twins.some(where)
        counts, values_of = twins.counts_of(some.groups), twins.variables(some)
        # The counts, and what they make of the weights, are the same for all samples.
        draws = [
            in_bins(some.weight, counts, b.index_of(values_of[b.variable]), len(b.events))
            for b in binnings
        ]
        for number, (reader, total) in enumerate(zip(readers, sums, strict=True)):
            _, response = next(reader)
            own = _columns(twins.detector, response, some.conditions)
            values = np.column_stack([own, results.of(number, where)])
            total.add(response, values, some.weight, draws)
    return sums


def _named_arrays(
    sums: Sequence[Sums], binnings: Sequence[Binning], names: Sequence[str], edges: Sequence[Array]
) -> Iterator[dict[str, Array]]:
    """All arrays of the file, part by part."""
    first, *others = sums
    for number, binning in enumerate(binnings):
        found = tables(binning, first.table(number), (one.table(number) for one in others))
        yield named(f"profiles/{binning.variable}", found)
    for index, name in enumerate(names):
        members = np.stack([one.histograms[index] for one in others])
        filled = {
            "edges": edges[index],
            "reference": first.histograms[index],
            "reference_error": np.sqrt(first.squares[index]),
            "members": members,
        }
        yield named(f"histograms/{name}", filled)
    each = [one.images.result() for one in others]
    yield named("images/reference", first.images.result())
    yield named("images/members", {s: np.stack([one[s] for one in each]) for s in STATISTICS})


def run(
    reference: str,
    generated: Sequence[str],
    out: str,
    *,
    reconstruct: str | None = None,
    seed: int,
    bins: Mapping[str, int | Sequence[float]],
    replicas: int,
) -> None:
    """Write profiles, histograms and mean images of the reference and its generated twins.

    ``reconstruct``: file of that step for the same samples; its results per event follow the
    observables. Raises IntermediateError for tables that do not belong together, InputError for more
    bins than the events can carry.
    """
    with (
        open_twins(reference, generated, seed, replicas) as twins,
        open_results(reconstruct, twins) as results,
    ):
        names = [*twins.detector.observables, *results.names]
        binnings = twins.binnings(bins, KIND)
        edges = all_edges(twins, results)
        sums = accumulate(twins, binnings, edges, results)
        about = {
            "detector": twins.detector.name,
            "statistics": STATISTICS,
            "quantities": names,
            "labels": results.labels,
            "variables": list(bins),
            "members": len(generated),
            "events": len(twins.reference),
            "zones": twins.zones,
            "undefined": dict(zip(names, sums[0].undefined.tolist(), strict=True)),
            "left_empty": {b.variable: b.left_empty for b in binnings},
        }
    arrays: dict[str, Array] = {}
    for part in _named_arrays(sums, binnings, names, edges):
        arrays |= part
    write_arrays(out, KIND, arrays, about)
    say(
        KIND,
        f"{out}: {len(names)} observables, {len(bins)} variables, {len(generated)} members",
    )
