"""library: the training event nearest in feature space, its response scaled; no network."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from sosie.surrogates.base import Array, Origin
from sosie.surrogates.stored import Stored

APART = 1000.0  # how far apart events of different classes are put, in standard deviations


def apart(features: Array) -> Array:
    """Factors (F,) on features (N, F) that keep classes apart: APART for those of two values."""
    two = [
        len(np.unique(column[:1000])) <= 2 and len(np.unique(column)) == 2 for column in features.T
    ]
    return np.where(two, APART, 1.0)


class Library(Stored):
    """Nearest training event in scaled features, multiplied by the ratio of the detector's scale.

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
        self._factors = apart(known)
        self._tree = KDTree(known * self._factors)
        self._scale = self.detector.scale(conditions.astype(np.float64))

    def sample(self, conditions: Array, rng: np.random.Generator) -> Array:
        """The scaled nearest responses, their ties as they are; ``rng`` is not used."""
        nearest = self._tree.query(self.features(conditions) * self._factors)[1]
        ratio = self.detector.scale(conditions.astype(np.float64)) / self._scale[nearest]
        shape = (-1,) + (1,) * len(self.detector.shape)
        return self.response[nearest] * ratio.astype(np.float32).reshape(shape)
