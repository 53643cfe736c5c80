"""Geometry of the electromagnetic calorimeter: its cells, and where a particle meets them."""

from collections.abc import Callable, Iterator

import numpy as np

from sosie.detectors.base import Array, Frame

CELLS = 30
PITCH = 20.0
HALF = PITCH / 2
DEPTH = 127.0
BLOCK = 2000

CENTRES = (np.arange(CELLS) + 0.5 - CELLS / 2) * PITCH


def momentum(conditions: Array) -> Array:
    """|p| in GeV (N,), from the conditions (N, 7): what the response is proportional to."""
    return np.linalg.norm(np.asarray(conditions, dtype=np.float64)[:, :3], axis=1)


def tangents(conditions: Array) -> Array:
    """px/pz and py/pz (N, 2); NaN where the particle does not fly into the calorimeter."""
    p = np.asarray(conditions, dtype=np.float64)
    tangent = np.full((len(p), 2), np.nan)
    forward = p[:, 2] > 0
    tangent[forward] = p[forward, :2] / p[forward, 2:3]
    return tangent


def impact_point(conditions: Array) -> Array:
    """Impact point (N, 2) in mm at 127 mm depth."""
    return np.asarray(conditions, dtype=np.float64)[:, 3:5] + DEPTH * tangents(conditions)


def frame(conditions: Array, mirrors: bool) -> Frame:
    """The frame of each shower: the cell of the impact point in the middle.

    With ``mirrors`` both tangents are positive in it and the larger one comes first: the cells are
    the same in a mirror along x, along y and along the diagonal. Features (N, 5): log |p|, the
    tangents, and the place of the impact point in its cell from -0.5 to 0.5.
    """
    tangent = tangents(conditions)
    place = impact_point(conditions) / PITCH + (CELLS - 1) / 2
    centre = np.rint(place)
    mirrored = (tangent < 0) & mirrors
    sign = np.where(mirrored, -1.0, 1.0)
    turned = (np.abs(tangent[:, 1]) > np.abs(tangent[:, 0])) & mirrors
    pairs = np.stack([sign * tangent, sign * (place - centre)], axis=1)
    pairs = np.where(turned[:, None, None], pairs[:, :, ::-1], pairs)
    features = np.column_stack([np.log(momentum(conditions)), pairs.reshape(-1, 4)])
    return Frame(centre.astype(np.int64), mirrored, turned, features)


def in_blocks(
    function: Callable[[Array, Array], dict[str, Array]],
    response: Array,
    conditions: Array,
    block: int,
) -> dict[str, Array]:
    """What ``function`` gives for all events, worked off in blocks to bound the memory."""

    def parts() -> Iterator[dict[str, Array]]:
        for start in range(0, max(len(response), 1), block):
            stop = start + block
            yield function(response[start:stop], conditions[start:stop])

    done = list(parts())
    return {name: np.concatenate([part[name] for part in done]) for name in done[0]}
