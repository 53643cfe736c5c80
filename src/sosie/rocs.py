"""Receiver operating characteristic of one number that tells two classes of events apart.

Weights may be negative. Row 0 of every result is the nominal one (count 1 for every event), rows
1..R are the replicas of `sosie.bootstrap`. Equal scores are one step of the curve, a straight line,
so that an atom counts half. Definitions: section RICH in the manual of the metrics.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sosie.bootstrap import carried, significant

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

STATISTICS = ("auc", "rejection")
EFFICIENCY = 0.9
"""Efficiency for signal at which the rejection of background is quoted."""

_NUMBERS = 2_000_000
"""Products of weight and count in memory at a time."""


def roc_statistics(
    score: npt.ArrayLike, is_signal: npt.ArrayLike, weight: npt.ArrayLike, counts: Counts
) -> Floats:
    """Area under the curve, and 1 / mis-identification at 90 % efficiency: (R+1, 2).

    score: (N,), larger for signal, left out where not finite; is_signal: (N,), False for
    background; weight: (N,); counts: (R, N). The area is the probability that signal scores above
    background, equal scores half. NaN where the sum of the weights of a class is not positive or
    smaller than its own error; the rejection also where less than one effective event of background
    passes. Raises ValueError where the shapes do not fit or a weight is not finite.
    """
    events = _ordered(score, is_signal, weight)
    if counts.ndim != 2 or counts.shape[1] != np.size(weight):
        raise ValueError(f"counts {counts.shape} do not describe {np.size(weight)} events")
    out = np.full((counts.shape[0] + 1, len(STATISTICS)), np.nan)
    if events.weight.size == 0:
        return out
    for where, product in _products(events, counts):
        steps = _steps(events, product, where.start == 0)
        out[where, 0] = np.where(steps.usable, _area(steps), np.nan)
        out[where, 1] = np.where(steps.usable, _rejection(steps), np.nan)
    return out


def curve(
    score: npt.ArrayLike, is_signal: npt.ArrayLike, weight: npt.ArrayLike, points: int = 101
) -> Floats:
    """Efficiency for signal, evenly from 0 to 1, and the mis-identification of background: (2, points).

    Arguments and errors as in `roc_statistics`. Where one efficiency has several, the smallest
    mis-identification is given; it is NaN where the area is.
    """
    events = _ordered(score, is_signal, weight)
    grid = np.linspace(0.0, 1.0, points)
    out = np.stack([grid, np.full(points, np.nan)])
    if events.weight.size:
        steps = _steps(events, events.weight[None], True)
        if steps.usable[0]:
            out[1] = [_crossing(steps, efficiency)[0][0] for efficiency in grid]
    return out


@dataclass(frozen=True)
class _Events:
    """Events with a score, by falling score: ``place`` in the input, ``ends`` of equal scores."""

    place: npt.NDArray[np.int64]
    weight: Floats
    signal: Mask
    ends: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Steps:
    """Both classes above each distinct score, from none to all: (r, D+1) each; usable (r,).

    ``squares`` are the sums of the squared weights of the background.
    """

    efficiency: Floats
    mis_id: Floats
    background: Floats
    squares: Floats
    usable: Mask


def _ordered(score: npt.ArrayLike, is_signal: npt.ArrayLike, weight: npt.ArrayLike) -> _Events:
    s = np.asarray(score, dtype=np.float64)
    signal = np.asarray(is_signal, dtype=np.bool_)
    w = np.asarray(weight, dtype=np.float64)
    if not s.shape == signal.shape == w.shape == (s.size,):
        raise ValueError(
            f"score {s.shape}, is_signal {signal.shape} and weight {w.shape} do not describe the "
            "same events"
        )
    if not np.isfinite(w).all():
        raise ValueError("a weight is not finite")
    place = np.flatnonzero(np.isfinite(s))
    place = place[np.argsort(-s[place], kind="stable")]
    last = np.append(np.diff(s[place]) != 0, place.size > 0)
    return _Events(place, w[place], signal[place], np.flatnonzero(last))


def _products(events: _Events, counts: Counts) -> Iterator[tuple[slice, Floats]]:
    """Weight times count (r, n) of the nominal sample and then of blocks of replicas."""
    yield slice(0, 1), events.weight[None]
    block = max(1, _NUMBERS // events.weight.size)
    for start in range(0, len(counts), block):
        some = counts[start : start + block][:, events.place]
        yield slice(1 + start, 1 + start + len(some)), some * events.weight


def _steps(events: _Events, product: Floats, nominal: bool) -> _Steps:
    signal = _above(product * events.signal, events.ends)
    kept = product * ~events.signal
    background, squares = _above(kept, events.ends), _above(kept * kept, events.ends)
    of_signal = (product * product) @ events.signal.astype(np.float64)
    usable = significant(signal[:, -1], of_signal) & significant(background[:, -1], squares[:, -1])
    number = np.array([np.count_nonzero(events.signal), np.count_nonzero(~events.signal)])
    if nominal:
        totals = np.stack([signal[0, -1], background[0, -1]])
        usable &= carried(totals, np.stack([of_signal[0], squares[0, -1]]), number).all()
    whole = np.where(usable, signal[:, -1], 1.0)[:, None]
    all_background = np.where(usable, background[:, -1], 1.0)[:, None]
    return _Steps(signal / whole, background / all_background, background, squares, usable)


def _above(values: Floats, ends: npt.NDArray[np.int64]) -> Floats:
    """Sums (r, D+1) of values (r, n) above each distinct score, none first."""
    sums = np.cumsum(values, axis=1)[:, ends]
    return np.concatenate([np.zeros((len(sums), 1)), sums], axis=1)


def _area(steps: _Steps) -> Floats:
    middle = (steps.efficiency[:, 1:] + steps.efficiency[:, :-1]) / 2
    area: Floats = (middle * np.diff(steps.mis_id, axis=1)).sum(axis=1)
    return area


def _rejection(steps: _Steps) -> Floats:
    mis_id, background, squares = _crossing(steps, EFFICIENCY)
    passes = significant(background, squares)
    return np.where(passes, 1 / np.where(passes, mis_id, 1.0), np.nan)


def _crossing(steps: _Steps, efficiency: float) -> tuple[Floats, Floats, Floats]:
    """Mis-identification, background and its squared weights (r,) where an efficiency is reached."""
    # Signed weights let the efficiency fall here and there: half-way between its rising hulls from
    # above and below there is one crossing.
    high = np.maximum.accumulate(steps.efficiency, axis=1)
    low = np.minimum.accumulate(steps.efficiency[:, ::-1], axis=1)[:, ::-1]
    rising = (high + low) / 2
    row = np.arange(len(rising))
    # A sum of n weights is exact to about n roundings.
    reached = (rising < efficiency - 1e-12).sum(axis=1)
    after = reached.clip(0, rising.shape[1] - 1)
    before = np.maximum(after - 1, 0)
    step = rising[row, after] - rising[row, before]
    part = (efficiency - rising[row, before]) / np.where(step > 0, step, 1.0)
    part = np.where(step > 0, part, 1.0).clip(0, 1)

    def between(sums: Floats) -> Floats:
        found: Floats = sums[row, before] + part * (sums[row, after] - sums[row, before])
        return found

    return between(steps.mis_id), between(steps.background), between(steps.squares)
