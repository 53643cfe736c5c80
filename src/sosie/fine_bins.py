"""Fine bins of all conditions at once, and the moments of a reference sample in them."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

Array = np.ndarray[Any, Any]
EVENTS, DEPTH = 100, 8
"""Reference events of a bin, at least, and halvings, at most."""
NEEDED = 20
"""Reference events with a value, at least, for a quantity to count in a bin."""
TAIL = 5.0
"""Widths beyond which a value counts as that: moments of rare tails would drown the rest."""


@dataclass(frozen=True)
class Tree:
    """A sample halved again and again at the median of one feature: 2^depth bins.

    feature and value: (2^depth - 1,), by level; an event goes to the upper half where its feature
    is the value or more.
    """

    depth: int
    feature: Array
    value: Array

    @classmethod
    def fit(cls, features: Array, depth: int) -> Self:
        """Halve the events (N, F) at the feature that spreads most among them."""
        nodes = 2**depth - 1
        feature, value = np.zeros(nodes, np.int64), np.full(nodes, -np.inf)
        rows = {0: np.arange(len(features))}
        for node in range(nodes):
            here = rows.pop(node)
            own = features[here]
            spread = own.std(axis=0) if len(own) else np.zeros(features.shape[1])
            chosen = int(np.argmax(spread))
            if len(own) > 1 and spread[chosen] > 0:
                column = np.sort(own[:, chosen])
                above = column[column > column[0]]
                feature[node], value[node] = chosen, max(column[len(column) // 2], above[0])
            upper = features[here, feature[node]] >= value[node]
            rows[2 * node + 1], rows[2 * node + 2] = here[~upper], here[upper]
        return cls(depth, feature, value)

    def index(self, features: Array) -> Array:
        """The bin (N,) of each event (N, F)."""
        node = np.zeros(len(features), np.int64)
        for _ in range(self.depth):
            chosen = features[np.arange(len(features)), self.feature[node]]
            node = 2 * node + 1 + (chosen >= self.value[node])
        return node - (2**self.depth - 1)


@dataclass(frozen=True)
class Reference:
    """Moments of Q residuals of a reference sample in B fine bins.

    ``level`` and ``width`` (B, Q) are those of the residuals, ``mean`` and ``std`` (B, Q) those of
    the residuals in such widths, cut at TAIL, ``kurtosis`` (B, Q) theirs. ``effective`` (B,) are
    the events that a bin is worth, and ``usable`` (B, Q) says where there are enough.
    """

    tree: Tree
    level: Array
    width: Array
    effective: Array
    usable: Array
    mean: Array
    std: Array
    kurtosis: Array

    @property
    def bins(self) -> int:
        """B."""
        return len(self.level)

    @classmethod
    def fit(cls, features: Array, residuals: Array, weight: Array) -> "Reference":
        """From scaled features (N, F), residuals (N, Q), NaN where not defined, and weights (N,)."""
        depth = int(np.clip(np.log2(max(len(residuals), 1) / EVENTS), 0, DEPTH))
        tree = Tree.fit(features, depth)
        index, shape = tree.index(features), (2**depth, residuals.shape[1])
        plain = Sums(shape)
        plain.add(residuals, index)
        level, width = plain.moments()
        total, squares = (np.bincount(index, w, shape[0]) for w in (weight, weight**2))
        effective = np.where(total > 0, total**2 / np.maximum(squares, 1e-30), 0.0)
        # What does not vary has no width; rounding is none.
        usable = (plain.weight >= NEEDED) & (effective >= NEEDED)[:, None]
        usable &= width > 1e-9 * np.abs(level)
        level, width = np.where(usable, level, 0.0), np.where(usable, width, 1.0)
        cut = _cut(residuals, level[index], width[index])
        sums = Sums(shape)
        sums.add(cut, index, weight)
        mean, std = sums.moments()
        usable &= std > 0
        pulls = (cut - mean[index]) / np.where(std > 0, std, 1.0)[index]
        fourth = Sums(shape)
        fourth.add(pulls**2, index, weight)
        kurtosis = np.where(usable, fourth.second / np.maximum(fourth.weight, 1e-30), 1.0)
        return cls(tree, level, width, effective, usable, mean, std, kurtosis)

    def scaled(self, residuals: Array, index: Array) -> Array:
        """Residuals (N, Q) of other events in bins (N,), in widths of the reference, cut at TAIL."""
        return _cut(residuals, self.level[index], self.width[index])


def _cut(residuals: Array, level: Array, width: Array) -> Array:
    return np.clip((residuals - level) / width, -TAIL, TAIL)


class Sums:
    """Weighted sums of quantities in bins, filled piece by piece."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.weight, self.first, self.second = (np.zeros(shape) for _ in range(3))
        self.events = np.zeros(shape[0])

    def add(self, values: Array, index: Array, weight: Array | None = None) -> None:
        """Add values (n, Q), NaN where not defined, in bins (n,)."""
        bins = len(self.events)
        self.events += np.bincount(index, minlength=bins)
        for q, column in enumerate(values.T):
            known = np.isfinite(column)
            own, b = column[known], index[known]
            w = np.ones(len(own)) if weight is None else weight[known]
            for total, power in (
                (self.weight, w),
                (self.first, w * own),
                (self.second, w * own**2),
            ):
                total[:, q] += np.bincount(b, power, bins)

    def moments(self) -> tuple[Array, Array]:
        """Mean and standard deviation (B, Q), NaN without events."""
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(self.weight > 0, self.first / self.weight, np.nan)
            variance = self.second / self.weight - mean**2
        return mean, np.sqrt(
            np.where(variance > 0, variance, np.where(np.isfinite(mean), 0.0, np.nan))
        )
