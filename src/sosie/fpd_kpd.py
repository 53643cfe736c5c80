"""Frechet and kernel physics distances of two samples of numbers per event.

Kansal et al., Phys. Rev. D 107 (2023) 076017, arXiv:2211.10295, as in JetNet. Definitions:
"Distances, for any detector" in the manual of the metrics.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sosie.bootstrap import significant
from sosie.distances import Floats
from sosie.streams import stream

SIZES, REPEATS, SPAN = 10, 20, 4
"""Sizes of a batch, batches of each size, and the largest size over the smallest."""

KERNEL_BATCH, KERNEL_BATCHES = 1000, 10


@dataclass(frozen=True)
class PhysicsDistances:
    """fpd: Frechet distance of Gaussians; kpd: squared distance of the means of a polynomial kernel;
    events of a and of b."""

    fpd: float
    kpd: float
    events: tuple[int, int]


def physics_distances(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    seed: int,
    a_weights: npt.ArrayLike | None = None,
    b_weights: npt.ArrayLike | None = None,
) -> PhysicsDistances:
    """FPD and KPD of samples a (n, D) and b (m, D), in the scale that they are given in.

    An event of which a number is not finite is left out. Weights (n,), (m,) may be negative. NaN
    where the weights sum to no more than their error, and for samples too small to be cut: for FPD
    fewer than 4 (D + 2) events, for KPD fewer than 4.
    """
    (x, u), (y, v) = defined_rows(a, a_weights), defined_rows(b, b_weights)
    events = len(x), len(y)
    if not all(significant(w.sum(), (w * w).sum()) for w in (u, v)):
        return PhysicsDistances(math.nan, math.nan, events)
    return PhysicsDistances(fpd(x, y, seed, u, v), kpd(x, y, seed, u, v), events)


def fpd(a: Floats, b: Floats, seed: int, a_weights: Floats, b_weights: Floats) -> float:
    """Frechet distance of the Gaussians with the moments of a (n, D) and b (m, D), for N -> infinity.

    Straight line in 1/N through the mean distances of batches of ten sizes N, from a quarter of the
    smaller sample to all of it, evenly in 1/N; neither its value at 1/N = 0 nor its slope is
    negative. Events of a batch are drawn without repetition.
    """
    from scipy.optimize import nnls

    largest = min(len(a), len(b))
    shares = 1 / np.linspace(SPAN, 1, SIZES)
    sizes = np.unique((largest * shares).round().astype(np.int64))
    if sizes[0] < a.shape[1] + 2 or len(sizes) < 2:
        return math.nan
    rng = stream(seed, "fpd")
    centre = np.average(a, axis=0)
    distances = np.mean(
        [
            frechet(
                *_moments(a - centre, a_weights, rng.permutation(len(a)), sizes),
                *_moments(b - centre, b_weights, rng.permutation(len(b)), sizes),
            )
            for _ in range(REPEATS)
        ],
        axis=0,
    )
    if not np.isfinite(distances).all():
        return math.nan
    line, _ = nnls(np.column_stack([np.ones(len(sizes)), largest / sizes]), distances)
    return float(line[0])


def frechet(a_mean: Floats, a_cov: Floats, b_mean: Floats, b_cov: Floats) -> Floats:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) of means (..., D) and covariances (..., D, D).

    Negative eigenvalues, of signed weights or of rounding, count as 0.
    """
    values, vectors = np.linalg.eigh(a_cov)
    root = (vectors * np.sqrt(np.maximum(values, 0))[..., None, :]) @ np.swapaxes(vectors, -1, -2)
    mixed = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ b_cov @ root), 0)).sum(axis=-1)
    traces = np.trace(a_cov, axis1=-2, axis2=-1) + np.trace(b_cov, axis1=-2, axis2=-1)
    return np.asarray(((a_mean - b_mean) ** 2).sum(axis=-1) + traces - 2 * mixed)


def _moments(
    x: Floats, weight: Floats, order: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Means (S, D) and covariances (S, D, D) of the first sizes[s] events in this order.

    NaN where the weights of such a batch do not sum to more than their error.
    """
    total, squares = np.zeros(len(sizes)), np.zeros(len(sizes))
    first = np.zeros((len(sizes), x.shape[1]))
    second = np.zeros((len(sizes), x.shape[1], x.shape[1]))
    for s, rows in enumerate(np.split(order, sizes)[:-1]):
        part, w = x[rows], weight[rows]
        total[s], squares[s] = w.sum(), (w * w).sum()
        first[s], second[s] = w @ part, part.T @ (w[:, None] * part)
    total, squares, first, second = (np.cumsum(n, axis=0) for n in (total, squares, first, second))
    usable = (total > 0) & (total**2 > squares)
    total = np.where(usable, total, np.nan)
    mean = first / total[:, None]
    spread = second / total[:, None, None] - mean[:, :, None] * mean[:, None, :]
    unbiased = total**2 / (total**2 - squares)
    if not usable.all():
        return np.full_like(mean, np.nan), np.zeros_like(spread)
    return mean, spread * unbiased[:, None, None]


def kpd(a: Floats, b: Floats, seed: int, a_weights: Floats, b_weights: Floats) -> float:
    """Median over batches of the unbiased squared MMD of a (n, D) and b (m, D), kernel (x.y/D + 1)^4.

    Ten batches of 1000 events of each, or of half of the smaller sample, drawn without repetition.
    """
    size = min(KERNEL_BATCH, min(len(a), len(b)) // 2)
    if size < 2:
        return math.nan
    rng = stream(seed, "kpd")
    values = []
    for _ in range(KERNEL_BATCHES):
        one, two = (rng.permutation(len(x))[:size] for x in (a, b))
        values.append(mmd(a[one], b[two], a_weights[one], b_weights[two]))
    return float(np.median(values))


def mmd(a: Floats, b: Floats, a_weights: Floats, b_weights: Floats) -> float:
    """Unbiased squared maximum mean discrepancy of a (n, D) and b (m, D) with kernel (x.y/D + 1)^4.

    Gretton et al., JMLR 13 (2012) 723, equation 3, with weights (n,), (m,).
    """

    def kernel(x: Floats, y: Floats) -> Floats:
        k = x @ y.T
        k /= x.shape[1]
        k += 1
        np.square(k, out=k)
        return np.square(k, out=k)

    def within(x: Floats, w: Floats) -> float:
        own = ((x * x).sum(axis=1) / x.shape[1] + 1) ** 4
        squares = (w * w).sum()
        return float((w @ kernel(x, x) @ w - (w * w) @ own) / (w.sum() ** 2 - squares))

    between = a_weights @ kernel(a, b) @ b_weights / (a_weights.sum() * b_weights.sum())
    return within(a, a_weights) + within(b, b_weights) - 2 * float(between)


def defined_rows(values: npt.ArrayLike, weights: npt.ArrayLike | None) -> tuple[Floats, Floats]:
    """The rows of values (n, D) in which all are finite, and their weights, 1 where none are given."""
    x = np.asarray(values, dtype=np.float64)
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
    known = np.isfinite(x).all(axis=1)
    return x[known], w[known]
