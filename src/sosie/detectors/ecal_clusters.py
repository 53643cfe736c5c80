"""Reconstruction of the electromagnetic calorimeter: energy and position of showers, alone and in pairs."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from sosie.detectors.base import Array
from sosie.detectors.clusters import (
    Clusters,
    calibrated_energy,
    find_clusters,
    fit_energy,
    fit_s_shape,
    fit_w0,
    leading,
    log_offset,
    s_shape,
)
from sosie.detectors.ecal_cells import (
    BLOCK,
    CENTRES,
    HALF,
    PITCH,
    impact_point,
    in_blocks,
    momentum,
)
from sosie.detectors.pairs import nearest, placements, shifted
from sosie.errors import InputError

# The leading cell has 32 MeV or more from 1 GeV on (50 000 showers of full simulation).
SEED_THRESHOLD = 20.0
PAIR_EDGES = tuple(float(edge) for edge in range(20, 121, 10))
# A cluster farther from the impact point than a cell and a half belongs to something else.
PAIR_REACH = 1.5 * PITCH


def _measure_block(response: Array, conditions: Array) -> dict[str, Array]:
    """The leading cluster of each shower: energy, centre of its seed cell, offset, cells; NaN if none."""
    best = leading(find_clusters(response, SEED_THRESHOLD, PITCH))
    found = {
        "energy": best.energy,
        "seed_x": CENTRES[best.ix],
        "seed_y": CENTRES[best.iy],
        "dx": best.dx,
        "dy": best.dy,
        "cells": best.cells,
    }
    values = {
        name: np.full((len(response), *array.shape[1:]), np.nan) for name, array in found.items()
    }
    for name, array in values.items():
        array[best.event] = found[name]
    impact_x, impact_y = impact_point(conditions).T
    return values | {"momentum": momentum(conditions), "impact_x": impact_x, "impact_y": impact_y}


def calibrate(pieces: Iterable[tuple[Array, Array]]) -> dict[str, Any]:
    """Constants of `reconstruct`, to be fitted on the training split only.

    pieces: response (N, 30, 30) in MeV and conditions (N, 7) each. Keys: cluster_energy [MeV] and
    momentum [GeV], the knots of the calibration; b_x, b_y [mm] of the S-shape; w0 of the logarithmic
    weights. InputError where no shower has a cluster.
    """
    parts = [_measure_block(*piece) for piece in pieces]
    seen = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    usable = (seen["energy"] > 0) & (seen["momentum"] > 0) & np.isfinite(seen["impact_x"])
    if not usable.any():
        raise InputError(
            f"ecal: none of {len(usable)} showers has a cell above {SEED_THRESHOLD:g} MeV: "
            "check the units of response and momenta"
        )
    seen = {name: array[usable] for name, array in seen.items()}
    knots_energy, knots_momentum = fit_energy(seen["energy"], seen["momentum"])
    place = np.column_stack([seen[f"impact_{axis}"] - seen[f"seed_{axis}"] for axis in "xy"])
    return {
        "cluster_energy": knots_energy,
        "momentum": knots_momentum,
        "b_x": fit_s_shape(seen["dx"], place[:, 0], HALF),
        "b_y": fit_s_shape(seen["dy"], place[:, 1], HALF),
        "w0": fit_w0(seen["cells"], place, PITCH),
    }


def reconstruct(
    response: Array, conditions: Array, calibration: dict[str, Any], block: int = BLOCK
) -> dict[str, Array]:
    """Energy over |p| and position minus impact point at 127 mm [mm] of the leading cluster.

    response (N, 30, 30) in MeV, conditions (N, 7), calibration from `calibrate`; (N,) each, NaN
    where there is no cluster. Source: METRICS, section Calorimeter, reconstruction.
    """
    seen = in_blocks(_measure_block, response, conditions, block)
    knots = calibration["cluster_energy"], calibration["momentum"]
    energy = calibrated_energy(seen["energy"], *knots)
    p = seen["momentum"]
    values = {"energy_ratio": np.divide(energy, p, out=np.full(len(p), np.nan), where=p > 0)}
    for axis in "xy":
        offset = s_shape(seen[f"d{axis}"], calibration[f"b_{axis}"], HALF)
        values[f"residual_{axis}"] = seen[f"seed_{axis}"] + offset - seen[f"impact_{axis}"]
    for axis, offset in zip(
        "xy", log_offset(seen["cells"], calibration["w0"], PITCH).T, strict=True
    ):
        values[f"residual_{axis}_log"] = seen[f"seed_{axis}"] + offset - seen[f"impact_{axis}"]
    return values


def _place(clusters: Clusters, calibration: dict[str, Any]) -> Array:
    """Position (C, 2) of clusters in mm."""
    return np.column_stack(
        [
            CENTRES[clusters.ix] + s_shape(clusters.dx, calibration["b_x"], HALF),
            CENTRES[clusters.iy] + s_shape(clusters.dy, calibration["b_y"], HALF),
        ]
    )


def overlay(
    response: Array,
    conditions: Array,
    other_response: Array,
    other_conditions: Array,
    words: Array,
    calibration: dict[str, Any],
) -> tuple[Array, Array, dict[str, Array]]:
    """Two showers overlaid at a distance in every bin of PAIR_EDGES, found as two or not.

    Distance of the impact points (M, B) in mm, found (M, B), and the calibrated energy / |p| - 1
    (M, B) of the showers of higher and of lower momentum, NaN where not found as two. A pair is
    found where the clusters nearest to the two impact points are two, both within PAIR_REACH.
    """
    p = np.column_stack([momentum(conditions), momentum(other_conditions)])
    impact = np.stack([impact_point(conditions), impact_point(other_conditions)], axis=1)
    impact[~(p > 0)] = np.nan
    shifts, distance = placements(impact[:, 0], impact[:, 1], words, PAIR_EDGES, PITCH)
    found = np.full(distance.shape, np.nan)
    ratio = np.full((*distance.shape, 2), np.nan)
    for b in range(distance.shape[1]):
        rows = np.flatnonzero(np.isfinite(distance[:, b]))
        shift = shifts[rows, b]
        total = shifted(response[rows], shift[:, 0]) + shifted(other_response[rows], shift[:, 1])
        clusters = find_clusters(total, SEED_THRESHOLD, PITCH)
        owner, away = nearest(
            clusters.event, _place(clusters, calibration), impact[rows] + PITCH * shift
        )
        two = (owner[:, 0] != owner[:, 1]) & (away <= PAIR_REACH).all(axis=1)
        found[rows, b] = two
        energy = calibrated_energy(
            clusters.energy[owner[two]], calibration["cluster_energy"], calibration["momentum"]
        )
        ratio[rows[two], b] = energy / p[rows[two]] - 1
    high = (p[:, 1] > p[:, 0]).astype(int)[:, None, None]
    return (
        distance,
        found,
        {
            "energy_high": np.take_along_axis(ratio, high, axis=2)[..., 0],
            "energy_low": np.take_along_axis(ratio, 1 - high, axis=2)[..., 0],
        },
    )
