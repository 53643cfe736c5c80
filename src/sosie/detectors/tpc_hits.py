"""Hits of the time projection chamber: place of a response on its pad row, residuals and errors."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from sosie.detectors.base import Array
from sosie.detectors.tpc_rows import (
    BUCKET,
    BUCKETS,
    PADS,
    PITCH,
    corner,
    find_clusters,
    nearest_window,
    overlay,
)
from sosie.errors import InputError

# A hit farther away is none: some 16 times the resolution in pad, 11 times that in time.
REACH_PADS = 1.0
REACH_BUCKETS = 2.0
# Bins of drift length and of slope, in which the width of the residuals is taken for the errors.
ERROR_BINS = 6
MIN_EVENTS = 30
LEAST_ERROR = 1e-3


@dataclass(frozen=True)
class Hits:
    """Charge in ADC (0 for none), absolute pad and bucket (N,); NaN where there is no charge."""

    charge: Array
    pad: Array
    bucket: Array

    def residuals(self, conditions: Array) -> tuple[Array, Array]:
        """Hit minus truth in x and in z, both in mm (N,); NaN where no hit is within reach."""
        c = np.asarray(conditions, dtype=np.float64)
        pad, bucket = self.pad - c[:, 3], self.bucket - c[:, 2]
        found = (np.abs(pad) <= REACH_PADS) & (np.abs(bucket) <= REACH_BUCKETS)
        return np.where(found, PITCH * pad, np.nan), np.where(found, -BUCKET * bucket, np.nan)


def _weighted(charge: Array, pad: Array, bucket: Array) -> Hits:
    some = charge > 0
    safe = np.where(some, charge, 1.0)
    return Hits(charge, *(np.where(some, sums / safe, np.nan) for sums in (pad, bucket)))


def single_hits(response: Array, conditions: Array) -> Hits:
    """The charge-weighted mean of each response alone; response (N, 8, 16), conditions (N, 7)."""
    a = np.asarray(response, dtype=np.float64)
    pads, buckets = a.sum(axis=2), a.sum(axis=1)
    charge = pads.sum(axis=1)
    pad0, bucket0 = corner(conditions)
    found = _weighted(charge, pads @ np.arange(PADS), buckets @ np.arange(BUCKETS))
    return Hits(charge, found.pad + pad0, found.bucket + bucket0)


def overlaid_hits(response: Array, conditions: Array, plane: Array) -> Hits:
    """The hit of each response after all those of a plane, plane (N,), are overlaid.

    Clusters are found in the sum; each belongs to the nearest true position in reach, and a hit is
    the charge-weighted mean of the clusters that belong to it.
    """
    c = np.asarray(conditions, dtype=np.float64)
    clusters = find_clusters(overlay(response, c, plane))
    owner = nearest_window(clusters, c, plane)
    owned = owner >= 0
    sums = (
        np.bincount(owner[owned], (clusters.charge * value)[owned], len(c))
        for value in (1.0, clusters.pad, clusters.bucket)
    )
    return _weighted(*sums)


def _slopes(conditions: Array) -> tuple[Array, Array]:
    """Height of the pad times the squared slope of the track in x and in z (N,), in mm."""
    c = np.asarray(conditions, dtype=np.float64)
    crossing, dip = np.radians(c[:, 0]), np.radians(c[:, 1])
    return c[:, 4] * np.tan(crossing) ** 2, c[:, 4] * (np.tan(dip) / np.cos(crossing)) ** 2


def _binned(values: Array) -> Array:
    """The number (N,) of an equally filled bin for each value."""
    return np.argsort(np.argsort(values, kind="stable"), kind="stable") * ERROR_BINS // len(values)


def _fit_error(residual: Array, drift: Array, slope: Array) -> list[float]:
    """Squared error = a + b * drift length + c * slope, through squared half 68 % widths in bins.

    a, b, c >= 0. Bins make the fit blind to the tails that single delta electrons give.
    """
    index = _binned(drift) * ERROR_BINS + _binned(slope)
    rows, target = [], []
    for k in np.unique(index):
        inside = index == k
        if inside.sum() >= min(MIN_EVENTS, len(residual)):
            low, high = np.quantile(residual[inside], (0.1587, 0.8413))
            square = max((high - low) / 2, LEAST_ERROR) ** 2
            weight = np.sqrt(inside.sum()) / square
            rows.append(weight * np.array([1.0, drift[inside].mean(), slope[inside].mean()]))
            target.append(weight * square)
    if not rows:
        return [float(np.mean(residual**2)), 0.0, 0.0]
    return [float(value) for value in nnls(np.array(rows), np.array(target))[0]]


def calibrate(pieces: Iterable[tuple[Array, Array]]) -> dict[str, Any]:
    """Constants of the hits, to be fitted on the training split only.

    pieces: response (N, 8, 16) in ADC and conditions (N, 7) each. Keys: offset_x, offset_z [mm],
    the median residuals; error_x, error_z, three numbers each, the squared error [mm^2] as a + b *
    drift length [buckets] + c * pad height [mm] * squared slope. InputError where no response has a
    hit near its true position.
    """
    seen = []
    for response, conditions in pieces:
        x, z = single_hits(response, conditions).residuals(conditions)
        seen.append(np.column_stack([x, z, conditions[:, 2], *_slopes(conditions)]))
    every = np.concatenate(seen)
    usable = every[np.isfinite(every).all(axis=1)]
    if not len(usable):
        raise InputError(
            f"tpc: none of {len(every)} responses has a hit within {REACH_PADS:g} pad and "
            f"{REACH_BUCKETS:g} buckets of its true position: check pad_coordinate, drift_length "
            "and the order of the response's axes"
        )
    x, z, drift, slope_x, slope_z = usable.T
    offset_x, offset_z = float(np.median(x)), float(np.median(z))
    return {
        "offset_x": offset_x,
        "offset_z": offset_z,
        "error_x": _fit_error(x - offset_x, drift, slope_x),
        "error_z": _fit_error(z - offset_z, drift, slope_z),
    }


def errors(conditions: Array, calibration: dict[str, Any]) -> tuple[Array, Array]:
    """Errors of a hit in x and z, in mm (N,), from the constants of `calibrate`."""
    drift = np.asarray(conditions, dtype=np.float64)[:, 2]
    found = []
    for name, slope in zip(("error_x", "error_z"), _slopes(conditions), strict=True):
        a, b, c = calibration[name]
        square = a + b * np.maximum(drift, 0.0) + c * slope
        found.append(np.sqrt(np.maximum(square, LEAST_ERROR**2)))
    return found[0], found[1]


def reconstruct(
    response: Array, conditions: Array, calibration: dict[str, Any]
) -> dict[str, Array]:
    """Residuals [mm] of the charge-weighted hit of each response in x and z, and whether it is there.

    response (N, 8, 16) in ADC, conditions (N, 7), calibration from `calibrate`; (N,) each, residuals
    NaN where there is no hit within reach. Source: METRICS, section TPC, reconstruction.
    """
    x, z = single_hits(response, conditions).residuals(conditions)
    return {
        "residual_x": x - calibration["offset_x"],
        "residual_z": z - calibration["offset_z"],
        "hit_found": np.isfinite(x).astype(np.float64),
    }
