"""library and mix: training events near in feature space, their responses scaled; no network."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from sosie.surrogates.base import Array, Origin
from sosie.surrogates.stored import Stored
from sosie.ties import complete

APART = 1000.0  # how far apart events of different classes are put, in standard deviations


def apart(features: Array) -> Array:
    """Factors (F,) on features (N, F) that keep classes apart: APART for those of two values."""
    two = [
        len(np.unique(column[:1000])) <= 2 and len(np.unique(column)) == 2 for column in features.T
    ]
    return np.where(two, APART, 1.0)


class Library(Stored):
    """One of the nearest training events in scaled features, times the ratio of the detector's scale.

    A feature of two values is a class, which no other event stands for. Events whose weight is
    not positive are left out: a negative one takes events away and is none to be shown.
    """

    kind = "library"

    def __init__(
        self, origin: Origin, settings: Mapping[str, Any], response: Array, conditions: Array
    ) -> None:
        super().__init__(origin, settings)
        self.response = response
        self.conditions = conditions
        known = self.features(conditions)
        self._count = min(int(settings["neighbours"]), len(response))
        self._factors = apart(known)
        self._tree = KDTree(known * self._factors)
        self._scale = self.detector.scale(conditions.astype(np.float64))

    def sample(self, conditions: Array, rng: np.random.Generator) -> Array:
        """Scaled responses of the nearest event, or of any of the nearest, their ties as they are."""
        near, count = self._near(conditions)
        drawn = (rng.random(len(near)) * count).astype(np.int64)
        return self._scaled(conditions, near[np.arange(len(near)), drawn])

    def _near(self, conditions: Array) -> tuple[Array, Array]:
        """The nearest events (N, k), nearest first, and how many (N,) of them are of one class."""
        places = self.features(conditions) * self._factors
        distance, near = self._tree.query(places, k=np.arange(1, self._count + 1))
        return near, (distance < distance[:, :1] + APART / 10).sum(axis=1)

    def _scaled(self, conditions: Array, rows: Array) -> Array:
        """The responses (N, *shape) of training events (N,), scaled to these conditions."""
        ratio = self.detector.scale(conditions.astype(np.float64)) / self._scale[rows]
        shape = (-1,) + (1,) * len(self.detector.shape)
        scaled: Array = self.response[rows] * ratio.astype(np.float32).reshape(shape)
        return scaled


class Mix(Library):
    """Two of the nearest training events, mixed in random shares.

    Its means are right and its second moments too small, by a third for uniform shares of two
    independent responses: the case that low-level validation is there to find.
    """

    kind = "mix"

    def sample(self, conditions: Array, rng: np.random.Generator) -> Array:
        """Mixed responses (N, *shape), ties as in the first of the two."""
        near, count = self._near(conditions)
        rows = np.arange(len(near))
        # One row an event, so that the size of a batch changes nothing.
        drawn = rng.random((len(near), 3))
        first = (drawn[:, 0] * count).astype(np.int64)
        step = 1 + (drawn[:, 1] * (count - 1)).astype(np.int64)
        second = np.where(count > 1, (first + step) % count, first)
        one, other = (self._scaled(conditions, near[rows, which]) for which in (first, second))
        share = drawn[:, 2].astype(np.float32).reshape(-1, *[1] * (one.ndim - 1))
        mixed: Array = share * one + (1 - share) * other
        ties = self.detector.ties
        return complete(ties, mixed, ties.find(one)) if ties else mixed
