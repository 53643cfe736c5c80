"""Pairs of events overlaid: how often both are found, and with what results, against distance."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sosie.binnings import Binning
from sosie.bootstrap import NUMBERS, BinnedMoments, in_bins, keyed, resolutions_of_bin
from sosie.detectors.base import Pairs
from sosie.ensembles import spread
from sosie.events import SLAB, Events
from sosie.profiles import Some, Twins, named, spread_arrays, tables
from sosie.scratch import Scratch
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


@dataclass(frozen=True)
class Couples:
    """Pairs of a piece of the sample: rows (m, 2) in it, words (m,), weight (m,), groups (m,)."""

    rows: Array
    words: Array
    weight: Array
    groups: Array


def couples(twins: Twins, where: slice, some: Some) -> Couples:
    """The pairs of a piece of the reference, the same for all samples: a pair has the product of
    the weights of its events and the counts of the first one's group."""
    ids, own = twins.reference.rows("event_id", where), key(twins.seed, "pairs")
    rows = join(keyed(own, ids, 0))
    first = rows[:, 0]
    weight = some.weight[rows].prod(axis=1)
    return Couples(rows, keyed(own, ids[first], 1), weight, some.groups[first])


def overlaid(
    twins: Twins, events: Events, stores: Sequence[Scratch], calibration: dict[str, Any]
) -> Array:
    """Put found beside the results (M, 1 + Q) of each bin of the distance into its store; returns
    the number of pairs and the sum of their distances in each bin (2, B)."""
    pairs = twins.detector.pairs
    assert pairs is not None
    number, total = np.zeros((2, len(stores)))
    for where, response in events.responses(SLABS):
        some = twins.some(where)
        chosen = couples(twins, where, some)
        one, two = chosen.rows.T
        apart, found, results = pairs.overlay(
            response[one],
            some.conditions[one],
            response[two],
            some.conditions[two],
            chosen.words,
            calibration,
        )
        values = np.stack([found, *(results[name] for name in pairs.results)], axis=-1)
        for here, store in zip(values.swapaxes(0, 1), stores, strict=True):
            store.append(here)
        number += np.isfinite(apart).sum(axis=0)
        # One after the other, so that pieces change nothing.
        finite = np.where(np.isfinite(apart), apart, 0.0)
        total = np.add.reduce(np.concatenate([total[None], finite]), axis=0)
    return np.stack([number, total])


def _statistics(
    twins: Twins, stores: Sequence[Scratch], weight: Array, groups: Array
) -> tuple[Array, Array]:
    """Share found (R+1, 1, 1, B), median and resolution (R+1, 2, Q, B) of what the stores hold."""
    shares, results = [], []
    for store in stores:
        found = BinnedMoments(1)
        step = max(1, NUMBERS // (twins.replicas + 1))
        for start in range(0, max(1, len(store)), step):
            where = slice(start, min(start + step, len(store)))
            here = store.rows(where)[:, :1]
            # The same pairs are in every bin, so that each bin takes the counts as they are.
            index = np.where(np.isfinite(here[:, 0]), 0, -1)
            found.add(here, in_bins(weight[where], twins.counts_of(groups[where]), index, 1))
        shares.append(found.result().mean[:, None])
        whole = store.rows(slice(0, len(store)))
        usable = np.isfinite(whole[:, 0])
        each = resolutions_of_bin(
            whole[usable, 1:], weight[usable], twins.stream, groups[usable], twins.replicas
        )
        results.append(np.stack([each.median, each.half68], axis=1)[..., None])
    return np.concatenate(shares, axis=-1), np.concatenate(results, axis=-1)


def pair_arrays(
    twins: Twins, pairs: Pairs, calibration: dict[str, Any], folder: Path
) -> tuple[dict[str, Array], int]:
    """Arrays of the pairs of reference and members, the same pairs at the same distances for all,
    and the number of pairs.

    Below ``found`` the share found as two and below ``results`` bias and resolution of each result,
    both as in profiles; below ``summary`` the share of the members less that of the reference, mean
    over bins. What is found of a sample is kept in ``folder`` until its statistics are known.
    """
    edges = np.asarray(pairs.edges)
    starts = range(0, len(twins.reference), PIECE)
    pieces = [slice(start, min(start + PIECE, len(twins.reference))) for start in starts]
    found = (couples(twins, where, twins.some(where)) for where in pieces)
    each = [(one.weight, one.groups) for one in found]
    weight, groups = (np.concatenate(part) for part in zip(*each, strict=True))
    del each

    def sample(events: Events) -> tuple[Array, tuple[Array, Array]]:
        with ExitStack() as stack:
            stores = [
                stack.enter_context(Scratch(folder, 1 + len(pairs.results))) for _ in edges[1:]
            ]
            apart = overlaid(twins, events, stores, calibration)
            return apart, _statistics(twins, stores, weight, groups)

    (events, total), (share, results) = sample(twins.reference)
    members = [sample(member)[1] for member in twins.members]
    centre = np.where(events, total / np.maximum(events, 1), (edges[1:] + edges[:-1]) / 2)
    binning = Binning(pairs.variable, edges, np.empty(0, np.int64), centre, events.astype(np.int64))
    shares = np.stack([member[0] for member in members])
    none, difference = _differences(share[:, 0], shares[:, :, 0])
    arrays = {
        **named(f"found/{pairs.variable}", tables(binning, share, shares)),
        **named(f"results/{pairs.variable}", tables(binning, results, [m[1] for m in members])),
        **named("summary", spread_arrays(spread(none, difference), none, difference)),
    }
    return arrays, len(weight)


def _differences(reference: Array, members: Array) -> tuple[Array, Array]:
    """Member less reference, mean over bins: (R+1, Q) of zeros, and (K, R+1, Q)."""
    off = members - reference
    finite = np.isfinite(off)
    number = finite.sum(axis=-1)
    mean = np.where(finite, off, 0.0).sum(axis=-1) / np.maximum(number, 1)
    mean[number == 0] = np.nan
    return np.zeros(mean.shape[1:]), mean
