"""Statistics of an ensemble: mean over members, its spread, pulls and coverage.

Tables are (R+1, *S) or (K, R+1, *S): row 0 nominal, rows 1..R the paired bootstrap replicas, where
replica r of the reference and of every member carries the same counts.
Definitions: "Ensembles" in the manual of the metrics.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

from sosie.bootstrap import CENTRAL
from sosie.streams import stream

Floats = npt.NDArray[np.float64]

MIN_FINITE_REPLICAS = 0.9
"""Share of the replicas that must be defined for a bootstrap error to be quoted."""

ROUNDING = 1e-12
"""Relative size below which a spread is rounding."""


@dataclass(frozen=True, eq=False)
class Spread:
    """An ensemble against its reference; arrays (*S) in the unit of the observable, pull in none.

    mean: over members. statistical: paired-bootstrap error of the mean. systematic: s, NaN where
    not estimated (one member). difference: reference - mean, difference_error: its paired-bootstrap
    error. pull: difference / total error, with the statistical error alone for one member. noise: v,
    the variance of members that statistics alone explains. resampled_difference and
    resampled_systematic (R, *S): the same of events and members that are drawn again.
    """

    mean: Floats
    statistical: Floats
    systematic: Floats
    difference: Floats
    difference_error: Floats
    pull: Floats
    noise: Floats
    resampled_difference: Floats
    resampled_systematic: Floats
    members: int


def spread(reference: npt.ArrayLike, members: npt.ArrayLike) -> Spread:
    """Spread of K members about their mean, and the pull of the reference.

    reference: (R+1, *S), members: (K, R+1, *S), both with the same replicas; NaN where undefined.
    s^2 = max(0, var_k(O_k) - v), v = K/(K-1) mean_k var_boot(O_k - mean O).
    pull = (O_ref - mean O) / sqrt(s^2 (1 + 1/K) + var_boot(O_ref - mean O)).
    Raises ValueError where the shapes do not fit.
    """
    ref = np.asarray(reference, dtype=np.float64)
    table = np.asarray(members, dtype=np.float64)
    if table.ndim < 2 or table.shape[0] < 1 or table.shape[1:] != ref.shape:
        raise ValueError(f"members {table.shape} must be (K, *reference), reference {ref.shape}")
    number = table.shape[0]
    mean = table.mean(axis=0)
    difference = ref - mean
    noise = _bootstrap_variance(difference)
    own = _member_noise(table, mean)
    variance = np.maximum(0.0, _variance(table[:, 0]) - own)
    model = variance * (1 + 1 / number) if number > 1 else np.zeros_like(noise)
    total = np.sqrt(model + noise)
    # Equal members differ from their mean by rounding; that is no spread, and the pull has no meaning.
    resolved = total > ROUNDING * (np.abs(ref[0]) + np.abs(mean[0]))
    return Spread(
        mean=mean[0],
        statistical=np.sqrt(_bootstrap_variance(mean)),
        systematic=np.sqrt(variance),
        difference=difference[0],
        difference_error=np.sqrt(noise),
        pull=np.where(resolved, difference[0] / np.where(resolved, total, 1.0), np.nan),
        noise=own,
        members=number,
        **_resampled(ref, table, own),
    )


def statistical_error(table: npt.ArrayLike) -> Floats:
    """Bootstrap error (*S) of a table (R+1, *S): standard deviation over its replicas.

    NaN where the nominal value is, or where fewer than 90 % of the replicas are defined.
    """
    return np.sqrt(_bootstrap_variance(np.asarray(table, dtype=np.float64)))


def expected_coverage(members: int, width: float = 1.0) -> float:
    """Probability that mean +- width * s of a perfect Gaussian ensemble covers the truth.

    The truth and the K members come from one Gaussian, s has K - 1 degrees of freedom:
    P(|t_{K-1}| < width / sqrt(1 + 1/K)). NaN for one member.
    """
    if members < 2:
        return math.nan
    edge = width / math.sqrt(1 + 1 / members)
    return float(1 - 2 * stdtr(members - 1, -edge))


def coverage(difference: npt.ArrayLike, systematic: npt.ArrayLike) -> float:
    """Share of the bins with |difference| < s, of those where both are finite.

    To be held against expected_coverage(K). NaN where there is no such bin. Statistical errors do
    not enter: where they matter, judge the pull.
    """
    off, band = np.abs(difference).ravel(), np.asarray(systematic, dtype=np.float64).ravel()
    finite = np.isfinite(off) & np.isfinite(band)
    return float(np.mean(off[finite] < band[finite])) if finite.any() else math.nan


def pull_width(pull: npt.ArrayLike) -> float:
    """Half the central 68.27 % interval of the finite pulls; NaN for fewer than 4."""
    values = np.asarray(pull, dtype=np.float64)
    values = values[np.isfinite(values)]
    if values.size < 4:
        return math.nan
    low, high = np.quantile(values, [(1 - CENTRAL) / 2, (1 + CENTRAL) / 2])
    return float(high - low) / 2


def _variance(members: Floats) -> Floats:
    """Variance (*S) of members (K, *S) about their mean; NaN for one member."""
    if len(members) < 2:
        return np.full(members.shape[1:], np.nan)
    return members.var(axis=0, ddof=1)


def _member_noise(table: Floats, mean: Floats) -> Floats:
    """v (*S) of members (K, R+1, *S) about their mean (R+1, *S); NaN for one member."""
    number = table.shape[0]
    if number < 2:
        return np.full(mean.shape[1:], np.nan)
    noise = np.mean([_bootstrap_variance(member - mean) for member in table], axis=0)
    return np.asarray(noise * number / (number - 1))


def _resampled(ref: Floats, table: Floats, noise: Floats) -> dict[str, Floats]:
    """Difference and s (R, *S) in each replica of the events, with K of the K members drawn again.

    Members drawn twice make the variance too small by (K - 1) / K, which is taken out.
    """
    number, replicas = table.shape[0], len(ref) - 1
    drawn = stream(0, "members", number).integers(number, size=(replicas, number))
    # A member alone has no spread.
    drawn[(drawn == drawn[:, :1]).all(axis=1)] = np.arange(number)
    difference = np.empty((replicas, *ref.shape[1:]), np.float32)
    systematic = np.empty_like(difference)
    for row, chosen in enumerate(drawn):
        difference[row] = ref[row + 1] - table[chosen, row + 1].mean(axis=0)
        variance = _variance(table[chosen, 0]) * (number / max(number - 1, 1))
        systematic[row] = np.sqrt(np.maximum(0.0, variance - noise))
    return {"resampled_difference": difference, "resampled_systematic": systematic}


def _bootstrap_variance(table: Floats) -> Floats:
    """Variance (*S) over the replicas of a table (R+1, *S)."""
    # A bin of few events has replicas without any; they say nothing of the error, but many of them
    # say that there is none to be had.
    finite = np.isfinite(table[1:])
    number = finite.sum(axis=0)
    enough = (number >= 2) & (number >= MIN_FINITE_REPLICAS * finite.shape[0])
    usable = enough & np.isfinite(table[0])
    replicas = np.where(finite, table[1:], 0.0)
    mean = replicas.sum(axis=0) / np.maximum(number, 1)
    squares = (np.where(finite, replicas - mean, 0.0) ** 2).sum(axis=0)
    return np.where(usable, squares / np.maximum(number - 1, 1), np.nan)
