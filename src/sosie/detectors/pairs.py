"""Pairs of showers in a matrix of cells: where two are put, their sum, and which cluster is whose."""

from collections.abc import Sequence

import numpy as np

from sosie.detectors.base import Array
from sosie.streams import mix


def placements(
    first: Array, second: Array, words: Array, edges: Sequence[float], pitch: float
) -> tuple[Array, Array]:
    """Whole-cell shifts (M, B, 2, 2) that put both points of a pair at a distance in each bin.

    first and second (M, 2): points of the showers; words (M,): uniform 64-bit words; edges (B+1,),
    pitch: in one unit. Of all shifts that lead into a bin one is drawn, and the pair put about the
    middle of the matrix. Returns the shifts in cells by pair, bin, shower and axis, and the
    distance (M, B), NaN where no shift leads into the bin or a point is not finite.
    """
    apart = second - first
    usable = np.isfinite(apart).all(axis=1)
    apart = np.where(usable[:, None], apart, 0.0)
    middle = np.where(usable[:, None], (first + second) / 2, 0.0)
    reach = int(np.ceil(edges[-1] / pitch)) + 1
    step = np.arange(-reach, reach + 1)
    grid = np.stack(np.meshgrid(step, step, indexing="ij"), axis=-1).reshape(-1, 2)
    # Whole cells (M, G, 2) by which the second shower moves against the first.
    move = grid - np.round(apart / pitch).astype(np.int64)[:, None]
    distance = np.linalg.norm(apart[:, None] + pitch * move, axis=2)
    inside = np.searchsorted(edges, distance, side="right") - 1
    inside[~usable] = -1
    draw = mix(words[:, None] ^ mix(np.arange(len(grid), dtype=np.uint64)))
    pair = np.arange(len(apart))
    shifts = np.zeros((len(apart), len(edges) - 1, 2, 2), np.int64)
    distances = np.full(shifts.shape[:2], np.nan)
    for b in range(len(edges) - 1):
        here = inside == b
        chosen = np.where(here, draw, np.uint64(0)).argmax(axis=1)
        k = move[pair, chosen]
        # Rounded down, so that a pair and its exchange lie alike.
        shifts[:, b, 0] = np.floor(0.5 - middle / pitch - k / 2)
        shifts[:, b, 1] = shifts[:, b, 0] + k
        distances[:, b] = np.where(here.any(axis=1), distance[pair, chosen], np.nan)
    return shifts, distances


def shifted(response: Array, shift: Array) -> Array:
    """Responses (M, X, Y) moved by whole cells (M, 2); what leaves the matrix is lost."""
    _, x, y = response.shape
    most = int(min(max(x, y), np.abs(shift).max(initial=0)))
    padded = np.pad(response, ((0, 0), (most, most), (most, most)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (x, y), axis=(1, 2))
    start = most - shift.clip(-most, most)
    moved: Array = windows[np.arange(len(response)), start[:, 0], start[:, 1]]
    return moved


def nearest(event: Array, place: Array, points: Array) -> tuple[Array, Array]:
    """The cluster nearest to each point of an event, and how far away it lies.

    event (C,) and place (C, 2) of the clusters, points (M, P, 2). Returns the cluster (M, P), -1
    where the event has none, and its distance (M, P), infinite there.
    """
    owner = np.full(points.shape[:2], -1)
    distance = np.full(points.shape[:2], np.inf)
    for p in range(points.shape[1]):
        away = np.linalg.norm(place - points[event, p], axis=1)
        order = np.lexsort((away, event))
        first = np.ones(len(order), dtype=bool)
        first[1:] = event[order][1:] != event[order][:-1]
        best = order[first]
        owner[event[best], p] = best
        distance[event[best], p] = away[best]
    return owner, distance
