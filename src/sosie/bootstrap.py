"""Paired bootstrap: counts keyed by group, and weighted statistics of all replicas in bins.

Row 0 of every result is the nominal one (count 1 for every event), rows 1..R are the replicas.
Definitions: "Rules that hold for every metric" in the manual of the metrics.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sosie.streams import mix, uniform

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.float32]
Keys = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.integer]
Mask = npt.NDArray[np.bool_]

CENTRAL = math.erf(1 / math.sqrt(2))
"""Probability within one standard deviation of a Gaussian, 0.6827."""

MIN_EFFECTIVE = 5.0
"""Effective events, (sum w)^2 / sum w^2, below which a bin of more events is left empty."""

NUMBERS = 2_000_000
"""Products of weight and count in memory at a time."""
BLOCK = 400_000
"""The same for quantiles, which are faster where they stay in the cache."""

_WORD = (1 << 64) - 1
_POISSON_CDF = np.cumsum([math.exp(-1.0) / math.factorial(k) for k in range(19)])
# Of a word, its leading 12 bits nearly always tell the count.
_LEADING = np.uint64(52)
_AT_ONCE = 16384
_EDGES = np.searchsorted(_POISSON_CDF, np.arange(4097) / 4096, side="right")
_COUNTS = _EDGES[:-1].astype(np.float32)
_STEPS = _EDGES[1:] != _EDGES[:-1]
_PROBABILITIES = np.array([(1 - CENTRAL) / 2, 0.5, (1 + CENTRAL) / 2])


@dataclass(frozen=True, eq=False)
class Moments:
    """Weighted moments of O observables in B bins, nominal and R replicas.

    mean, std: (R+1, O, B), in the unit of the observable, NaN where not defined; std is the square
    root of the second central moment. defined: (O, B) events with a value. events: (B,) events.
    """

    mean: Floats
    std: Floats
    defined: npt.NDArray[np.int64]
    events: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Resolution:
    """Median and half the central 68.27 % interval: (R+1, B) each, in the unit of the values."""

    median: Floats
    half68: Floats


def keyed(seed: int, groups: Keys, stream: int) -> Keys:
    """Uniform 64-bit words (N,), a function of (seed, group, stream) alone.

    groups: (N,).
    """
    return mix(_group_keys(seed, groups) ^ _mixed(stream))


def counts(seed: int, groups: Keys, replicas: int, first: int = 0) -> Counts:
    """Poisson(1) counts (replicas, N) of the replicas first, first + 1, ...

    groups: (N,); equal groups get equal counts. A count is a function of (seed, group, replica)
    alone: order, chunks and the other events do not matter.
    """
    keys = _group_keys(seed, groups)
    out = np.empty((replicas, keys.size), dtype=np.float32)
    masks = mix(np.arange(first, first + replicas, dtype=np.uint64))
    for start in range(0, keys.size, _AT_ONCE):
        here = slice(start, start + _AT_ONCE)
        for row, mask in enumerate(masks):
            words = mix(keys[here] ^ mask)
            place = (words >> _LEADING).view(np.int64)
            found = _COUNTS[place]
            # Words that begin like a step of the distribution.
            unsure = np.flatnonzero(_STEPS[place])
            found[unsure] = np.searchsorted(_POISSON_CDF, uniform(words[unsure]), side="right")
            out[row, here] = found
    return out


def n_effective(weights: npt.ArrayLike) -> float:
    """(sum w)^2 / sum w^2 of the weights (N,); 0 where there is none."""
    w = np.asarray(weights, dtype=np.float64)
    squares = float(np.sum(w * w))
    return float(np.sum(w)) ** 2 / squares if squares > 0 else 0.0


@dataclass(frozen=True, eq=False)
class Draws:
    """A piece of events by bin, with its weights in all replicas; the same for every sample.

    events: of the piece. rows: the events of each bin. products: weight times count (R+1, n) of
    the events of each bin, the nominal first.
    """

    events: int
    rows: list[Integers]
    products: list[Floats]

    @property
    def replicas(self) -> int:
        """R."""
        return len(self.products[0]) - 1


def in_bins(weights: npt.ArrayLike, counts: Counts, index: Integers, bins: int) -> Draws:
    """The draws of a piece: weights (N,), may be negative; counts (R, N); index (N,), -1 for outside.

    Raises ValueError where the shapes or the index do not fit.
    """
    w = np.asarray(weights, dtype=np.float64)
    _check(w, counts, index, bins)
    rows = _rows_by_bin(index, bins)
    return Draws(w.size, rows, [_replicated(w, counts, inside) for inside in rows])


class BinnedMoments:
    """Sums for weighted means and standard deviations in bins, filled piece by piece.

    bins: number of bins. offset: (O,), subtracted before squaring; the mean of the first piece
    where not given. Memory is (R+1) * O * bins, whatever the number of events.
    """

    def __init__(self, bins: int, offset: npt.ArrayLike | None = None) -> None:
        self.bins = bins
        self.offset = None if offset is None else np.asarray(offset, dtype=np.float64)
        self._sums: Floats | None = None
        self._defined: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._events = np.zeros(bins, dtype=np.int64)

    def add(self, values: npt.ArrayLike, draws: Draws) -> None:
        """Add a piece: values (N, O), not finite where undefined (left out of that one alone).

        Raises ValueError where the shapes do not fit.
        """
        x = np.asarray(values, dtype=np.float64)
        if len(x) != draws.events or len(draws.rows) != self.bins:
            raise ValueError(
                f"values {x.shape} and draws of {draws.events} in {len(draws.rows)} bins do not "
                f"describe the same events in {self.bins} bins"
            )
        if self.offset is None:
            self.offset = _first_offset(x)
        if self._sums is None:
            self._sums = np.zeros((self.bins, 4, draws.replicas + 1, x.shape[1]))
            self._defined = np.zeros((x.shape[1], self.bins), dtype=np.int64)
        for b, (rows, product) in enumerate(zip(draws.rows, draws.products, strict=True)):
            if rows.size == 0:
                continue
            inside = np.isfinite(x[rows])
            shifted = np.where(inside, x[rows] - self.offset, 0.0)
            # Most observables are defined for all events: they share one sum of the weights.
            partial = ~inside.all(axis=0)
            masks = np.column_stack([np.ones(rows.size), inside[:, partial]])
            own = np.where(partial, np.cumsum(partial), 0)
            sums = self._sums[b]
            sums[0] += (product @ masks)[:, own]
            sums[1] += product @ shifted
            sums[2] += product @ (shifted * shifted)
            sums[3] += ((product * product) @ masks)[:, own]
            self._defined[:, b] += inside.sum(axis=0)
            self._events[b] += rows.size

    def result(self) -> Moments:
        """The moments so far.

        NaN where fewer than 2 events have a value, and in replicas where the sum of the weights is
        not positive or smaller than its own error (N_eff < 1, negative weights only): the ratio
        of sums means nothing there. Raises ValueError before the first piece.
        """
        if self._sums is None or self.offset is None:
            raise ValueError("no events were added")
        weight, first, second, squares = self._sums.transpose(1, 2, 3, 0)
        usable = (self._defined >= 2) & significant(weight, squares)
        usable[0] &= carried(weight[0], squares[0], self._defined)
        divisor = np.where(usable, weight, 1.0)
        shift, square = first / divisor, second / divisor
        variance = square - shift * shift
        # Rounding makes the variance of a constant slightly negative; signed weights can make it
        # truly negative, and then there is no standard deviation.
        variance = np.where(np.abs(variance) < 1e-13 * square, 0.0, variance)
        spread = usable & (variance >= 0)
        return Moments(
            mean=np.where(usable, self.offset[:, None] + shift, np.nan),
            std=np.where(spread, np.sqrt(np.where(spread, variance, 0.0)), np.nan),
            defined=self._defined.copy(),
            events=self._events.copy(),
        )


def binned_moments(
    values: npt.ArrayLike, weights: npt.ArrayLike, counts: Counts, index: Integers, bins: int
) -> Moments:
    """Weighted moments in bins of events that fit in memory; see BinnedMoments.add and in_bins."""
    moments = BinnedMoments(bins)
    moments.add(values, in_bins(weights, counts, index, bins))
    return moments.result()


def binned_resolution(
    values: npt.ArrayLike, weights: npt.ArrayLike, counts: Counts, index: Integers, bins: int
) -> Resolution:
    """Weighted median and half the central 68.27 % interval in bins, nominal and replicas.

    values: (N,), left out where not finite; weights: (N,), may be negative; counts: (R, N);
    index: (N,) bin, -1 for outside. Quantiles interpolate linearly between the events, each at
    the middle of its step of the cumulative weight (Hazen's rule for unit weights). NaN where a bin
    has fewer than 4 events, and as in BinnedMoments.result. Raises ValueError as in_bins does.
    """
    x = np.asarray(values, dtype=np.float64)
    w = np.asarray(weights, dtype=np.float64)
    if x.shape != w.shape:
        raise ValueError(f"values {x.shape} and weights {w.shape} do not describe the same events")
    _check(w, counts, index, bins)
    quantiles = np.full((bins, counts.shape[0] + 1, 3), np.nan)
    defined = np.where(np.isfinite(x), index, -1)
    for b, rows in enumerate(_rows_by_bin(defined, bins)):
        if rows.size < 4:
            continue
        ordered = rows[np.argsort(x[rows], kind="stable")]
        quantiles[b] = _of_replicas(x[ordered], _replicated(w, counts, ordered), nominal=True)
    low, median, high = quantiles.transpose(2, 1, 0)
    return Resolution(median=median, half68=(high - low) / 2)


def resolutions_of_bin(
    values: npt.ArrayLike, weights: npt.ArrayLike, seed: int, groups: Keys, replicas: int
) -> Resolution:
    """The same for Q quantities of the n events of one bin: (R+1, Q) each.

    values: (n, Q); weights: (n,); the counts are those of ``counts`` for these groups (n,), drawn
    some at a time: memory is 24 Q n bytes beside the arguments, and some millions.
    """
    x = np.asarray(values, dtype=np.float64)
    w = np.asarray(weights, dtype=np.float64)
    quantiles = np.full((x.shape[1], replicas + 1, 3), np.nan)
    orders = [_order(column) for column in x.T]
    ordered = [column[order] for column, order in zip(x.T, orders, strict=True)]
    alike = bool((w == 1).all())
    block = max(1, BLOCK // max(1, w.size))
    for first in range(0, replicas, block):
        drawn = counts(seed, groups, min(block, replicas - first), first)
        for column, order, found in zip(ordered, orders, quantiles, strict=True):
            if order.size >= 4:
                if first == 0:
                    found[:1] = _of_replicas(column, w[order][None], nominal=True)
                here = drawn[:, order]
                product = here.astype(np.float64) if alike else here * w[order]
                rows = slice(1 + first, 1 + first + len(drawn))
                found[rows] = _of_replicas(column, product, nominal=False)
    low, median, high = quantiles.transpose(2, 1, 0)
    return Resolution(median=median, half68=(high - low) / 2)


def _order(values: Floats) -> Integers:
    """The finite values (n,) in their order."""
    rows = np.flatnonzero(np.isfinite(values))
    ordered: Integers = rows[np.argsort(values[rows], kind="stable")]
    return ordered


def _of_replicas(values: Floats, product: Floats, nominal: bool) -> Floats:
    """Quantiles (r, 3) of sorted values (n,) with weights times counts (r, n), NaN where they say
    nothing; ``nominal``: the first row has no counts."""
    out = np.full((len(product), 3), np.nan)
    weight, squares = product.sum(axis=1), (product * product).sum(axis=1)
    usable = significant(weight, squares)
    if nominal:
        usable[0] &= bool(carried(weight[0], squares[0], values.size))
    for replica in np.flatnonzero(usable):
        out[replica] = _quantiles(values, product[replica])
    return out


def _quantiles(values: Floats, weights: Floats) -> Floats:
    """Quantiles at -1, 0, +1 standard deviations (3,) of sorted values (n,)."""
    # An event of weight zero must not be a point of the interpolation: a replica is the sample
    # without it.
    present = weights != 0
    w = weights[present]
    cumulative = np.cumsum(w)
    middle = cumulative - w / 2
    if w.min() < 0:
        rising = np.maximum.accumulate(middle)
        middle = (rising + np.minimum.accumulate(middle[::-1])[::-1]) / 2
    return np.interp(_PROBABILITIES * cumulative[-1], middle, values[present])


def carried(weight: npt.ArrayLike, squares: npt.ArrayLike, events: npt.ArrayLike) -> Mask:
    """Where a sum of weights, with the sum of their squares and their number, says anything.

    It must be positive and worth MIN_EFFECTIVE events, or as many as there are if they are fewer:
    events of equal weight always are.
    """
    w, needed = np.asarray(weight), np.minimum(np.asarray(events), MIN_EFFECTIVE)
    found: Mask = (w > 0) & (w * w >= (1 - 1e-9) * needed * np.asarray(squares))
    return found


def significant(weight: npt.ArrayLike, squares: npt.ArrayLike) -> Mask:
    """Where a sum of weights is positive and not smaller than its own error."""
    w = np.asarray(weight)
    found: Mask = (w > 0) & (w * w >= (1 - 1e-9) * np.asarray(squares))
    return found


def _replicated(weights: Floats, counts: Counts, rows: Integers) -> Floats:
    """Weights times counts (R+1, n) of the chosen rows, the nominal first."""
    out = np.empty((counts.shape[0] + 1, rows.size))
    out[0] = weights[rows]
    np.multiply(counts[:, rows], out[0], out=out[1:])
    return out


def _rows_by_bin(index: Integers, bins: int) -> list[Integers]:
    """The events of each bin."""
    order = np.argsort(index, kind="stable")
    edges = np.searchsorted(index[order], np.arange(bins + 1))
    return [order[edges[b] : edges[b + 1]] for b in range(bins)]


def _first_offset(values: Floats) -> Floats:
    """Mean of the defined values of each observable (O,), 0 where there is none."""
    inside = np.isfinite(values)
    total = np.where(inside, values, 0.0).sum(axis=0)
    return total / np.maximum(inside.sum(axis=0), 1)


def _check(weights: Floats, counts: Counts, index: Integers, bins: int) -> None:
    n = weights.size
    if not (weights.shape == index.shape == (n,) and counts.ndim == 2 and counts.shape[1] == n):
        raise ValueError(
            f"weights {weights.shape}, counts {counts.shape} and index {index.shape} do not "
            "describe the same events"
        )
    if n and int(index.max()) >= bins:
        raise ValueError(f"bin {int(index.max())} of {bins}; events outside every bin have -1")
    if not np.isfinite(weights).all():
        raise ValueError("a weight is not finite")


def _group_keys(seed: int, groups: Keys) -> Keys:
    return mix(np.asarray(groups, dtype=np.uint64) ^ _mixed(seed))


def _mixed(number: int) -> Keys:
    return mix(np.array([number & _WORD], dtype=np.uint64))
