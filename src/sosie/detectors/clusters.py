"""Clusters of a calorimeter: local maxima, 3 x 3 cells, S-shape, energy calibration, resolution."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sosie.detectors.base import Array

EVENTS_PER_BIN = 50
MAX_BINS = 20
B_RANGE = (1.0, 100.0)
W0_RANGE = (2.2, 10.0)


@dataclass(frozen=True)
class Clusters:
    """All clusters of a batch of events, in the order of events and then of cells.

    Every array has shape (M,): ``event`` is the row in the batch, ``ix`` and ``iy`` the seed cell,
    ``energy`` the sum over the cluster in the unit of the response, ``dx`` and ``dy`` the
    energy-weighted offset from the centre of the seed cell in the unit of the pitch. ``cells``
    (M, 3, 3) are the energies of the cluster, the first index x.
    """

    event: Array
    ix: Array
    iy: Array
    energy: Array
    dx: Array
    dy: Array
    cells: Array

    def take(self, rows: Array) -> "Clusters":
        """The clusters at ``rows`` (indices or mask), in that order."""
        return Clusters(
            self.event[rows],
            self.ix[rows],
            self.iy[rows],
            self.energy[rows],
            self.dx[rows],
            self.dy[rows],
            self.cells[rows],
        )


def squares(response: Array, event: Array, ix: Array, iy: Array, reach: int) -> Array:
    """The squares of 2 reach + 1 cells around given cells, zero beyond the edge of the matrix.

    response (N, X, Y); event, ix, iy (M,). Returns (M, 2 reach + 1, 2 reach + 1) in float64.
    """
    padded = np.pad(response, ((0, 0), (reach, reach), (reach, reach)))
    step = np.arange(2 * reach + 1)
    rows = ix[:, None, None] + step[:, None]
    columns = iy[:, None, None] + step
    return padded[event[:, None, None], rows, columns].astype(np.float64)


def local_maxima(response: Array, threshold: float) -> tuple[Array, Array, Array]:
    """Event and cell of each local maximum above the threshold, in index order.

    response (N, X, Y) -> event, ix, iy (M,). A maximum is above its neighbours that come earlier in
    index order and not below the later ones, so that the first of two equal neighbours wins.
    """
    event, ix, iy = np.nonzero(response > threshold)
    around = squares(response, event, ix, iy, 1).reshape(-1, 9)
    centre = around[:, 4:5]
    keep = (centre > around[:, :4]).all(axis=1) & (centre >= around[:, 5:]).all(axis=1)
    return event[keep], ix[keep], iy[keep]


def find_clusters(response: Array, threshold: float, pitch: float) -> Clusters:
    """All 3 x 3 clusters around the local maxima above the threshold.

    response (N, X, Y), threshold in its unit, pitch of the cells in mm. The energy of a cell that
    belongs to several clusters is split between them in proportion to their seeds' energies.
    """
    event, ix, iy = local_maxima(response, threshold)
    seeds = np.zeros(response.shape, dtype=response.dtype)
    seeds[event, ix, iy] = response[event, ix, iy]
    # Two seeds that share a cell are at most two cells apart: all rivals lie in the 5 x 5 square.
    rivals = squares(seeds, event, ix, iy, 2)
    claims = sum(rivals[:, i : i + 3, j : j + 3] for i in range(3) for j in range(3))
    shares = rivals[:, 2:3, 2:3] / claims
    cells = squares(response, event, ix, iy, 1) * shares
    energy = cells.sum(axis=(1, 2))
    step = pitch * np.array([-1.0, 0.0, 1.0])
    dx = cells.sum(axis=2) @ step / energy
    dy = cells.sum(axis=1) @ step / energy
    return Clusters(event, ix, iy, energy, dx, dy, cells)


def leading(clusters: Clusters) -> Clusters:
    """The cluster of largest energy of each event that has one, in the order of events."""
    order = np.lexsort((-clusters.energy, clusters.event))
    event = clusters.event[order]
    first = np.ones(len(event), dtype=bool)
    first[1:] = event[1:] != event[:-1]
    return clusters.take(order[first])


def s_shape(offset: Array, b: float, half: float) -> Array:
    """The place within the cell, from the energy-weighted offset: b asinh[(offset/D) sinh(D/b)].

    offset (...), b and D = half the pitch in one unit. The centre and the borders of the cell stay
    in place. Exact for a profile exp(-|x| / b) and cells on both sides. Source: METRICS, section
    Calorimeter.
    """
    return b * np.arcsinh(offset / half * np.sinh(half / b))


def half_width(values: Array) -> float:
    """Half the central 68 % interval."""
    low, high = np.quantile(values, (0.16, 0.84))
    return float(high - low) / 2


def fit_s_shape(offset: Array, place: Array, half: float) -> float:
    """The b of the S-shape that minimises the half-width of the residual to the true place.

    offset, place (N,) relative to the centre of the seed cell, N >= 1; same unit as half and b.
    """

    def width(log_b: float) -> float:
        return half_width(s_shape(offset, float(np.exp(log_b)), half) - place)

    return float(np.exp(_valley(width, np.log(np.geomspace(*B_RANGE, 41)))))


def _valley(width: Callable[[float], float], scan: Array) -> float:
    """Where a function with small steps is smallest: a scan finds the valley, a search refines it."""
    # Slow to import, and needed by the calibration alone.
    from scipy.optimize import minimize_scalar

    values = [width(x) for x in scan]
    best = int(np.argmin(values))
    bounds = (scan[max(best - 1, 0)], scan[min(best + 1, len(scan) - 1)])
    found = minimize_scalar(width, bounds=bounds, method="bounded")
    return float(found.x if found.fun < values[best] else scan[best])


def log_offset(cells: Array, w0: float, pitch: float) -> Array:
    """Log-weighted offset (M, 2) from the centre of the seed cell, in the unit of the pitch.

    cells (M, 3, 3), NaN without a cluster; w = max(0, w0 + ln(E_i / E_cl)). The seed has a ninth of the energy or more, so
    that some weight is positive for w0 > ln 9. Source: METRICS, section Calorimeter.
    """
    share = cells / cells.sum(axis=(1, 2), keepdims=True)
    log_share = np.log(share, out=np.full(share.shape, -np.inf), where=share > 0)
    weight = np.maximum(0.0, w0 + log_share)
    total = weight.sum(axis=(1, 2))[:, None]
    step = pitch * np.array([-1.0, 0.0, 1.0])
    offset = np.column_stack([weight.sum(axis=2) @ step, weight.sum(axis=1) @ step])
    return np.divide(offset, total, out=np.full(offset.shape, np.nan), where=total > 0)


def fit_w0(cells: Array, place: Array, pitch: float) -> float:
    """The w0 that minimises the half-widths of the residuals in x and y, added in quadrature.

    cells (N, 3, 3); place (N, 2) true, relative to the centre of the seed cell, N >= 1.
    """

    def width(w0: float) -> float:
        residual = log_offset(cells, w0, pitch) - place
        return math.hypot(*(half_width(column) for column in residual.T))

    return _valley(width, np.linspace(*W0_RANGE, 40))


def fit_energy(energy: Array, truth: Array) -> tuple[list[float], list[float]]:
    """The knots of the energy calibration: cluster energies and true energies, both increasing.

    energy, truth (N,) positive, N >= 1. Bins of equal content in the true energy, about 50 events
    or more in each; a knot is the median true energy and that times the median of energy / truth.
    """
    bins = int(np.clip(len(truth) // EVENTS_PER_BIN, 1, MAX_BINS))
    edges = np.unique(np.quantile(truth, np.linspace(0, 1, bins + 1), method="inverted_cdf"))
    index = np.clip(np.searchsorted(edges, truth, side="right") - 1, 0, max(len(edges) - 2, 0))
    knots_energy: list[float] = []
    knots_truth: list[float] = []
    for k in range(max(len(edges) - 1, 1)):
        inside = index == k
        middle = float(np.median(truth[inside]))
        measured = middle * float(np.median(energy[inside] / truth[inside]))
        if not knots_energy or (measured > knots_energy[-1] and middle > knots_truth[-1]):
            knots_energy.append(measured)
            knots_truth.append(middle)
    return knots_energy, knots_truth


def calibrated_energy(energy: Array, knots_energy: list[float], knots_truth: list[float]) -> Array:
    """The true energy that belongs to a cluster energy: straight lines between knots in log-log.

    energy (N,) positive or NaN; the outer lines continue beyond the knots; a single knot scales.
    """
    log_energy, log_knots, log_truth = np.log(energy), np.log(knots_energy), np.log(knots_truth)
    if len(log_knots) == 1:
        return np.exp(log_energy - log_knots[0] + log_truth[0])
    low = np.clip(np.searchsorted(log_knots, log_energy) - 1, 0, len(log_knots) - 2)
    slope = np.diff(log_truth) / np.diff(log_knots)
    return np.exp(log_truth[low] + slope[low] * (log_energy - log_knots[low]))


def solve_resolution(energy: Array, width: Array) -> Array:
    """a and b (..., 2), not negative, of width = a / sqrt(E) (+) b; least squares in width^2.

    energy (B,) in GeV, width (..., B). Every width has the same relative error; bins that are NaN
    or not positive do not count; NaN where fewer than two different energies are left.
    """
    energy, width = np.broadcast_arrays(np.asarray(energy, float), np.asarray(width, float))
    valid = (energy > 0) & (width > 0) & np.isfinite(energy) & np.isfinite(width)
    # Divided by the measured width^2, each bin reads A f + B g = 1 with unit error.
    square = np.where(valid, width, 1.0) ** 2
    g = np.where(valid, 1 / square, 0.0)
    f = g / np.where(valid, energy, 1.0)
    ff, fg, gg, f1, g1 = ((v * w).sum(axis=-1) for v, w in ((f, f), (f, g), (g, g), (f, 1), (g, 1)))
    determinant = ff * gg - fg**2
    solvable = determinant > 1e-12 * ff * gg
    divisors = [np.where(solvable, value, 1.0) for value in (determinant, ff, gg)]
    stochastic = (gg * f1 - fg * g1) / divisors[0]
    constant = (ff * g1 - fg * f1) / divisors[0]
    squared = np.stack(
        [
            np.where(constant < 0, f1 / divisors[1], np.maximum(stochastic, 0.0)),
            np.where(stochastic < 0, g1 / divisors[2], np.maximum(constant, 0.0)),
        ],
        axis=-1,
    )
    return np.where(solvable[..., None], np.sqrt(squared), np.nan)


def resolution_curve(energy: Array, parameters: Array) -> Array:
    """a / sqrt(E) (+) b at energies in GeV, parameters (a, b)."""
    return np.hypot(parameters[0] / np.sqrt(energy), parameters[1])
