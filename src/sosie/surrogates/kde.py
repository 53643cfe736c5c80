"""kde: kernel density in standardised response and feature space; no network."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.spatial import KDTree
from scipy.special import ndtr

from sosie.errors import InputError
from sosie.surrogates.base import Array, Origin
from sosie.surrogates.library import apart
from sosie.surrogates.stored import Stored
from sosie.ties import complete, free

BLOCK = 4096  # events at a time, to bound the memory


class Kde(Stored):
    """A training event near in feature space, moved by Gaussian noise in the scaled response.

    One of the k nearest events is drawn with its event weight times a Gaussian kernel of half the
    distance to the farthest of them. The noise has the covariance of those k, its width is ``bandwidth`` times
    Silverman's factor times theirs; their mean and covariance are kept. Events whose weight is not positive are left out: a density
    cannot take events away. Ties stay as in the event drawn, and so do the empty cells of a
    response that is not negative. Silverman, Density Estimation (1986), equation 4.14 and
    section 6.4.
    """

    kind = "kde"
    kept = ("response", "conditions", "weight")

    def __init__(
        self,
        origin: Origin,
        settings: Mapping[str, Any],
        response: Array,
        conditions: Array,
        weight: Array,
    ) -> None:
        """Raises InputError where no event has a positive weight."""
        super().__init__(origin, settings)
        if not (weight > 0).all():
            raise InputError("kde: events of its sample have weights that are not positive")
        self.response, self.conditions, self.weight = response, conditions, weight
        known = self.features(conditions)
        self._count = min(int(settings["neighbours"]), len(response))
        self._factors = apart(known)
        self._tree = KDTree(known * self._factors)
        image = origin.transform.response.forward(response).reshape(len(response), -1)
        ties = self.detector.ties
        self._pattern = ties.find(response) if ties else np.zeros(len(response), np.int64)
        counts = free(ties, self.detector.shape)[self._pattern] if ties else np.ones_like(image)
        self._image, self._free = image.astype(np.float32), counts.astype(np.float32)

    def sample(self, conditions: Array, rng: np.random.Generator) -> Array:
        """Responses (N, *shape) float32."""
        count, shape = len(conditions), self.detector.shape
        response = np.empty((count, *shape), np.float32)
        # One row an event, so that the size of a batch changes nothing.
        drawn = rng.standard_normal((count, 1 + self._count), np.float32)
        uniform, noise = ndtr(drawn[:, 0].astype(np.float64)), drawn[:, 1:]
        features = self.features(conditions) * self._factors
        for start in range(0, count, BLOCK):
            here = slice(start, start + BLOCK)
            response[here] = self._draw(features[here], uniform[here], noise[here])
        return response

    def _draw(self, features: Array, uniform: Array, noise: Array) -> Array:
        distance, near = self._tree.query(features, k=np.arange(1, self._count + 1))
        chance = self._chance(distance, near)
        sums = np.cumsum(chance, axis=1)
        drawn = (sums < uniform[:, None] * sums[:, -1:]).sum(axis=1)
        rows = near[np.arange(len(near)), np.minimum(drawn, self._count - 1)]
        moved = self._moved(near, chance, self._image[rows], noise)
        moved = moved.reshape(-1, *self.detector.shape)
        response = self.origin.transform.response.inverse(moved)
        if not self.detector.signed:
            response[self.response[rows] == 0] = 0
        ties = self.detector.ties
        return complete(ties, response, self._pattern[rows]) if ties else response

    def _chance(self, distance: Array, near: Array) -> Array:
        """Weight (N, k) of each neighbour; where neighbours are of another class, of none of them."""
        width = np.maximum(distance[:, -1:], 1e-9) / 2
        # All of one class lie nearer than the classes lie apart, but for the last of a rare one.
        own = distance < distance[:, :1] + 100
        width = np.where(own.all(axis=1, keepdims=True), width, np.inf)
        kernel = np.exp(-((distance / width) ** 2) / 2) * own
        return kernel * self.weight[near]

    def _moved(self, near: Array, chance: Array, image: Array, noise: Array) -> Array:
        """Scaled responses (N, n) with noise, drawn towards their mean so that covariances stay."""
        share = chance[:, :, None] * self._free[near]
        total = np.maximum(share.sum(axis=1), 1e-12)
        share /= total[:, None]
        around = self._image[near]
        mean = (share * around).sum(axis=1)
        # A random sum of what the neighbours are off by has their covariance.
        away = np.sqrt(share) * (around - mean[:, None])
        shift = np.einsum("bk,bkn->bn", noise, away)
        effective = 1 / np.maximum((share**2).sum(axis=1), 1e-12)
        size = image.shape[1]
        silverman = (4 / ((size + 2) * np.maximum(effective, 1))) ** (1 / (size + 4))
        width = float(self.settings["bandwidth"]) * silverman
        # Of a number that no neighbour has free the mean is of none of them.
        shrunk = np.where(total > 1e-12, mean + (image - mean) / np.sqrt(1 + width**2), image)
        moved: Array = shrunk + width / np.sqrt(1 + width**2) * shift
        return moved
