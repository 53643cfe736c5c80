"""Calibration of the spread: pulls and coverage of many bins, the scale of s, and the band it gives.

Definitions: "Ensembles" in the manual of the metrics. The scale is fitted on events that chose
nothing of the surrogate, and is judged on others.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

from sosie.bootstrap import CENTRAL
from sosie.detectors.base import DISTANCE
from sosie.ensembles import ROUNDING, coverage, expected_coverage, pull_width

Floats = npt.NDArray[np.float64]
Arrays = Mapping[str, npt.NDArray[Any]]

TABLES = re.compile(
    r"((profiles|rates|groups/results|groups/rates)/(?P<variable>\w+)"
    r"|pairs/(found|results)/\w+|rocs/cells)/pull"
)
"""Pulls of what is measured in bins; ratios and fits say the same once more."""
LARGEST = 100.0
"""A scale beyond which the spread has nothing to do with the bias."""
FITTED, HIDDEN, SHORT = "fitted", "hidden", "short"
"""A scale that covers; statistical errors alone cover; no scale does."""
HALVINGS = 50


@dataclass(frozen=True, eq=False)
class Bins:
    """Bins of one ensemble: difference, s and error of the difference (B,), and the first two in
    replicas (R, B) of events and members; in the units of what is measured. members: K."""

    difference: Floats
    systematic: Floats
    error: Floats
    resampled_difference: Floats
    resampled_systematic: Floats
    members: int


def tables(arrays: Arrays) -> list[str]:
    """Prefixes of the tables that calibrate: all that moments or reconstruct measured in bins, but
    not in bins of the distance to the domain of training."""
    found = ((name, TABLES.fullmatch(name)) for name in sorted(arrays))
    return [name.removesuffix("/pull") for name, m in found if m and m["variable"] != DISTANCE]


def bins_of(arrays: Arrays, prefixes: list[str], members: int) -> Bins:
    """The bins of these tables in which difference, spread and error are defined, and more than
    rounding."""

    def flat(name: str) -> Floats:
        parts = [np.asarray(arrays[f"{p}/{name}"], np.float64).ravel() for p in prefixes]
        return np.concatenate(parts) if parts else np.empty(0)

    def replicas(name: str) -> Floats:
        parts = [arrays[f"{p}/{name}"] for p in prefixes]
        rows = [part.reshape(len(part), -1) for part in parts]
        return np.hstack(rows).astype(np.float64) if rows else np.empty((0, 0))

    difference, systematic, error = map(flat, ("difference", "systematic", "difference_error"))
    size = ROUNDING * (np.abs(flat("reference")) + np.abs(flat("mean")))
    if members < 2:
        systematic = np.zeros_like(difference)
    with np.errstate(invalid="ignore"):
        kept = np.isfinite(difference) & (np.hypot(systematic, error) > size)
    again = replicas("resampled_systematic")[:, kept]
    return Bins(
        difference[kept],
        systematic[kept],
        error[kept],
        replicas("resampled_difference")[:, kept],
        again if members > 1 else np.zeros_like(again),
        members,
    )


def student(members: int) -> float:
    """Half the central 68.27 % interval of Student's t with K - 1 degrees of freedom; Gaussian for
    one member."""
    upper = (1 + CENTRAL) / 2
    return float(stdtrit(members - 1, upper) if members > 1 else ndtri(upper))


def widening(members: int) -> float:
    """Half the interval about the mean of K members, in units of s, that holds 68.27 % of truths."""
    return student(members) * math.sqrt(1 + 1 / members)


def pulls(bins: Bins, scale: float) -> Floats:
    """Pulls (B,) with s multiplied by the scale."""
    spread = scale**2 * bins.systematic**2 * (1 + 1 / bins.members)
    return np.asarray(bins.difference / np.sqrt(spread + bins.error**2))


def resampled(bins: Bins, scale: npt.ArrayLike) -> Floats:
    """Pulls (R, B) in the replicas, with s multiplied by the scale () or (R, 1).

    A replica is drawn from a sample that is drawn: its difference varies twice as much as that of
    the sample from events, and as (1 + 2/K) s^2 from members.
    """
    spread = (
        np.asarray(scale) ** 2 * bins.resampled_systematic**2 * (1 + 2 / bins.members)
        + 2 * bins.error**2
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        found = bins.resampled_difference / np.sqrt(spread)
    # A replica may have no event in any of few bins.
    return np.where(np.isfinite(found).any(axis=1, keepdims=True), found, 0.0)


@dataclass(frozen=True)
class Scale:
    """The factor of s with its error from the bootstrap, and how it came about.

    status: 'fitted', 'hidden' where the statistical errors of the sample explain the differences, or
    'short' where no scale below 100 makes the spread cover them. The value is 1 but where fitted.
    """

    value: float
    error: float
    bins: int
    status: str


def fit_scale(bins: Bins) -> Scale:
    """The factor of s with which 68.27 % of the pulls lie within that interval of Student's t.

    It stays 1 where statistical errors alone cover as many, since the sample cannot resolve it, and
    where members agree in so many bins in which they are off that no scale helps. NaN without bins.
    error: half the central 68.27 % of the scales of the replicas, which are fitted alike.
    """
    if not len(bins.difference) or bins.members < 2:
        return Scale(math.nan, math.nan, 0, HIDDEN)
    edge = student(bins.members)

    def solve(width: Any, rows: int) -> Floats:
        low, high = np.zeros(rows), np.full(rows, LARGEST)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            wide = width(middle) > edge
            low, high = np.where(wide, middle, low), np.where(wide, high, middle)
        return low

    def nominal(scale: Floats) -> Any:
        return np.array([np.quantile(np.abs(pulls(bins, float(scale[0]))), CENTRAL)])

    def replicated(scale: Floats) -> Any:
        return np.nanquantile(np.abs(resampled(bins, scale[:, None])), CENTRAL, axis=1)

    value = float(solve(nominal, 1)[0])
    each = solve(replicated, len(bins.resampled_difference))
    low, high = np.quantile(each, [(1 - CENTRAL) / 2, (1 + CENTRAL) / 2])
    status = HIDDEN if value == 0 else SHORT if value > 0.99 * LARGEST else FITTED
    error = float(high - low) / 2
    return Scale(value if status == FITTED else 1.0, error, len(bins.difference), status)


def judge(bins: Bins, scale: float) -> dict[str, Any]:
    """Coverage and width of the pulls with s multiplied by the scale, and what is expected.

    coverage: share of the pulls within the central 68.27 % of Student's t; band_coverage: share of
    the differences below the scaled s alone. Errors from replicas of events and members.
    """
    own, again = pulls(bins, scale), resampled(bins, scale)
    edge = student(bins.members)

    def share(values: Floats, limit: float, axis: int | None = None) -> Any:
        finite = np.isfinite(values)
        count = np.maximum(finite.sum(axis=axis), 1)
        return (finite & (np.abs(values) < limit)).sum(axis=axis) / count

    def width(values: Floats) -> Floats:
        ends = np.nanquantile(values, [(1 - CENTRAL) / 2, (1 + CENTRAL) / 2], axis=1)
        return np.asarray((ends[1] - ends[0]) / 2)

    enough = len(own) >= 4
    several = bins.members > 1
    return {
        "bins": len(own),
        "coverage": float(share(own, edge)) if enough else math.nan,
        "coverage_error": float(np.std(share(again, edge, 1), ddof=1)) if enough else math.nan,
        "expected_coverage": CENTRAL,
        "pull_width": pull_width(own),
        "pull_width_error": float(np.std(width(again), ddof=1)) if enough else math.nan,
        "expected_width": edge,
        "beyond_3": float(np.mean(np.abs(own) > 3)) if enough else math.nan,
        "band_coverage": coverage(bins.difference, scale * bins.systematic)
        if several
        else math.nan,
        "expected_band_coverage": expected_coverage(bins.members),
    }


def calibrated(arrays: Arrays, scale: float, members: int) -> dict[str, npt.NDArray[Any]]:
    """The arrays with the calibrated band as ``systematic`` and the pulls that go with it.

    The band is scale * s, widened so that a Gaussian ensemble of K members covers 68.27 %; s and
    the pulls as they were are kept as ``systematic_raw`` and ``pull_raw``.
    """
    found = dict(arrays)
    for name in arrays:
        if not name.endswith("/systematic"):
            continue
        prefix = name.removesuffix("/systematic")
        s, difference, error = (
            np.asarray(arrays[f"{prefix}/{part}"])
            for part in ("systematic", "difference", "difference_error")
        )
        found[f"{prefix}/systematic_raw"], found[f"{prefix}/pull_raw"] = s, arrays[f"{prefix}/pull"]
        found[name] = scale * widening(members) * s
        total = np.sqrt((scale * s) ** 2 * (1 + 1 / members) + error**2)
        defined = np.isfinite(arrays[f"{prefix}/pull"]) & (total > 0)
        pull = difference / np.where(defined, total, 1.0)
        found[f"{prefix}/pull"] = np.where(defined, pull, np.nan)
    return found
