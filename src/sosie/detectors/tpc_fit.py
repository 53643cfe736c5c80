"""Helix fit of many tracks at once: a circle in the plane of the pads, a line along the drift."""

from dataclasses import dataclass

import numpy as np

from sosie.detectors.base import Array

STEPS = 12
# A fit has converged where the last step moves it by less than this at all hits, in mm.
TOLERANCE = 1e-4
MIN_HITS = 20
# Bounds in 1/mm and mm, far beyond any track, that keep fits of nonsense finite.
MOST_CURVED = 0.01
FARTHEST = 1e4


@dataclass(frozen=True)
class Circles:
    """Circles (T,): signed curvature in 1/mm, positive to the left; direction phi in rad and signed
    distance d in mm, positive to the left, at the point of closest approach to the origin."""

    curvature: Array
    phi: Array
    d: Array

    def local(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Coordinates along the direction and to the left of it, from the closest point, in mm."""
        cos, sin = np.cos(self.phi), np.sin(self.phi)
        return x * cos + y * sin, y * cos - x * sin - self.d

    def distance(self, x: Array, y: Array) -> Array:
        """Signed distance in mm of points from the circles, positive to the left of the track."""
        a, b = self.local(x, y)
        twice = 2 * b - self.curvature * (a**2 + b**2)
        return np.asarray(twice / (1 + np.sqrt(np.maximum(1 - self.curvature * twice, 0.0))))

    def path(self, x: Array, y: Array) -> Array:
        """Length in mm along the circles from the closest point to the origin to that to a point."""
        a, b = self.local(x, y)
        k = self.curvature
        safe = np.where(k == 0, 1.0, k)
        return np.where(k == 0, a, np.arctan2(k * a, 1 - k * b) / safe)


@dataclass(frozen=True)
class Helices:
    """Fitted tracks (T,): circle, z in mm at its closest point to the origin, slope dz / path,
    number of hits, chi2 of circle and line, and whether the fit has converged."""

    circle: Circles
    z: Array
    slope: Array
    hits: Array
    chi2_xy: Array
    chi2_z: Array
    converged: Array


def _solve(matrix: Array, vector: Array) -> Array:
    """Least-squares normal equations (T, P, P) and (T, P), scaled; zero where they are singular."""
    scale = np.sqrt(np.maximum(np.einsum("tii->ti", matrix), 1e-300))
    scaled = matrix / (scale[:, :, None] * scale[:, None, :])
    good = np.abs(np.linalg.det(scaled)) > 1e-14
    scaled[~good] = np.eye(matrix.shape[1])
    found: Array = np.linalg.solve(scaled, (vector / scale)[..., None])[..., 0] / scale
    found[~good] = 0.0
    return found


def _normal(columns: Array, weight: Array, target: Array) -> Array:
    """Weighted least squares of target (T, H) by columns (T, H, P): parameters (T, P)."""
    weighted = columns * weight[..., None]
    return _solve(
        np.einsum("thp,thq->tpq", weighted, columns), np.einsum("thp,th->tp", weighted, target)
    )


def first_circles(x: Array, y: Array, weight: Array) -> Circles:
    """Circles from parabolas through points (T, H) in mm, in the frame of the first and the last hit.

    weight (T, H), zero where there is no hit; the track goes from the first hit to the last.
    """
    rows = np.arange(len(x))
    first = np.argmax(weight > 0, axis=1)
    last = x.shape[1] - 1 - np.argmax(weight[:, ::-1] > 0, axis=1)
    x0, y0 = x[rows, first], y[rows, first]
    chord = np.arctan2(y[rows, last] - y0, x[rows, last] - x0)
    cos, sin = np.cos(chord)[:, None], np.sin(chord)[:, None]
    dx, dy = x - x0[:, None], y - y0[:, None]
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    columns = np.stack([np.ones_like(along), along, along**2], axis=-1)
    height, slope, bend = _normal(columns, weight, across).T
    local = Circles(
        np.clip(2 * bend / (1 + slope**2) ** 1.5, -MOST_CURVED, MOST_CURVED),
        chord + np.arctan(slope),
        np.zeros(len(x)),
    )
    # The same circle as seen from the origin instead of from a point on it.
    to_x = -x0 + height * np.sin(chord)
    to_y = -y0 - height * np.cos(chord)
    phi = local.phi + local.curvature * local.path(to_x, to_y)
    return Circles(local.curvature, phi, -local.distance(to_x, to_y))


def fit_circles(x: Array, y: Array, error: Array) -> tuple[Circles, Array, Array]:
    """Circles through points (T, H) in mm with errors across the track, NaN where there is no hit.

    Gauss-Newton steps on the signed distance from the first linear fit on: circles, chi2 (T,), and
    whether it has converged (T,). Written here because the fitters at hand take one track at a time.
    Source: Karimaki, Nucl. Instrum. Meth. A 305, 187 (1991).
    """
    there = np.isfinite(x) & np.isfinite(error)
    weight = np.where(there, 1 / np.where(there, error, 1.0) ** 2, 0.0)
    px, py = np.where(there, x, 0.0), np.where(there, y, 0.0)
    start = first_circles(px, py, weight)
    k, phi, d = (value[:, None] for value in (start.curvature, start.phi, start.d))
    moved = np.full(len(x), np.inf)
    for _ in range(STEPS):
        circle = Circles(k, phi, d)
        a, b = circle.local(px, py)
        square = a**2 + b**2
        twice = 2 * b - k * square
        root = np.sqrt(np.maximum(1 - k * twice, 1e-12))
        across = (1 - k * b) / root
        columns = np.stack(
            [
                twice * (b - k * square) / (root * (1 + root) ** 2) - square / (1 + root),
                -k * a / root * (b + d) - across * a,
                -across,
            ],
            axis=-1,
        )
        step = _normal(columns, weight, -twice / (1 + root))
        shift = np.einsum("thp,tp->th", columns, step)
        moved = np.abs(np.where(there, shift, 0.0)).max(axis=1)
        k, phi, d = (p + s[:, None] for p, s in zip((k, phi, d), step.T, strict=True))
        k, d = np.clip(k, -MOST_CURVED, MOST_CURVED), np.clip(d, -FARTHEST, FARTHEST)
        if (moved < TOLERANCE).all():
            break
    chi2 = (weight * Circles(k, phi, d).distance(px, py) ** 2).sum(axis=1)
    turned = np.arctan2(np.sin(phi), np.cos(phi))
    return Circles(k[:, 0], turned[:, 0], d[:, 0]), chi2, moved < TOLERANCE


def fit_helices(x: Array, y: Array, z: Array, error_xy: Array, error_z: Array) -> Helices:
    """Helices through hits (T, H) in mm, NaN where there is none, in the order of the track.

    error_xy across the track in the plane of the pads, error_z along the drift, in mm. A track of
    fewer than MIN_HITS hits has not converged.
    """
    there = np.isfinite(x) & np.isfinite(z)
    circle, chi2_xy, converged = fit_circles(np.where(there, x, np.nan), y, error_xy)
    column = Circles(*(v[:, None] for v in (circle.curvature, circle.phi, circle.d)))
    path = np.where(there, column.path(np.where(there, x, 0.0), y), 0.0)
    weight = np.where(there, 1 / np.where(there, error_z, 1.0) ** 2, 0.0)
    height = np.where(there, z, 0.0)
    z0, slope = _normal(np.stack([np.ones_like(path), path], axis=-1), weight, height).T
    chi2_z = (weight * (height - z0[:, None] - slope[:, None] * path) ** 2).sum(axis=1)
    hits = there.sum(axis=1)
    good = converged & (hits >= MIN_HITS) & np.isfinite(circle.curvature + slope)
    return Helices(circle, z0, slope, hits, chi2_xy, chi2_z, good)
