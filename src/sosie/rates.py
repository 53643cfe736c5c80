"""Rates: efficiencies and mis-identifications in bins, their ratios to full simulation, worst bins."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sosie.binnings import Binning
from sosie.bootstrap import binned_moments
from sosie.ensembles import spread
from sosie.profiles import named, spread_arrays, tables

Array = np.ndarray[Any, Any]
STATISTICS = ("rate",)
LOW, HIGH = 0.05, 0.95
"""Rates of the reference between which a ratio to it is judged: beyond them it says little."""
NONE = 1e-9
"""Largest rate that is rounding and no event."""


def binned_rates(values: Array, weight: Array, counts: Array, index: Array, bins: int) -> Array:
    """Weighted means (R+1, 1, P, B) of rates (N, P), NaN where not asked, in bins (N,) or -1."""
    return binned_moments(values, weight, counts, index, bins).mean[:, None]


def ratios(reference: Array, members: Sequence[Array]) -> tuple[Array, Array]:
    """Rates over those of the reference: ones (R+1, 1, P, B), and (K, R+1, 1, P, B).

    NaN where the reference has none, in the nominal row as in a replica.
    """
    base = np.where(reference > NONE, reference, np.nan)
    return np.where(np.isfinite(base), 1.0, np.nan), np.stack([one / base for one in members])


def rate_arrays(binning: Binning, reference: Array, members: Sequence[Array]) -> dict[str, Array]:
    """Tables of the rates of one variable, and of their ratios, from (R+1, 1, P, B) of each sample."""
    one, several = ratios(reference, members)
    return {
        **named(f"rates/{binning.variable}", tables(binning, reference, members)),
        **named(
            f"rate_ratios/{binning.variable}", spread_arrays(spread(one, several), one, several)
        ),
    }


@dataclass(frozen=True)
class Worst:
    """The bin where a quantity is off by most: how far, its errors, and which bin of which part."""

    difference: float
    statistical: float
    systematic: float
    part: str
    bin: int


def worst(
    off: Mapping[str, Array],
    statistical: Mapping[str, Array],
    systematic: Mapping[str, Array],
    limit: float,
) -> Worst | None:
    """The bin whose deviation is largest against ``limit`` + 2 errors, of arrays (B,) by part.

    A deviation keeps that in every bin exactly where it does in this one. A systematic error that is
    not finite counts as none. None where no bin is defined.
    """
    chosen, most = None, -math.inf
    for part, values in off.items():
        stat, syst = statistical[part], systematic[part]
        error = np.hypot(stat, np.where(np.isfinite(syst), syst, 0.0))
        share = np.where(np.isfinite(values + stat), np.abs(values) / (limit + 2 * error), -np.inf)
        place = int(np.argmax(share))
        if share[place] > most:
            most = float(share[place])
            chosen = Worst(
                float(values[place]), float(stat[place]), float(syst[place]), part, place
            )
    return chosen
