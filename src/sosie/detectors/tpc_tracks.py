"""Tracks of the time projection chamber: pad rows of several tracks overlaid, hits found, helices fitted."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sosie.detectors.base import Array, Groups, Quantity
from sosie.detectors.tpc_fit import MIN_HITS, Helices, fit_helices
from sosie.detectors.tpc_hits import errors, overlaid_hits
from sosie.detectors.tpc_rows import BUCKET, PITCH, ROW_Y, ROWS, bucket_z, pad_x
from sosie.errors import InputError

N_TRACKS = 5
FIELD = 0.5
# Curvature in 1/mm of a track of charge one at a transverse momentum of 1 GeV.
BEND = 0.299792458e-3 * FIELD


def sector(
    response: Array,
    conditions: Array,
    track: Array,
    row: Array,
    event: Array,
    calibration: dict[str, Any],
) -> tuple[Helices, Array]:
    """What the reconstruction makes of whole sectors: from responses to tracks in one step.

    response (N, 8, 16) in ADC, as a surrogate samples it, and conditions (N, 7); track (N,), an index
    into the T tracks; row (N,), the pad row; event (T,), which tracks are overlaid in one sector;
    calibration as from `tpc_hits.calibrate`. Returns the fitted tracks (T,) and whether each
    response has a hit (N,). InputError for a pad row that is not there.

    With a surrogate file: ``sector(surrogate.sample(conditions, rng), conditions, ...)``.
    """
    rows = np.asarray(row).astype(np.int64)
    if len(wrong := rows[(rows < 0) | (rows >= ROWS)]):
        raise InputError(
            f"tpc: pad row {wrong[0]} is not one of 0 to {ROWS - 1}; check the branch row"
        )
    plane = np.asarray(event)[track] * ROWS + rows
    hits = overlaid_hits(response, conditions, plane)
    found = np.isfinite(hits.residuals(conditions)[0])
    error_x, error_z = errors(conditions, calibration)
    crossing = np.radians(np.asarray(conditions, dtype=np.float64)[:, 0])
    values = (
        pad_x(hits.pad, rows) - calibration["offset_x"],
        bucket_z(hits.bucket) - calibration["offset_z"],
        # A pad row fixes y, so the error across the track is smaller than along the row.
        error_x * np.cos(crossing),
        error_z,
    )
    x, z, error_xy, error_z = (_by_row(v, track, rows, found, len(event)) for v in values)
    return fit_helices(x, np.broadcast_to(ROW_Y, x.shape), z, error_xy, error_z), found


def _by_row(values: Array, track: Array, row: Array, found: Array, tracks: int) -> Array:
    """Values (N,) of the hits found as an array (T, 53), NaN where there is none."""
    table = np.full((tracks, ROWS), np.nan)
    table[track[found], row[found]] = values[found]
    return table


def residuals(tracks: Helices, truth: Mapping[str, Array]) -> dict[str, Array]:
    """Fitted minus true parameters (T,), in the order and units of RESULTS, taken where the track is
    nearest to its true vertex; NaN where the fit has not converged."""
    t = {name: np.asarray(values, dtype=np.float64) for name, values in truth.items()}
    circle = tracks.circle
    path = circle.path(t["vx"], t["vy"])
    turn = circle.phi + circle.curvature * path - t["phi0"]
    dip = np.arctan(tracks.slope) - np.radians(t["dip"])
    values = {
        # A positive charge turns to the right.
        "inverse_pt": -circle.curvature * t["charge"] * t["pt"] / BEND - 1,
        "dca_xy": circle.distance(t["vx"], t["vy"]),
        "dca_z": tracks.z + path * tracks.slope - t["vz"],
        "phi": 1000 * np.arctan2(np.sin(turn), np.cos(turn)),
        "dip_angle": 1000 * dip,
    }
    return {name: np.where(tracks.converged, values[name], np.nan) for name in RESULTS}


def reconstruct(
    response: Array,
    conditions: Array,
    group: Array,
    aux: Mapping[str, Array],
    truth: Mapping[str, Array],
    calibration: dict[str, Any],
) -> dict[str, Array]:
    """Residuals and efficiencies of tracks (G,), each N_TRACKS that follow one another in one sector.

    response (N, 8, 16), conditions (N, 7), group (N,) an index into the tracks, aux with row (N,),
    truth by name (G,), calibration from `tpc_hits.calibrate`. hit_efficiency is the share of the
    pad rows of a track with a hit within reach, track_found is 1 where MIN_HITS of them make a fit
    that converges. InputError for data without pad rows.
    """
    if "row" not in aux:
        raise InputError("tpc: tracks need the pad row; name the branch row in ingest.identity")
    tracks = len(truth["pt"])
    fitted, found = sector(
        response, conditions, group, aux["row"], np.arange(tracks) // N_TRACKS, calibration
    )
    number = np.bincount(group, minlength=tracks)
    share = np.bincount(group, found, tracks) / np.maximum(number, 1)
    return {
        **residuals(fitted, truth),
        "hit_efficiency": np.where(number > 0, share, np.nan),
        "track_found": np.where(number >= MIN_HITS, fitted.converged, np.nan),
    }


def variable(truth: Mapping[str, Array]) -> dict[str, Array]:
    """The variables for binning of tracks (G,): transverse momentum in GeV, dip angle in deg."""
    return {name: np.asarray(truth[name], dtype=np.float64) for name in VARIABLES}


VARIABLES = {
    "pt": Quantity(r"$p_\mathrm{T}$", "GeV"),
    "dip": Quantity(r"dip angle $\lambda$", "deg"),
}

RESULTS = {
    "inverse_pt": Quantity(
        r"$(1/p_\mathrm{T}^\mathrm{rec} - 1/p_\mathrm{T}) \, p_\mathrm{T}$",
        words="inverse transverse momentum",
    ),
    "dca_xy": Quantity(r"DCA$_{xy}$", "mm", words="distance of closest approach across the drift"),
    "dca_z": Quantity(r"DCA$_z$", "mm", words="distance of closest approach along the drift"),
    "phi": Quantity(r"$\varphi_\mathrm{rec} - \varphi$", "mrad", words="azimuth at the vertex"),
    "dip_angle": Quantity(r"$\lambda_\mathrm{rec} - \lambda$", "mrad", words="dip angle"),
}

RATES = {
    "hit_efficiency": Quantity(
        "hit efficiency",
        words=f"pad rows with a hit within {PITCH:g} mm and {2 * BUCKET:g} mm, "
        f"{N_TRACKS} tracks overlaid",
    ),
    "track_found": Quantity(
        "track efficiency", words=f"tracks fitted, of those with {MIN_HITS} pad rows or more"
    ),
}

GROUPS = Groups(
    truth={
        "pt": "GeV",
        "charge": "",
        "phi0": "rad",
        "dip": "deg",
        "vx": "mm",
        "vy": "mm",
        "vz": "mm",
    },
    variables=VARIABLES,
    variable=variable,
    results=RESULTS,
    rates=RATES,
    reconstruct=reconstruct,
)
