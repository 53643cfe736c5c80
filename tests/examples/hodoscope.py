"""Hodoscope: 16 scintillator bars of 10 mm side by side, energy deposited in each."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from sosie.detectors.base import Array, Detector, Quantity
from sosie.errors import InputError

BARS, PITCH = 16, 10.0
CENTRES = (np.arange(BARS) + 0.5 - BARS / 2) * PITCH
SEEN = 1.0  # MeV; a bar above it fires


def features(conditions: Array) -> Array:
    """Inputs of a network (N, 2): x in mm, logarithm of the energy in GeV."""
    x, energy = np.asarray(conditions, dtype=np.float64).T
    return np.column_stack([x, np.log(np.where(energy > 0, energy, np.nan))])


def variable(conditions: Array) -> dict[str, Array]:
    """The variables for binning (N,): energy in GeV, x in mm."""
    x, energy = np.asarray(conditions, dtype=np.float64).T
    return {"energy": energy, "x": x}


def observe(response: Array, conditions: Array) -> dict[str, Array]:
    """Total in MeV, barycentre relative to x in mm (NaN for an empty response), bars that fire."""
    deposit = np.asarray(response, dtype=np.float64)
    total = deposit.sum(axis=1)
    place = deposit @ CENTRES / np.where(total > 0, total, np.nan)
    return {
        "total": total,
        "barycentre": place - conditions[:, 0],
        "bars": (deposit > SEEN).sum(axis=1).astype(np.float64),
    }


def calibrate(pieces: Iterable[tuple[Array, Array]]) -> dict[str, Any]:
    """The mean response in MeV/GeV of the training split; InputError where it is nothing."""
    parts = [(response.sum(), conditions[:, 1].sum()) for response, conditions in pieces]
    deposited, energy = (sum(map(float, column)) for column in zip(*parts, strict=True))
    if not (deposited > 0 and energy > 0):
        raise InputError(
            f"hodoscope: {deposited:g} MeV deposited by {energy:g} GeV; check the units"
        )
    return {"mev_per_gev": float(deposited / energy)}


def reconstruct(
    response: Array, conditions: Array, calibration: dict[str, Any]
) -> dict[str, Array]:
    """Energy over true energy, x minus true x in mm (NaN where no bar fires), and whether one does."""
    seen = observe(response, conditions)
    found = seen["bars"] > 0
    ratio = seen["total"] / calibration["mev_per_gev"] / conditions[:, 1]
    return {
        "energy_ratio": np.where(found, ratio, np.nan),
        "residual": np.where(found, seen["barycentre"], np.nan),
        "found": found.astype(np.float64),
    }


DETECTOR = Detector(
    name="hodoscope",
    shape=(BARS,),
    unit="MeV",
    axes=(Quantity("$x$", "mm"),),
    centres=(CENTRES,),
    conditions={"x": "mm", "energy": "GeV"},
    feature_names=("x", "log_energy"),
    features=features,
    scale=lambda conditions: np.asarray(conditions, dtype=np.float64)[:, 1],
    variables={"energy": Quantity("$E$", "GeV"), "x": Quantity("$x$", "mm")},
    variable=variable,
    observables={
        "total": Quantity(r"$E_\mathrm{tot}$", "MeV"),
        "barycentre": Quantity(r"$x_\mathrm{b} - x$", "mm"),
        "bars": Quantity("bars above 1 MeV"),
    },
    observe=observe,
    calibrate=calibrate,
    results={
        "energy_ratio": Quantity(r"$E_\mathrm{rec} / E$", words="energy"),
        "residual": Quantity(r"$x_\mathrm{rec} - x$", "mm", "position"),
    },
    reconstruct=reconstruct,
    rates={"found": Quantity("particles found", words="particles found")},
    limits={"energy": (0.01, 1000.0), "x": (-80.0, 80.0)},
)
