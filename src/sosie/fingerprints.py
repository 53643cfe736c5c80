"""One number for each response, by which one and the same stored event is recognised."""

from typing import Any

import numpy as np

from sosie.detectors.base import Detector
from sosie.streams import combine

Array = np.ndarray[Any, Any]
LEADING = 16
"""Leading cells whose order is looked at."""
SHARE = 0.02
"""Of the leading cell, below which a cell is not: so it stays however the response is scaled."""
STEP = 0.01
"""Of the logarithm of the leading cells: far above rounding."""


def fingerprints(detector: Detector, response: Array, conditions: Array) -> Array:
    """Numbers (N,) uint64, equal for responses (N, *shape) that are one but for the scale of their
    conditions (N, C), different for others save by chance.

    A response that may be negative is its numbers. Another one is the order of its leading cells,
    and how much is in the first over the detector's scale and in the second over the first: a
    surrogate that scales what it has stored rounds, and suppresses other small cells.
    """
    flat = response.reshape(len(response), -1).astype(np.float32, copy=False)
    if detector.signed:
        # Minus zero is zero.
        return combine(*(flat + np.float32(0)).view(np.uint32).T)
    count = min(LEADING, flat.shape[1])
    cells = np.sort(np.argpartition(flat, -count, axis=1)[:, -count:], axis=1)
    values = np.take_along_axis(flat, cells, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    cells = np.take_along_axis(cells, order, axis=1)
    values = np.take_along_axis(values, order, axis=1)
    cells = np.where(values >= np.maximum(SHARE * values[:, :1], 1e-30), cells, -1)
    scale = detector.scale(conditions.astype(np.float64))
    first, second = values[:, 0].astype(np.float64), values[:, min(1, count - 1)]
    levels = [_level(first, scale), _level(second, first)]
    return combine(*cells.T, *levels)


def _level(values: Array, over: Array) -> Array:
    """The logarithm of a ratio (N,) in whole steps; -1e9 where there is none."""
    known = (values > 0) & (over > 0)
    ratio = np.where(known, values, 1.0) / np.where(known, over, 1.0)
    return np.where(known, np.floor(np.log(ratio) / STEP), -1e9).astype(np.int64)


def multiplicity(marks: Array, index: Array, bins: int) -> tuple[int, float]:
    """How many of the fingerprints (N,) are distinct, and the effective number of them in bins (N,).

    A response that is there k times weighs k: (sum k)^2 / sum k^2 of each bin, summed over bins.
    Kish, Survey Sampling (1965).
    """
    if not len(marks):
        return 0, 0.0
    # Sorted by bin and fingerprint, equal ones stand together.
    order = np.lexsort((marks, index))
    own, place = marks[order], index[order]
    starts = np.flatnonzero(np.r_[True, (own[1:] != own[:-1]) | (place[1:] != place[:-1])])
    times = np.diff(np.r_[starts, len(own)]).astype(np.float64)
    total, squares = (np.bincount(place[starts], weights, bins) for weights in (times, times**2))
    filled = squares > 0
    return len(np.unique(marks)), float((total[filled] ** 2 / squares[filled]).sum())
