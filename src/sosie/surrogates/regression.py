"""Ridge regression and log-linear variances on features expanded into products and pieces."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from scipy import linalg

from sosie.errors import InputError

Array = np.ndarray[Any, Any]
PIECES = 8
PER_PIECE = 20  # events for each piece of each coordinate
NARROW = 1e-3  # least width of a piece, in standard deviations
RIDGE = 10.0  # events that speak for a coefficient of 0
ROUNDS = 12
DAMPING = 0.5  # share of a step of Fisher scoring that is taken
LEAST = 1e-6  # share of the variance that a square has at least
BOUND = 100.0  # variance over its mean, or the inverse, with weights of either sign
EXTREME = 30.0  # largest logarithm on the way
BLOCK = 4096
COLUMNS = 64


def blocks(count: int, size: int = BLOCK) -> Iterator[slice]:
    """Slices of a sample, to bound the memory."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def spanning(values: Array, count: int) -> tuple[Array, Array]:
    """Begin and width (F, count) of pieces of equal filling of a sample (N, F)."""
    levels = np.linspace(0, 1, count + 1)
    edges = np.quantile(values, levels, axis=0, method="nearest").T
    least = NARROW * np.maximum(values.std(axis=0), 1e-9)[:, None]
    return edges[:, :-1], np.maximum(np.diff(edges, axis=1), least)


@dataclass(frozen=True)
class Basis:
    """One, features, their products, how far coordinates lie through pieces of their ranges, classes.

    Beyond the ``edge`` (2, F) of the features of the training sample they stay at its edge.
    ``begin`` and ``width`` (D, P) of the pieces of D coordinates: Gorishniy, Rubachev, Babenko,
    NeurIPS 2022, arXiv:2203.05556, equation 1.
    """

    edge: Array
    begin: Array
    width: Array

    @classmethod
    def fit(cls, features: Array, coordinates: Array, events: float) -> "Basis":
        """For features (N, F) and coordinates (N, D), in as many pieces as events can carry."""
        count = int(np.clip(events / (PER_PIECE * coordinates.shape[1]), 1, PIECES))
        limits = np.stack([features.min(axis=0), features.max(axis=0)])
        return cls(limits, *spanning(coordinates, count))

    def clipped(self, features: Array) -> Array:
        """Features (N, F) within their range."""
        return np.clip(features, *self.edge)

    def __call__(self, features: Array, coordinates: Array, classes: Array) -> Array:
        """The terms (N, T) of features (N, F), coordinates (N, D) and classes (N, K), 0 or 1."""
        inside = self.clipped(features)
        pairs = combinations_with_replacement(range(inside.shape[1]), 2)
        products = [inside[:, i] * inside[:, j] for i, j in pairs]
        shares = np.clip((coordinates[:, :, None] - self.begin) / self.width, 0, 1)
        pieces = np.nan_to_num(shares.reshape(len(shares), -1))
        one = np.ones((len(inside), 1))
        return np.hstack([one, inside, np.stack(products, axis=1), pieces, classes])


def solved(gram: Array, right: Array, least: Array, what: str) -> Array:
    """The solution of (gram + diag(least)) x = right.

    Raises InputError where weights of either sign leave no minimum, naming ``what`` is fitted.
    """
    try:
        found: Array = linalg.cho_solve(linalg.cho_factor(gram + np.diag(least)), right)
    except linalg.LinAlgError:
        raise InputError(
            f"parametric: the event weights leave {what} undefined; give more events to ingest, or "
            "look at ingest.weight"
        ) from None
    return found


class Solver:
    """Weighted ridge regression on terms (N, T), the first of them one, with weights (N,) of either
    sign whose unit is an event."""

    def __init__(self, terms: Array, weight: Array, what: str) -> None:
        """Raises InputError where the weights leave no minimum, naming ``what`` is fitted."""
        self.terms, self.weight = terms, weight
        size = terms.shape[1]
        self.ridge = np.where(np.arange(size) == 0, 1e-6, RIDGE)
        gram = terms.T @ (terms * weight[:, None])
        self._inverse = solved(gram, np.eye(size), self.ridge, what)
        self.freedom = float(np.sum(self._inverse * gram))

    def mean(self, values: Array) -> Array:
        """Coefficients (T, n) for values (N, n)."""
        found = np.empty((self.terms.shape[1], values.shape[1]))
        for here in blocks(values.shape[1], COLUMNS):
            found[:, here] = self.terms.T @ (values[:, here] * self.weight[:, None])
        return self._inverse @ found

    def log_variance(self, residual: Array) -> tuple[Array, Array]:
        """Coefficients (T, n) of the logarithm of the variance of residuals (N, n), and the range
        (2, n) of that logarithm in the sample.

        Maximum likelihood by Fisher scoring, in damped steps from the regression of the logarithms
        of squares: Harvey, Econometrica 44 (1976) 461. With weights of either sign the logarithm of
        the regression of the squares.
        """
        found = np.empty((self.terms.shape[1], residual.shape[1]))
        limits = np.empty((2, residual.shape[1]))
        for here in blocks(residual.shape[1], COLUMNS):
            found[:, here], limits[:, here] = self._log_variance(residual[:, here])
        return found, limits

    def _log_variance(self, residual: Array) -> tuple[Array, Array]:
        total = self.weight.sum()
        square = residual.astype(np.float64) ** 2
        plain, overall = square.mean(axis=0), self.weight @ square / total
        # Weights of either sign may leave a variance of no use.
        overall = np.maximum(np.where(overall > 0.1 * plain, overall, plain), 1e-20)
        square = square / overall + LEAST
        if (self.weight < 0).any():
            found = self._signed_log_variance(square)
        else:
            found = self._likeliest(square)
        shown = self.terms @ found
        found[0] += np.log(overall)
        return found, np.stack([shown.min(axis=0), shown.max(axis=0)]) + np.log(overall)

    def _signed_log_variance(self, square: Array) -> Array:
        """The logarithm of the regression of the squares: with weights of either sign the
        likelihood has no maximum, but sums still have the mean of what remains."""
        variance = np.clip(self.terms @ self.mean(square), 1 / BOUND, BOUND)
        return Solver(self.terms, np.abs(self.weight), "").mean(np.log(variance))

    def _likeliest(self, square: Array) -> Array:
        total = self.weight.sum()
        found = self.mean(np.log(square))
        for _ in range(ROUNDS):
            shown = np.clip(self.terms @ found, -EXTREME, EXTREME)
            level = np.maximum(self.weight @ (square * np.exp(-shown)) / total, LEAST)
            found[0] += np.log(level)
            ratio = square * np.exp(-shown) / level
            score = self.terms.T @ (self.weight[:, None] * (ratio - 1))
            found += DAMPING * self._inverse @ (score - self.ridge[:, None] * found)
        return found
