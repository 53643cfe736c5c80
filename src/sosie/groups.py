"""Groups of events, as the pad rows of a track: what the reconstruction makes of each, in bins."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sosie.binnings import MIN_EVENTS, Binning, bin_events
from sosie.bootstrap import binned_moments, binned_resolution, counts
from sosie.detectors.base import Groups
from sosie.ensembles import spread
from sosie.events import Events
from sosie.profiles import Twins, named, spread_arrays, tables
from sosie.progress import track, warn
from sosie.streams import key

Array = np.ndarray[Any, Any]
BINS = 5
"""Equally filled bins of each variable of the groups; fewer where there are too few groups."""
TRUTH = "truth_"
STATISTICS = ("bias", "resolution")
RATES = ("mean",)


@dataclass(frozen=True)
class Sample:
    """The groups of a sample: index (N,) of each event into them in order of appearance, first
    event (G,), columns of identity (N,) and true numbers (G,) by name."""

    index: Array
    first: Array
    identity: dict[str, Array]
    truth: dict[str, Array]

    def __len__(self) -> int:
        return len(self.first)


def index_of(groups: Array) -> tuple[Array, Array]:
    """Index (N,) of the group of each event in order of appearance, and first event (G,) of each."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    return rank[inverse], np.sort(first)


def missing(events: Events, groups: Groups) -> list[str]:
    """The true numbers of a group that the events of a sample do not carry."""
    return [name for name in groups.truth if f"{TRUTH}{name}" not in events.aux]


def sample_of(events: Events, groups: Groups) -> Sample:
    """The groups of a sample whose events carry the truth."""
    index, first = index_of(events.column("group_id"))
    identity = {
        name: events.column(f"aux/{name}") for name in events.aux if not name.startswith(TRUTH)
    }
    truth = {name: events.column(f"aux/{TRUTH}{name}")[first] for name in groups.truth}
    return Sample(index, first, identity, truth)


def responses(events: Events) -> Array:
    """All responses (N, *shape) of a sample: a group may have its events anywhere."""
    whole = np.empty((len(events), *events.shape), np.float32)
    for where, response in events.responses():
        whole[where] = response
    return whole


def reconstruct(
    twins: Twins, groups: Groups, sample: Sample, calibration: dict[str, Any]
) -> list[Array]:
    """Results, then rates (G, Q + P) of the groups of the reference and of each member."""
    found = []
    samples = (twins.reference, *twins.members)
    for events in track(samples, "groups", len(samples)):
        values = groups.reconstruct(
            responses(events),
            twins.conditions,
            sample.index,
            sample.identity,
            sample.truth,
            calibration,
        )
        found.append(np.column_stack([values[n] for n in (*groups.results, *groups.rates)]))
    return found


def _statistics(
    values: Array, results: int, weight: Array, replicated: Array, binning: Binning
) -> tuple[Array, Array]:
    """Bias and resolution (R+1, 2, Q, B) and means of the rates (R+1, 1, P, B) of (G, Q + P)."""
    bins, index = len(binning.events), binning.index
    spreads = np.empty((len(replicated) + 1, 2, results, bins))
    for q, column in enumerate(values.T[:results]):
        found = binned_resolution(column, weight, replicated, index, bins)
        spreads[:, 0, q], spreads[:, 1, q] = found.median, found.half68
    means = binned_moments(values[:, results:], weight, replicated, index, bins).mean
    return spreads, means[:, None]


def _over(reference: Array, members: Array) -> tuple[Array, Array]:
    """Members over reference, mean over bins: (R+1, Q) of ones, and (K, R+1, Q); arrays (..., B)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = members / reference
    finite = np.isfinite(ratio)
    number = finite.sum(axis=-1)
    mean = np.where(finite, ratio, 0.0).sum(axis=-1) / np.maximum(number, 1)
    mean[number == 0] = np.nan
    return np.ones(mean.shape[1:]), mean


def _ratio_arrays(name: str, reference: Array, members: Array) -> dict[str, Array]:
    one, ratio = _over(reference, members)
    return named(f"groups/{name}", spread_arrays(spread(one, ratio), one, ratio))


def group_arrays(twins: Twins, calibration: dict[str, Any]) -> tuple[dict[str, Array], Any]:
    """Arrays of the groups below ``groups``, and what they are; nothing where there is no truth.

    ``results/<variable>`` bias and resolution and ``rates/<variable>`` means, as in profiles;
    ``ratios`` and ``rate_ratios`` of resolutions and of rates over the reference, mean over the bins
    of the first variable; ``events`` (G, Q + P), ``first`` (G,) event and ``weight`` (G,) of the groups of the reference,
    ``index`` (G,) the bin of each in the first variable.
    """
    groups = twins.detector.groups
    if groups is None:
        return {}, None
    if lacking := missing(twins.reference, groups):
        reason = f"the sample carries no true {', '.join(lacking)}"
        warn("reconstruct", f"{twins.reference.path}: groups are left out: {reason}")
        return {}, {"left_out": reason}
    sample = sample_of(twins.reference, groups)
    first, *others = reconstruct(twins, groups, sample, calibration)
    # Events of a group have one weight, save where each has its own: then the mean stands for it.
    weight = np.bincount(sample.index, twins.weight) / np.bincount(sample.index)
    replicated = counts(key(twins.seed, "bootstrap"), twins.groups[sample.first], twins.replicas)
    number = max(1, min(BINS, len(sample) // MIN_EVENTS))
    values = groups.variable(sample.truth)
    arrays: dict[str, Array] = {
        "groups/first": sample.first,
        "groups/weight": weight,
        "groups/events": first,
    }
    for place, name in enumerate(groups.variables):
        binning = bin_events(name, values[name], number)
        results, rates = zip(
            *(
                _statistics(one, len(groups.results), weight, replicated, binning)
                for one in (first, *others)
            ),
            strict=True,
        )
        arrays |= named(f"groups/results/{name}", tables(binning, results[0], results[1:]))
        arrays |= named(f"groups/rates/{name}", tables(binning, rates[0], rates[1:]))
        if place == 0:
            arrays["groups/index"] = binning.index
            wide = (results[0][:, 1], np.stack(results[1:])[:, :, 1])
            arrays |= _ratio_arrays("ratios", *wide)
            arrays |= _ratio_arrays("rate_ratios", rates[0][:, 0], np.stack(rates[1:])[:, :, 0])
    about = {
        "groups": len(sample),
        "statistics": STATISTICS,
        "quantities": list(groups.results),
        "rates": list(groups.rates),
        "variables": list(groups.variables),
        "found": [
            int(np.isfinite(one[:, : len(groups.results)]).all(axis=1).sum())
            for one in (first, *others)
        ],
    }
    return arrays, about
