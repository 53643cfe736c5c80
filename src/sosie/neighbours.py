"""Nearest neighbours by products of matrices, in blocks, so that memory is bounded."""

from collections.abc import Iterable, Iterator

import numpy as np

from sosie.distances import Floats

BLOCK = 1024
"""Points of one sample in memory against all of the other."""


def squared_distances(x: Floats, y: Floats) -> Floats:
    """Squared Euclidean distances (n, m) of points x (n, D) and y (m, D).

    Of equal points they are 0 but for rounding, `rounding` at most, and may be negative.
    """
    ones = np.ones((len(x), 1)), np.ones((len(y), 1))
    xx, yy = ((p * p).sum(axis=1, keepdims=True) for p in (x, y))
    return np.hstack([x, xx, ones[0]]) @ np.hstack([-2 * y, ones[1], yy]).T


def rounding(*samples: Floats) -> float:
    """Squared distance of points (n, D) that is no more than rounding."""
    return 1e-12 * max((float((x * x).sum(axis=1).max(initial=0)) for x in samples), default=0.0)


def blocks(x: Floats) -> Iterator[tuple[slice, Floats]]:
    """The points (n, D) some at a time: (where, points)."""
    for start in range(0, len(x), BLOCK):
        where = slice(start, min(start + BLOCK, len(x)))
        yield where, x[where]


def radii(x: Floats, k: int) -> Floats:
    """Squared distance (n,) of each point (n, D) to its k-th nearest other one; n > k."""
    out = np.empty(len(x))
    for where, part in blocks(x):
        distance = squared_distances(part, x)
        distance[np.arange(len(part)), np.arange(where.start, where.stop)] = -1
        out[where] = np.partition(distance, k, axis=1)[:, k]
    return out


def nearest_two(points: Floats, known: Iterable[Floats]) -> Floats:
    """Distances (n, 2) of each point (n, D) to the nearest and second nearest known ones.

    ``known`` gives these in pieces (m, D); infinite where there are fewer.
    """
    best = np.full((len(points), 2), np.inf)
    for piece in known:
        distance = squared_distances(points, piece)
        for _ in range(min(2, len(piece))):
            place = distance.argmin(axis=1)[:, None]
            found = np.take_along_axis(distance, place, axis=1)
            best = np.sort(np.hstack([best, found]), axis=1)[:, :2]
            np.put_along_axis(distance, place, np.inf, axis=1)
    return np.sqrt(np.where(best < rounding(points), 0, best))
