"""Pad rows of a sector of the time projection chamber: geometry, windows, clusters in a row."""

from dataclasses import dataclass

import numpy as np

from sosie.detectors.base import Array

PADS, BUCKETS = 8, 16
# The window of a response begins so far before the pad and the bucket that the track points at.
PADS_BEFORE, BUCKETS_BEFORE = 3, 7
PITCH = 5.0
BUCKET = 5.5
READOUT = 1630.0
HEIGHT = np.repeat([12.0, 18.0], [27, 26])
ROW_Y = 403.0 + np.cumsum(HEIGHT) - HEIGHT / 2
HALF_PADS = (
    *(20, 21, 21, 22, 23, 23, 24, 24, 25, 26, 26, 27, 28, 28),
    *(29, 30, 30, 31, 32, 32, 33, 34, 34, 35, 35, 36, 37),
    *range(37, 62),
    61,
)
ROW_PADS = 2 * np.array(HALF_PADS)
ROWS = len(ROW_PADS)

# A cell has one number: the plane it lies in, then pad and bucket in 11 and 12 bits, with a margin
# below zero, so that the neighbours of a cell never lie in another plane.
_PAD_BITS, _BUCKET_BITS, _MARGIN = 11, 12, 64


def corner(conditions: Array) -> tuple[Array, Array]:
    """Pad and bucket (N,) of response[0][0], from the conditions (N, 7); NaN of conditions stay."""
    c = np.asarray(conditions, dtype=np.float64)
    return np.floor(c[:, 3]) - PADS_BEFORE, np.floor(c[:, 2]) - BUCKETS_BEFORE


def pad_x(pad: Array, row: Array) -> Array:
    """x in mm of a pad coordinate on a pad row; pad centres lie at integers."""
    x: Array = (pad - ROW_PADS[row] / 2 + 0.5) * PITCH
    return x


def bucket_z(bucket: Array) -> Array:
    """z in mm of a drift time in buckets; the read-out plane lies at 1630 mm."""
    return READOUT - BUCKET * np.asarray(bucket)


@dataclass(frozen=True)
class Cells:
    """Charge in ADC of the cells of many planes: number of the cell, rising, and charge (M,)."""

    number: Array
    charge: Array

    @property
    def plane(self) -> Array:
        """The plane of each cell."""
        return self.number >> (_PAD_BITS + _BUCKET_BITS)

    @property
    def pad(self) -> Array:
        """Absolute pad of each cell."""
        return (self.number >> _BUCKET_BITS) % (1 << _PAD_BITS) - _MARGIN

    @property
    def bucket(self) -> Array:
        """Absolute time bucket of each cell."""
        return self.number % (1 << _BUCKET_BITS) - _MARGIN


def overlay(response: Array, conditions: Array, plane: Array) -> Cells:
    """Responses put back on their planes, such as the pad rows of an event, and summed.

    response (N, 8, 16) in ADC, conditions (N, 7), plane (N,) integer. What is not a positive charge
    at a finite place is left out.
    """
    pad0, bucket0 = corner(conditions)
    event, pad, bucket = np.nonzero(np.asarray(response) > 0)
    inside = np.isfinite(pad0 + bucket0)[event]
    event, pad, bucket = event[inside], pad[inside], bucket[inside]
    number = (
        (plane[event].astype(np.int64) << (_PAD_BITS + _BUCKET_BITS))
        + ((pad + pad0[event].astype(np.int64) + _MARGIN) << _BUCKET_BITS)
        + (bucket + bucket0[event].astype(np.int64) + _MARGIN)
    )
    unique, where = np.unique(number, return_inverse=True)
    charge = np.bincount(where, response[event, pad, bucket], len(unique))
    return Cells(unique, charge)


@dataclass(frozen=True)
class Clusters:
    """Clusters (C,): plane, charge in ADC, charge-weighted pad and bucket."""

    plane: Array
    charge: Array
    pad: Array
    bucket: Array


def _uphill(cells: Cells) -> Array:
    """The cell (M,) of largest charge among each cell and its eight neighbours; of equals the first."""
    number, charge = cells.number, cells.charge
    index = np.arange(len(number))
    best = index.copy()
    for pad in (-1, 0, 1):
        below = number + (pad << _BUCKET_BITS) - 1
        at = np.searchsorted(number, below)
        for step in range(3):
            at = np.minimum(at, len(number) - 1)
            there = number[at] == below + step
            higher = (charge[at] > charge[best]) | ((charge[at] == charge[best]) & (at < best))
            best = np.where(there & higher, at, best)
            at = at + there
    return best


def find_clusters(cells: Cells) -> Clusters:
    """Clusters of a plane: a local maximum in 3 x 3 cells, and all cells from which the way up ends there.

    So charge that two maxima share is divided along the valley between them.
    """
    top = _uphill(cells)
    while not np.array_equal(top, top[top]):
        top = top[top]
    peak, where = np.unique(top, return_inverse=True)

    def total(weight: Array) -> Array:
        return np.bincount(where, weight, len(peak))

    charge = total(cells.charge)
    return Clusters(
        cells.plane[peak],
        charge,
        total(cells.charge * cells.pad) / charge,
        total(cells.charge * cells.bucket) / charge,
    )


def nearest_window(clusters: Clusters, conditions: Array, plane: Array) -> Array:
    """The window (C,) in whose plane and around whose true position a cluster lies, -1 for none.

    conditions (N, 7), plane (N,). Of several the nearest, in units of half a window; farther than
    half a window in pads or buckets is none.
    """
    order = np.argsort(plane, kind="stable")
    first = np.searchsorted(plane[order], clusters.plane)
    number = np.searchsorted(plane[order], clusters.plane, side="right") - first
    owner = np.full(len(clusters.plane), -1)
    best = np.full(len(owner), np.inf)
    for k in range(int(number.max(initial=0))):
        rows = np.flatnonzero(k < number)
        window = order[first[rows] + k]
        pad = (clusters.pad[rows] - conditions[window, 3]) / (PADS / 2)
        bucket = (clusters.bucket[rows] - conditions[window, 2]) / (BUCKETS / 2)
        away = pad**2 + bucket**2
        nearer = (np.abs(pad) <= 1) & (np.abs(bucket) <= 1) & (away < best[rows])
        owner[rows[nearer]] = window[nearer]
        best[rows[nearer]] = away[nearer]
    return owner
