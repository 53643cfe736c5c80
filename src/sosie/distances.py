"""Distances between two samples, on independent halves of the test events.

Definitions: "Distances, for any detector" in the manual of the metrics.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sosie.bootstrap import Keys, keyed, significant

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# Streams of the generator next to those of the bootstrap, which are 0, 1, ...: splits and replicas
# must not share numbers where they share a seed. That of the classifiers' folds is 1 << 41.
_SPLITS = 1 << 40
_SAMPLED = 1 << 42


@dataclass(frozen=True)
class MembersValue:
    """A distance of K members: mean, its statistical error, the spread s (NaN for one member)."""

    value: float
    statistical: float
    systematic: float


@dataclass(frozen=True)
class Halved:
    """N test events in halves: split (J, N) true in half A, groups (N,), weight (N,) or None."""

    split: Mask
    groups: Keys
    weight: Floats | None
    seed: int

    def some(self, chosen: Mask) -> "Halved":
        """The chosen events (mask)."""
        weight = None if self.weight is None else self.weight[chosen]
        return replace(self, split=self.split[:, chosen], groups=self.groups[chosen], weight=weight)


def halves(groups: Keys, seed: int, splits: int) -> Mask:
    """Fixed splits (splits, N) of events into half A (True) and half B, whole groups at a time.

    groups: (N,). Both halves have as many groups, A one more where the number is odd. A function
    of the seed and the set of groups alone.
    """
    unique, inverse = np.unique(np.asarray(groups, dtype=np.uint64), return_inverse=True)
    out = np.empty((splits, inverse.size), dtype=np.bool_)
    for split in range(splits):
        rank = ranks(keyed(seed, unique, _SPLITS + split))
        out[split] = (rank < (unique.size + 1) // 2)[inverse]
    return out


def sampled(groups: Keys, seed: int, most: int) -> Mask:
    """Which events (N,) stand for all where there are more than ``most``: whole groups, drawn alike.

    groups: (N,). A function of the seed and the events of each group alone; all where they are no more.
    """
    unique, inverse, size = np.unique(
        np.asarray(groups, dtype=np.uint64), return_inverse=True, return_counts=True
    )
    rank = ranks(keyed(seed, unique, _SAMPLED))
    in_turn = np.empty(unique.size, dtype=np.int64)
    in_turn[rank] = size
    kept = np.cumsum(in_turn) <= most
    return np.asarray(kept[rank][inverse])


def wasserstein(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    a_weights: npt.ArrayLike | None = None,
    b_weights: npt.ArrayLike | None = None,
) -> float:
    """Wasserstein-1 distance of two samples (n,) and (m,), in their unit.

    Values that are not finite are left out; weights (n,), (m,) may be negative, and then the
    distance is the area between the two cumulative sums. NaN where a sample is empty or its sum of
    weights not positive, or smaller than its own error. Source: scipy.stats.wasserstein_distance, which takes no negative weights.
    """
    x, x_weights = _defined(a, a_weights)
    y, y_weights = _defined(b, b_weights)
    if not all(significant(w.sum(), (w * w).sum()) for w in (x_weights, y_weights)):
        return math.nan
    if x_weights.min() < 0 or y_weights.min() < 0:
        return _area_between(x, x_weights, y, y_weights)
    from scipy import stats  # slow to import, like scikit-learn below, and not needed by all

    return float(stats.wasserstein_distance(x, y, x_weights, y_weights))


def contents(
    values: npt.ArrayLike, edges: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> Floats:
    """Contents (B + 2,) of a histogram of values (n,): below the edges (B + 1,), its bins, above.

    A bin holds its lower edge and not its upper one; values that are not finite are left out.
    """
    x, x_weights = _defined(values, weights)
    limits = np.asarray(edges, dtype=np.float64)
    place = np.searchsorted(limits, x, side="right")
    return np.bincount(place, x_weights, limits.size + 1).astype(np.float64)


def separation(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Separation power 1/2 sum (h1 - h2)^2 / (h1 + h2) of two histograms (B,), from 0 to 1.

    Each is normalised to one; negative contents (of signed weights) count as empty, so that the
    range holds. NaN for a histogram whose sum is not positive.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if not (first.sum() > 0 and second.sum() > 0):
        return math.nan
    first, second = np.maximum(first, 0.0), np.maximum(second, 0.0)
    first, second = first / first.sum(), second / second.sum()
    total = first + second
    filled = total > 0
    return float(0.5 * np.sum((first - second)[filled] ** 2 / total[filled]))


def members_value(values: npt.ArrayLike) -> MembersValue:
    """Mean, statistical and systematic error of a distance (K, J) of K members on J splits.

    statistical: standard deviation over splits of the member mean. systematic: s, from
    s^2 = max(0, var_k(mean_j O_kj) - v), v = K/(K-1) mean_k var_j(O_kj - mean_k O_kj) / J; NaN for
    one member, both NaN for one split. The splits overlap, so v is too small and s too large:
    conservative.
    """
    x = np.asarray(values, dtype=np.float64)
    number, splits = x.shape
    by_split = x.mean(axis=0)
    value = float(x.mean())
    if splits < 2:
        return MembersValue(value, math.nan, math.nan)
    statistical = float(by_split.std(ddof=1))
    if number < 2:
        return MembersValue(value, statistical, math.nan)
    noise = (x - by_split).var(axis=1, ddof=1).mean() / splits * number / (number - 1)
    squared = np.maximum(0.0, x.mean(axis=1).var(ddof=1) - noise)
    return MembersValue(value, statistical, float(np.sqrt(squared)))


def ranks(keys: Keys) -> npt.NDArray[np.int64]:
    """The rank (N,) of each key (N,), from 0; equal keys in their order."""
    rank = np.empty(keys.size, dtype=np.int64)
    rank[np.argsort(keys, kind="stable")] = np.arange(keys.size)
    return rank


def _defined(values: npt.ArrayLike, weights: npt.ArrayLike | None) -> tuple[Floats, Floats]:
    x = np.asarray(values, dtype=np.float64)
    w = np.ones(x.size) if weights is None else np.asarray(weights, dtype=np.float64)
    finite = np.isfinite(x)
    return x[finite], w[finite]


def _area_between(a: Floats, a_weights: Floats, b: Floats, b_weights: Floats) -> float:
    """Integral of |F_a - F_b| of two weighted cumulative distributions."""
    values = np.concatenate([a, b])
    steps = np.concatenate([a_weights / a_weights.sum(), -b_weights / b_weights.sum()])
    order = np.argsort(values, kind="stable")
    gap = np.abs(np.cumsum(steps[order])[:-1])
    return float(np.sum(gap * np.diff(values[order])))
