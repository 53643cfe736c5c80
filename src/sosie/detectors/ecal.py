"""Electromagnetic calorimeter: 30 x 30 cells of 20 mm, energy deposited in the scintillator."""

import numpy as np

from sosie.detectors.base import Array, Detector, Fit, Pairs, Quantity
from sosie.detectors.clusters import resolution_curve, solve_resolution, squares
from sosie.detectors.ecal_cells import (
    BLOCK,
    CELLS,
    CENTRES,
    PITCH,
    frame,
    impact_point,
    in_blocks,
    momentum,
    tangents,
)
from sosie.detectors.ecal_clusters import PAIR_EDGES, calibrate, overlay, reconstruct

CELL_THRESHOLD = 5.0
MIN_TANGENT = 1e-3
ALPHAS = np.geomspace(1e-4, 1e-1, 20)

X, Y = (grid.ravel() for grid in np.meshgrid(CENTRES, CENTRES, indexing="ij"))
MOMENTS = np.stack([X, Y, X * X, Y * Y, X * Y], axis=1)


def incident_energy(conditions: Array) -> Array:
    """Energy in MeV (N,) of the particle, its mass neglected."""
    return 1000 * momentum(conditions)


def features(conditions: Array) -> Array:
    """Inputs of a network (N, 5): log |p|, px/pz, py/pz, x, y; |p| in GeV, x and y in mm."""
    p = momentum(conditions)
    log_p = np.log(p, out=np.full(len(p), np.nan), where=p > 0)
    place = np.asarray(conditions, dtype=np.float64)[:, 3:5]
    return np.column_stack([log_p, tangents(conditions), place])


VARIABLES = {
    "momentum": Quantity(r"$|p|$", "GeV"),
    "angle": Quantity(r"$\theta$", "deg"),
    "impact_x": Quantity(r"$x_\mathrm{impact}$", "mm"),
    "impact_y": Quantity(r"$y_\mathrm{impact}$", "mm"),
    "cell_x": Quantity(r"$x_\mathrm{impact} - x_\mathrm{cell}$", "mm"),
    "cell_y": Quantity(r"$y_\mathrm{impact} - y_\mathrm{cell}$", "mm"),
}


def variable(conditions: Array) -> dict[str, Array]:
    """The variables for binning, each (N,): momentum, polar angle, impact, place within its cell.

    The impact point is taken at 127 mm depth; its place is relative to the centre of its cell.
    """
    impact = impact_point(conditions)
    place = impact - (np.floor(impact / PITCH) + 0.5) * PITCH
    angle = np.degrees(np.arctan(np.linalg.norm(tangents(conditions), axis=1)))
    values = (momentum(conditions), angle, *impact.T, *place.T)
    return dict(zip(VARIABLES, values, strict=True))


def _alpha_label(alpha: float) -> str:
    digits, exponent = f"{alpha:.1e}".split("e")
    return rf"share of cells, $\alpha = {digits} \times 10^{{{int(exponent)}}}$"


SPARSITY = {f"sparsity_{k:02d}": Quantity(_alpha_label(a)) for k, a in enumerate(ALPHAS)}
OBSERVABLES = {
    "total_energy": Quantity(r"$E_\mathrm{tot}$", "MeV"),
    "e_over_p": Quantity(r"$E_\mathrm{tot} / |p|$", "MeV/GeV"),
    "bary_x": Quantity(r"$x_\mathrm{b} - x_\mathrm{impact}$", "mm"),
    "bary_y": Quantity(r"$y_\mathrm{b} - y_\mathrm{impact}$", "mm"),
    "var_x": Quantity(r"$\sigma_x^2$", "mm$^2$"),
    "var_y": Quantity(r"$\sigma_y^2$", "mm$^2$"),
    "cov_xy": Quantity(r"$\sigma_{xy}$", "mm$^2$"),
    "width_long": Quantity(r"longitudinal width $\sigma_u$", "mm"),
    "width_trans": Quantity(r"transverse width $\sigma_v$", "mm"),
    "asym_long": Quantity(r"longitudinal asymmetry $A_u$"),
    "asym_trans": Quantity(r"transverse asymmetry $A_v$"),
    "cells_5mev": Quantity(r"cells above 5 MeV"),
    **SPARSITY,
    "max_share": Quantity(r"$E_\mathrm{max} / E_\mathrm{tot}$"),
    "share_3x3": Quantity(r"$E_{3 \times 3} / E_\mathrm{tot}$"),
    "share_5x5": Quantity(r"$E_{5 \times 5} / E_\mathrm{tot}$"),
    "share_9": Quantity(r"$E_\mathrm{9\ leading} / E_\mathrm{tot}$"),
    "share_25": Quantity(r"$E_\mathrm{25\ leading} / E_\mathrm{tot}$"),
}
NEEDS_AXIS = ("width_long", "width_trans", "asym_long", "asym_trans")
DEFINED_IF_EMPTY = ("total_energy", "e_over_p", "cells_5mev")


def observe(response: Array, conditions: Array, block: int = BLOCK) -> dict[str, Array]:
    """The observables of each shower, (N,) each, in the order and units of OBSERVABLES.

    response (N, 30, 30) in MeV, conditions (N, 7); worked off in blocks to bound the memory. NaN:
    all but total_energy, e_over_p and cells_5mev of an empty shower; what needs the axis u along
    (px, py) where |(px, py)| / pz < 1e-3. Source: METRICS, section Calorimeter.
    """
    return in_blocks(_observe_block, response, conditions, block)


def _observe_block(response: Array, conditions: Array) -> dict[str, Array]:
    energy = np.asarray(response, dtype=np.float64).reshape(len(response), CELLS * CELLS)
    total = energy.sum(axis=1)
    share = energy / np.where(total > 0, total, 1.0)[:, None]
    p = momentum(conditions)
    impact = impact_point(conditions)
    xb, yb, xx, yy, xy = (share @ MOMENTS).T
    central = (xx - xb**2, yy - yb**2, xy - xb * yb)
    values = {
        "total_energy": total,
        "e_over_p": np.divide(total, p, out=np.full(len(p), np.nan), where=p > 0),
        "bary_x": xb - impact[:, 0],
        "bary_y": yb - impact[:, 1],
        "var_x": central[0],
        "var_y": central[1],
        "cov_xy": central[2],
        **_along_axes(share, central, impact, tangents(conditions)),
        "cells_5mev": np.count_nonzero(energy > CELL_THRESHOLD, axis=1).astype(np.float64),
        **{
            name: np.count_nonzero(share >= alpha, axis=1) / share.shape[1]
            for name, alpha in zip(SPARSITY, ALPHAS, strict=True)
        },
        **_shares(share),
    }
    for name in set(values) - set(DEFINED_IF_EMPTY):
        values[name][~(total > 0)] = np.nan
    return {name: values[name] for name in OBSERVABLES}


def averages(conditions: Array) -> dict[str, Array]:
    """What each cell counts (N, 900) in the observables that are averages over the cells."""
    impact, (u, v) = impact_point(conditions), _axes(tangents(conditions))
    return {
        "bary_x": X - impact[:, :1],
        "bary_y": Y - impact[:, 1:],
        "asym_long": np.sign(_along(u, impact)),
        "asym_trans": np.sign(_along(v, impact)),
    }


def _axes(tangent: Array) -> tuple[Array, Array]:
    """The axes u and v (N, 2), not-a-number where the tangents (N, 2) give none."""
    slope = np.linalg.norm(tangent, axis=1)
    u = tangent / np.where(slope >= MIN_TANGENT, slope, np.nan)[:, None]
    return u, np.column_stack([-u[:, 1], u[:, 0]])


def _along(axis: Array, impact: Array) -> Array:
    """How far each cell lies from the impact along an axis (N, 2), in mm (N, 900)."""
    return axis[:, :1] * X + axis[:, 1:] * Y - (axis * impact).sum(axis=1)[:, None]


def _along_axes(
    share: Array, central: tuple[Array, Array, Array], impact: Array, tangent: Array
) -> dict[str, Array]:
    """Widths in mm and asymmetries along u and v; share (B, 900), impact and tangent (B, 2)."""
    var_x, var_y, cov_xy = central
    values = {}
    for name, axis in zip(("long", "trans"), _axes(tangent), strict=True):
        ax, ay = axis.T
        # The variance of the projection is the projection of the covariance matrix.
        variance = ax**2 * var_x + 2 * ax * ay * cov_xy + ay**2 * var_y
        values[f"width_{name}"] = np.sqrt(np.maximum(variance, 0.0))
        values[f"asym_{name}"] = np.einsum("bc,bc->b", share, np.sign(_along(axis, impact)))
    return values


def _shares(share: Array) -> dict[str, Array]:
    """Shares of the energy in the leading cells and around the leading cell; share (B, 900)."""
    ix, iy = np.divmod(share.argmax(axis=1), CELLS)
    image = share.reshape(-1, CELLS, CELLS)
    around = squares(image, np.arange(len(share)), ix, iy, 2)
    first = np.partition(share, (-25, -9), axis=1)[:, -25:]
    return {
        "max_share": share.max(axis=1),
        "share_3x3": around[:, 1:4, 1:4].sum(axis=(1, 2)),
        "share_5x5": around.sum(axis=(1, 2)),
        "share_9": first[:, -9:].sum(axis=1),
        "share_25": first.sum(axis=1),
    }


RESULTS = {
    "energy_ratio": Quantity(r"$E_\mathrm{rec} / |p|$", words="energy"),
    "residual_x": Quantity(r"$x_\mathrm{rec} - x_\mathrm{impact}$", "mm", "x position"),
    "residual_y": Quantity(r"$y_\mathrm{rec} - y_\mathrm{impact}$", "mm", "y position"),
    "residual_x_log": Quantity(
        r"$x_\mathrm{log} - x_\mathrm{impact}$", "mm", "x position, log-weighted"
    ),
    "residual_y_log": Quantity(
        r"$y_\mathrm{log} - y_\mathrm{impact}$", "mm", "y position, log-weighted"
    ),
}


FITS = {
    "energy_resolution": Fit(
        result="energy_ratio",
        variable="momentum",
        parameters={"a": Quantity(r"$a$", "GeV$^{1/2}$"), "b": Quantity(r"$b$")},
        solve=solve_resolution,
        model=resolution_curve,
        formula=r"$\sigma_E / E = a \, E^{-1/2} \oplus b$",
    )
}

PAIRS = Pairs(
    variable="distance",
    axis=Quantity(r"distance of the impact points", "mm"),
    edges=PAIR_EDGES,
    found=Quantity("pairs found as two", words="pairs found as two"),
    results={
        "energy_high": Quantity(
            r"$E_\mathrm{rec} / |p| - 1$", words="energy of the shower of higher momentum"
        ),
        "energy_low": Quantity(
            r"$E_\mathrm{rec} / |p| - 1$", words="energy of the shower of lower momentum"
        ),
    },
    overlay=overlay,
)

DETECTOR = Detector(
    name="ecal",
    shape=(CELLS, CELLS),
    unit="MeV",
    axes=(Quantity("$x$", "mm"), Quantity("$y$", "mm")),
    centres=(CENTRES, CENTRES),
    conditions={"px": "GeV", "py": "GeV", "pz": "GeV", "x": "mm", "y": "mm", "z": "mm", "pdg": ""},
    feature_names=("log_p", "tan_x", "tan_y", "x", "y"),
    features=features,
    scale=momentum,
    variables=VARIABLES,
    variable=variable,
    observables=OBSERVABLES,
    observe=observe,
    calibrate=calibrate,
    results=RESULTS,
    reconstruct=reconstruct,
    fits=FITS,
    pairs=PAIRS,
    minor=tuple(SPARSITY),
    incident_energy=incident_energy,
    frame=frame,
    averages=averages,
)
