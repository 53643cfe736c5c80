"""Pairs of events overlaid: how often both are found, and with what results, against distance."""

from typing import Any

import numpy as np

from sosie.bootstrap import binned_moments, binned_resolution, counts, keyed
from sosie.detectors.base import Pairs
from sosie.ensembles import spread
from sosie.events import SLAB, Events
from sosie.profiles import Binning, Twins, named, spread_arrays, tables
from sosie.streams import key

Array = np.ndarray[Any, Any]
SLABS = 2
PIECE = SLABS * SLAB


def join(words: Array, piece: int = PIECE) -> Array:
    """Rows (M, 2) of the events of disjoint pairs, from uniform words (N,).

    Each piece of the sample is shuffled by its words and paired within itself, so that it can be
    read as a stream; the last event of a piece of odd length has no partner.
    """
    starts = range(0, len(words), piece)
    orders = [start + np.argsort(words[start : start + piece], kind="stable") for start in starts]
    return np.concatenate([order[: len(order) // 2 * 2].reshape(-1, 2) for order in orders])


def overlaid(
    events: Events,
    pairs: Pairs,
    conditions: Array,
    rows: Array,
    words: Array,
    calibration: dict[str, Any],
) -> tuple[Array, Array]:
    """Distance (M, B) of the pairs of ``rows`` (M, 2), and found beside the results (M, B, 1 + Q)."""
    distance, values = [], []
    for where, response in events.responses(SLABS):
        here = (rows[:, 0] >= where.start) & (rows[:, 0] < where.stop)
        one, two = rows[here].T
        apart, found, results = pairs.overlay(
            response[one - where.start],
            conditions[one],
            response[two - where.start],
            conditions[two],
            words[here],
            calibration,
        )
        distance.append(apart)
        values.append(np.stack([found, *(results[name] for name in pairs.results)], axis=-1))
    return np.concatenate(distance), np.concatenate(values)


def _statistics(values: Array, weight: Array, replicated: Array) -> tuple[Array, Array]:
    """Share found (R+1, 1, 1, B), median and resolution (R+1, 2, Q, B) of values (M, B, 1 + Q)."""
    shares, results = [], []
    for here in values.swapaxes(0, 1):
        # The same pairs are in every bin, so that each bin takes the counts as they are.
        index = np.where(np.isfinite(here[:, 0]), 0, -1)
        shares.append(binned_moments(here[:, :1], weight, replicated, index, 1).mean[:, None])
        found = [binned_resolution(column, weight, replicated, index, 1) for column in here.T[1:]]
        results.append(np.stack([[f.median, f.half68] for f in found]).transpose(2, 1, 0, 3))
    return np.concatenate(shares, axis=-1), np.concatenate(results, axis=-1)


def pair_arrays(twins: Twins, pairs: Pairs, calibration: dict[str, Any]) -> dict[str, Array]:
    """Arrays of the pairs of reference and members, the same pairs at the same distances for all.

    Below ``found`` the share found as two and below ``results`` bias and resolution of each result,
    both as in profiles; below ``summary`` the share of the members less that of the reference, mean
    over bins. A pair has the product of the weights of its events and the counts of the first one's
    group.
    """
    ids = twins.reference.column("event_id")
    own = key(twins.seed, "pairs")
    rows = join(keyed(own, ids, 0))
    first = rows[:, 0]
    words = keyed(own, ids[first], 1)
    weight = twins.weight[rows].prod(axis=1)
    replicated = counts(key(twins.seed, "bootstrap"), twins.groups[first], twins.replicas)

    def sample(events: Events) -> tuple[Array, tuple[Array, Array]]:
        distance, values = overlaid(events, pairs, twins.conditions, rows, words, calibration)
        return distance, _statistics(values, weight, replicated)

    distance, (share, results) = sample(twins.reference)
    members = [sample(member)[1] for member in twins.members]
    edges, events = np.asarray(pairs.edges), np.isfinite(distance).sum(axis=0)
    total = np.where(np.isfinite(distance), distance, 0.0).sum(axis=0)
    centre = np.where(events, total / np.maximum(events, 1), (edges[1:] + edges[:-1]) / 2)
    binning = Binning(pairs.variable, edges, np.empty(0, np.int64), centre, events)
    shares = np.stack([member[0] for member in members])
    none, difference = _differences(share[:, 0], shares[:, :, 0])
    return {
        **named(f"found/{pairs.variable}", tables(binning, share, shares)),
        **named(f"results/{pairs.variable}", tables(binning, results, [m[1] for m in members])),
        **named("summary", spread_arrays(spread(none, difference), none, difference)),
    }


def _differences(reference: Array, members: Array) -> tuple[Array, Array]:
    """Member less reference, mean over bins: (R+1, Q) of zeros, and (K, R+1, Q)."""
    off = members - reference
    finite = np.isfinite(off)
    number = finite.sum(axis=-1)
    mean = np.where(finite, off, 0.0).sum(axis=-1) / np.maximum(number, 1)
    mean[number == 0] = np.nan
    return np.zeros(mean.shape[1:]), mean
