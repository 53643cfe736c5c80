"""Time projection chamber: the response of one pad row to a track, 8 pads x 16 time buckets of charge.

After Maevskiy et al., Eur. Phys. J. C 81, 599 (2021): only the fractional parts of pad coordinate and
drift length shape the response, their integer parts place it on the pad row.
"""

import numpy as np

from sosie.detectors.base import Array, Detector, Quantity
from sosie.detectors.tpc_hits import calibrate, reconstruct
from sosie.detectors.tpc_rows import BUCKETS, PADS, corner
from sosie.detectors.tpc_tracks import GROUPS

MASSES = {11: 0.000510999, 13: 0.1056584, 211: 0.1395704, 321: 0.493677, 2212: 0.9382721}
PION = 211
"""The species that is assumed where none, or one of unknown mass, is given."""

CONDITIONS = {
    "crossing_angle": "deg",
    "dip_angle": "deg",
    "drift_length": "",
    "pad_coordinate": "",
    "pad_height": "mm",
    "pt": "GeV",
    "pdg": "",
}
# Places are bounded such that cells of a row can be numbered (tpc_rows.Cells).
LIMITS = {
    "crossing_angle": (-90.0, 90.0),
    "dip_angle": (-90.0, 90.0),
    "drift_length": (-50.0, 2000.0),
    "pad_coordinate": (-50.0, 1000.0),
    "pad_height": (2.0, 100.0),
    "pt": (0.05, 50.0),
}


def log_beta_gamma(conditions: Array) -> Array:
    """log10 of momentum over mass (N,), on which the charge depends; a pion's mass where unknown."""
    c = np.asarray(conditions, dtype=np.float64)
    mass = np.full(len(c), MASSES[PION])
    for pdg, known in MASSES.items():
        mass[np.abs(c[:, 6]) == pdg] = known
    momentum = c[:, 5] / np.cos(np.radians(c[:, 1]))
    ratio = momentum / mass
    return np.log10(ratio, out=np.full(len(c), np.nan), where=ratio > 0)


def fractions(conditions: Array) -> Array:
    """Fractional parts (N, 2) of pad coordinate and drift length, from 0 to 1."""
    place = np.asarray(conditions, dtype=np.float64)[:, [3, 2]]
    return place - np.floor(place)


def features(conditions: Array) -> Array:
    """Inputs of a network (N, 7): tangents of crossing and dip angle, fractional parts of pad
    coordinate and drift length, drift length in buckets, pad height in mm, log10 of beta gamma.

    Transverse momentum and species enter through beta gamma alone: within a pad row the track is
    straight, and its charge does not matter.
    """
    c = np.asarray(conditions, dtype=np.float64)
    tangents = np.tan(np.radians(c[:, :2]))
    return np.column_stack([tangents, fractions(c), c[:, 2], c[:, 4], log_beta_gamma(c)])


def scale(conditions: Array) -> Array:
    """What the response is proportional to (N,): nothing among the conditions, so one."""
    return np.ones(len(conditions))


VARIABLES = {
    "crossing_angle": Quantity(r"crossing angle", "deg"),
    "dip_angle": Quantity(r"dip angle", "deg"),
    "drift_length": Quantity("drift length", "buckets"),
    "frac_pad": Quantity("fractional pad coordinate", "pads"),
    "frac_time": Quantity("fractional drift length", "buckets"),
    "pad_height": Quantity("pad height", "mm"),
    "pt": Quantity(r"$p_\mathrm{T}$", "GeV"),
    "log_beta_gamma": Quantity(r"$\log_{10} \beta\gamma$"),
}


def variable(conditions: Array) -> dict[str, Array]:
    """The variables for binning, each (N,), in the order and units of VARIABLES."""
    c = np.asarray(conditions, dtype=np.float64)
    pad, time = fractions(c).T
    values = (c[:, 0], c[:, 1], c[:, 2], pad, time, c[:, 4], c[:, 5], log_beta_gamma(c))
    return dict(zip(VARIABLES, values, strict=True))


OBSERVABLES = {
    "bary_pad": Quantity(r"$\bar{x} - x_\mathrm{true}$", "pads", "barycentre across the pads"),
    "bary_time": Quantity(r"$\bar{t} - t_\mathrm{true}$", "buckets", "barycentre in time"),
    "var_pad": Quantity(r"$\sigma_x^2$", "pads$^2$", "squared width across the pads"),
    "var_time": Quantity(r"$\sigma_t^2$", "buckets$^2$", "squared width in time"),
    "cov": Quantity(r"$\sigma_{xt}$", "pads x buckets", "covariance of pad and time"),
    "amplitude": Quantity(r"$\sum A$", "ADC", "total amplitude"),
    "log_amplitude": Quantity(r"$\log_{10}(\sum A \, / \, \mathrm{ADC})$"),
    "cells": Quantity("share of cells above threshold"),
}
PSEUDO_CHI2 = ("bary_pad", "bary_time", "var_pad", "var_time", "cov")
DEFINED_IF_EMPTY = ("amplitude", "cells")

_PAD, _BUCKET = (
    grid.ravel() for grid in np.meshgrid(np.arange(PADS), np.arange(BUCKETS), indexing="ij")
)
# About the middle of the window, so that the squares lose no digits.
_MIDDLE = ((PADS - 1) / 2, (BUCKETS - 1) / 2)
_U, _V = _PAD - _MIDDLE[0], _BUCKET - _MIDDLE[1]
_MOMENTS = np.stack([_U, _V, _U * _U, _V * _V, _U * _V], axis=1)


def observe(response: Array, conditions: Array) -> dict[str, Array]:
    """The observables of each response, (N,) each, in the order and units of OBSERVABLES.

    response (N, 8, 16) in ADC, conditions (N, 7). Of an empty response all but amplitude and cells
    are NaN. Cells above threshold are those that are not zero, since ingest and generate suppress the
    others. Source: METRICS, section TPC.
    """
    charge = np.asarray(response, dtype=np.float64).reshape(len(response), PADS * BUCKETS)
    total = charge.sum(axis=1)
    some = total > 0
    u, v, uu, vv, uv = (charge @ _MOMENTS / np.where(some, total, 1.0)[:, None]).T
    c = np.asarray(conditions, dtype=np.float64)
    pad0, bucket0 = corner(c)
    values = {
        "bary_pad": u + _MIDDLE[0] + pad0 - c[:, 3],
        "bary_time": v + _MIDDLE[1] + bucket0 - c[:, 2],
        "var_pad": uu - u**2,
        "var_time": vv - v**2,
        "cov": uv - u * v,
        "amplitude": total,
        "log_amplitude": np.log10(total, out=np.full(len(total), np.nan), where=some),
        "cells": np.count_nonzero(charge > 0, axis=1) / charge.shape[1],
    }
    return {
        name: values[name] if name in DEFINED_IF_EMPTY else np.where(some, values[name], np.nan)
        for name in OBSERVABLES
    }


def averages(conditions: Array) -> dict[str, Array]:
    """What each cell counts (N, 128) in the barycentres, the averages over the cells."""
    c = np.asarray(conditions, dtype=np.float64)
    pad0, bucket0 = corner(c)
    return {
        "bary_pad": _PAD + (pad0 - c[:, 3])[:, None],
        "bary_time": _BUCKET + (bucket0 - c[:, 2])[:, None],
    }


RESULTS = {
    "residual_x": Quantity(r"$x_\mathrm{hit} - x_\mathrm{true}$", "mm", "hit position in x"),
    "residual_z": Quantity(r"$z_\mathrm{hit} - z_\mathrm{true}$", "mm", "hit position in z"),
}
RATES = {"hit_found": Quantity("hits found", words="hits within a pad and two buckets")}

DETECTOR = Detector(
    name="tpc",
    shape=(PADS, BUCKETS),
    unit="ADC",
    axes=(Quantity("pad of the window"), Quantity("time bucket of the window")),
    centres=(np.arange(PADS), np.arange(BUCKETS)),
    conditions=CONDITIONS,
    feature_names=(
        *("tan_crossing", "tan_dip", "frac_pad", "frac_time"),
        *("drift_length", "pad_height", "log_beta_gamma"),
    ),
    features=features,
    scale=scale,
    variables=VARIABLES,
    variable=variable,
    observables=OBSERVABLES,
    observe=observe,
    averages=averages,
    calibrate=calibrate,
    results=RESULTS,
    reconstruct=reconstruct,
    limits=LIMITS,
    rates=RATES,
    groups=GROUPS,
    pseudo_chi2=PSEUDO_CHI2,
)
