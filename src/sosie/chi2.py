"""Pseudo chi2 of the MPD study: first and second moments of two samples in bins of the conditions.

Maevskiy et al., Eur. Phys. J. C 81 (2021) 599; https://github.com/SiLiKhon/TPC-FastSim.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sosie.bootstrap import Keys, carried, keyed
from sosie.distances import members_value
from sosie.performance import Figure, of_members

Array = np.ndarray[Any, Any]
ROWS = 10_000
"""Rows a side: the pseudo chi2 of a surrogate that is off grows with them."""
MIN_EVENTS = 4
_ROWS = 1 << 42


@dataclass(frozen=True)
class Profile:
    """Mean, standard deviation and the variances of both, (B,) each; NaN where not defined."""

    mean: Array
    std: Array
    error2: Array


def profile(values: Array, weight: Array, index: Array, bins: int) -> Profile:
    """Weighted moments of values (N,) in bins (N,), -1 for outside; weights may be negative.

    ``error2`` is the variance of the mean and that of the standard deviation, added, to first order
    in 1/N. NaN in a bin of fewer than 4 values, of one value, or of weights that say nothing.
    """
    inside = (index >= 0) & np.isfinite(values)
    x, w, b = values[inside], weight[inside], index[inside]

    def total(numbers: Array) -> Array:
        return np.bincount(b, numbers, minlength=bins)

    events, whole, squares = np.bincount(b, minlength=bins), total(w), total(w * w)
    usable = (events >= MIN_EVENTS) & carried(whole, squares, events)
    divisor = np.where(usable, whole, 1.0)
    mean = total(w * x) / divisor
    off2 = (x - mean[b]) ** 2
    variance = total(w * off2) / divisor
    usable &= variance > 1e-20 * mean**2
    safe = np.where(usable, variance, 1.0)
    of_mean = total(w * w * off2) / divisor**2
    of_std = total((w * (off2 - variance[b])) ** 2) / divisor**2 / (4 * safe)
    empty = np.where(usable, 0.0, np.nan)
    return Profile(mean + empty, np.sqrt(safe) + empty, of_mean + of_std + empty)


def pseudo_chi2(one: Profile, two: Profile) -> tuple[float, int]:
    """Sum over bins of ([D(m + s)]^2 + [D(m - s)]^2) / (eps_1^2 + eps_2^2), and the number of its terms.

    Two a bin that both define; each is 1 on average for equal laws. D is the difference of the
    samples, eps^2 the variance of m + s with m and s taken as independent.
    """
    up = (one.mean + one.std - two.mean - two.std) ** 2
    down = (one.mean - one.std - two.mean + two.std) ** 2
    both = one.error2 + two.error2
    usable = np.isfinite(up + both) & (both > 0)
    terms = (up[usable] + down[usable]) / both[usable]
    return float(terms.sum()), 2 * int(usable.sum())


def drawn_rows(chosen: Array, ids: Keys, seed: int, split: int) -> Array:
    """At most ROWS of the ``chosen`` events (N,) as indices, drawn by seed and split."""
    rows = np.flatnonzero(chosen)
    if len(rows) <= ROWS:
        return rows
    words = keyed(seed, np.asarray(ids, np.uint64)[rows], _ROWS + split)
    return np.sort(rows[np.argsort(words, kind="stable")[:ROWS]])


Profiles = Sequence[Sequence[Profile]]


def profiles(values: Array, weight: Array, binned: Sequence[tuple[Array, int]]) -> Profiles:
    """The profiles of each observable of values (N, O) in each variable: bins (N,), their number."""
    return [[profile(column, weight, index, bins) for index, bins in binned] for column in values.T]


def between(one: Profiles, two: Profiles) -> tuple[Array, int]:
    """Pseudo chi2 (O,) of two samples, summed over variables, and the number of terms in all.

    NaN for an observable without a bin that both define.
    """
    found, terms = np.full(len(one), np.nan), 0
    for o, pair in enumerate(zip(one, two, strict=True)):
        parts = [pseudo_chi2(a, b) for a, b in zip(*pair, strict=True)]
        if count := sum(number for _, number in parts):
            found[o] = sum(value for value, _ in parts)
            terms += count
    return found, terms


def figures(
    names: Sequence[str],
    reference: Array,
    samples: Sequence[Array],
    weight: Array,
    binned: Sequence[tuple[Array, int]],
    split: Array,
    ids: Array,
    seed: int,
) -> dict[str, Figure]:
    """Pseudo chi2 of each observable, and in ``all`` of all, between reference A and samples B.

    reference and samples (N, O); binned: the bins (N,) of each variable and their number; split (J,
    N) true in half A; ids (N,). ``terms``: the number of terms of all observables.
    """
    values = np.empty((len(names), len(samples), len(split)))
    sizes, terms = [], []

    def measured(sample: Array, rows: Array) -> Profiles:
        here = [(index[rows], bins) for index, bins in binned]
        return profiles(sample[rows], weight[rows], here)

    for j, half in enumerate(split):
        one, two = (drawn_rows(side, ids, seed, j) for side in (half, ~half))
        sizes.append((len(one), len(two)))
        base = measured(reference, one)
        for k, sample in enumerate(samples):
            values[:, k, j], count = between(base, measured(sample, two))
            terms.append(count)
    events, whole = np.min(sizes, axis=0), np.nansum(values, axis=0)
    whole[np.isnan(values).all(axis=0)] = np.nan
    found = {"all": whole, **dict(zip(names, values, strict=True))}
    made: dict[str, Figure] = {
        name: of_members(members_value(x), events) for name, x in found.items()
    }
    made["all"]["terms"] = min(terms)
    return made
