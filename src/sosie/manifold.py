"""Precision, recall, density and coverage: which events lie among those of the other sample.

Kynkaanniemi et al., arXiv:1904.06991 (precision, recall); Naeem et al., arXiv:2002.09797 (density,
coverage). Definitions: "Distances, for any detector" in the manual of the metrics.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sosie.bootstrap import significant
from sosie.distances import Floats
from sosie.fpd_kpd import defined_rows
from sosie.neighbours import blocks, radii, rounding, squared_distances

NEIGHBOURS = 5


@dataclass(frozen=True)
class Manifold:
    """Shares of b among a (precision), of a among b (recall), mean number of balls of a in which b
    lies over k (density), share of a with an event of b in its ball (coverage); events of a and b."""

    precision: float
    recall: float
    density: float
    coverage: float
    events: tuple[int, int]


def manifold(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    a_weights: npt.ArrayLike | None = None,
    b_weights: npt.ArrayLike | None = None,
) -> Manifold:
    """How a real sample (n, D) and a generated one (m, D) cover one another, by Euclidean distance.

    The ball of an event reaches to its fifth nearest neighbour in its own sample. An event of which
    a number is not finite is left out. Weights (n,), (m,), of either sign, weigh the events that are
    counted; balls are the same for all. NaN where the weights sum to no more than their error, and
    for a sample of five events or fewer.
    """
    (x, u), (y, v) = defined_rows(a, a_weights), defined_rows(b, b_weights)
    events = len(x), len(y)
    if min(events) <= NEIGHBOURS or not all(significant(w.sum(), (w * w).sum()) for w in (u, v)):
        return Manifold(math.nan, math.nan, math.nan, math.nan, events)
    # Equal points are inside balls of no size.
    least = rounding(x, y)
    reach, other_reach = (np.maximum(radii(z, NEIGHBOURS), least) for z in (x, y))
    among, covered = np.zeros(len(x), np.bool_), np.zeros(len(x), np.bool_)
    balls = np.zeros(len(y), np.int64)
    for where, part in blocks(x):
        distance = squared_distances(part, y)
        inside = distance <= reach[where, None]
        balls += np.count_nonzero(inside, axis=0)
        covered[where] = inside.any(axis=1)
        among[where] = (distance <= other_reach).any(axis=1)

    def mean(values: npt.ArrayLike, w: Floats) -> float:
        return float(np.average(np.asarray(values, np.float64), weights=w))

    return Manifold(
        precision=mean(balls > 0, v),
        recall=mean(among, u),
        density=mean(balls / NEIGHBOURS, v),
        coverage=mean(covered, u),
        events=events,
    )
