"""parametric: mean and covariance of the transformed response as functions of the conditions; no network."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from sosie.detectors import find
from sosie.surrogates.base import Array, Origin, pattern_of
from sosie.surrogates.regression import Basis, blocks
from sosie.surrogates.stored import Stored
from sosie.ties import complete, free
from sosie.transforms import ResponseTransform

ROWS = 256  # events at a time, to stay in the cache


def inputs(origin: Origin, conditions: Array, pattern: Array | None) -> tuple[Array, Array, Array]:
    """Scaled features (N, F), coordinates (N, D) and classes (N, K) of conditions (N, C).

    The coordinates are the features and the detector's variables, as the place of the impact, in
    which a response is simpler than in the conditions; the classes tell the pattern of the ties.
    """
    detector, plain = find(origin.detector), conditions.astype(np.float64)
    features = origin.transform.features(detector.features(plain))
    coordinates = np.column_stack([features, *detector.variable(plain).values()])
    ties = origin.transform.ties
    if ties is None or pattern is None:
        return features, coordinates, np.empty((len(plain), 0))
    return features, coordinates, ties.one_hot(pattern)


def free_numbers(origin: Origin, pattern: Array | None) -> Array | None:
    """Which numbers (N, n) are not given by ties; None for a detector without any."""
    detector = find(origin.detector)
    if detector.ties is None or pattern is None:
        return None
    return free(detector.ties, detector.shape)[pattern]


def cells(origin: Origin) -> ResponseTransform | None:
    """The transform of a response that is not negative; None for one of either sign.

    Box-Cox as preprocess fitted it, but of an exponent of 0 at the least: for a negative one a
    Gaussian of whatever width has no mean in the response.
    """
    known = origin.transform.response
    if not isinstance(known, ResponseTransform):
        return None
    return replace(known, power=np.maximum(known.power, 0.0), shift=0.0, scale=1.0)


def to_image(origin: Origin, response: Array) -> Array:
    """Transformed responses (N, n); where none is negative the logarithm of the sum comes last."""
    transform = cells(origin)
    if transform is None:
        return origin.transform.response.forward(response).reshape(len(response), -1)
    image = transform.forward(response).reshape(len(response), -1)
    total = response.reshape(len(response), -1).sum(axis=1, dtype=np.float64)
    return np.column_stack([image, np.log(np.maximum(total, transform.floor))])


def to_response(origin: Origin, image: Array) -> Array:
    """Responses (N, *shape) of transformed ones (N, n), brought to the sum that comes with them."""
    shape, transform = find(origin.detector).shape, cells(origin)
    if transform is None:
        return origin.transform.response.inverse(image.reshape(-1, *shape))
    response = transform.inverse(image[:, :-1].reshape(-1, *shape)).reshape(len(image), -1)
    largest = np.log(transform.cap * response.shape[1])
    total = np.exp(np.minimum(image[:, -1], largest))
    there = response.sum(axis=1)
    response *= (total / np.where(there > 0, there, 1.0))[:, None]
    return response.reshape(-1, *shape)


class Parametric(Stored):
    """Gaussian in the transformed response, with regressions for its mean and covariance.

    z = mean(c) + V t + rest: scores t (k,) on principal components V (n, k) of what the mean leaves,
    and independent noise for what these leave, of a variance of its own for each number. Scores
    follow t_j = sum_i<j phi_ji(c) t_i + sigma_j(c) e_j, so that their covariance is positive
    definite whatever phi and sigma: Pourahmadi, Biometrika 86 (1999) 677. Means, phi and logarithms of
    variances are linear in the terms of ``Basis``, phi of many scores in the features alone; variances
    stay within what they are in the training sample. Responses that are not negative are brought to a sum of
    their own, the last of the numbers, since errors of many cells add up in it. With ties each number is a component of its own, and those
    that are not free are left out. Empty cells are a point mass, which no Gaussian has: their rate
    is approximate.
    """

    kind = "parametric"
    kept = (
        "edge", "begin", "width", "mean", "components", "links", "scores", "score_limits", "rest",
        "rest_limits",
    )  # fmt: skip

    def __init__(
        self,
        origin: Origin,
        settings: Mapping[str, Any],
        edge: Array,
        begin: Array,
        width: Array,
        mean: Array,
        components: Array,
        links: Array,
        scores: Array,
        score_limits: Array,
        rest: Array,
        rest_limits: Array,
    ) -> None:
        """From the arrays of a Basis of T terms; coefficients (T, n) of the mean; V (n, k); phi
        (L, k, k) of the first L terms; coefficients and limits of the variances of scores (T, k) and rest (T, n or 0).

        Raises ValueError for arrays that do not fit together.
        """
        super().__init__(origin, settings)
        self.edge, self.begin, self.width = edge, begin, width
        self.mean, self.components, self.links = mean, components, links
        self.scores, self.score_limits = scores, score_limits
        self.rest, self.rest_limits = rest, rest_limits
        self._basis = Basis(edge, begin, width)
        size, count = components.shape
        fit = (
            size == mean.shape[1] == int(np.prod(self.detector.shape)) + (cells(origin) is not None)
            and len(links) in (1 + edge.shape[1], len(mean))
            and links.shape[1:] == (count, count)
            and scores.shape == (len(mean), count)
            and rest.shape in ((len(mean), size), (len(mean), 0))
            and (score_limits.shape, rest_limits.shape) == ((2, count), (2, rest.shape[1]))
        )
        if not fit:
            raise ValueError("the arrays of the regressions do not fit together")

    def sample(self, conditions: Array, rng: np.random.Generator) -> Array:
        """Responses (N, *shape) float32."""
        shape, size = self.detector.shape, self.scores.shape[1] + self.rest.shape[1]
        noise = rng.standard_normal((len(conditions), size), np.float32)
        response = np.empty((len(conditions), *shape), np.float32)
        ties = self.detector.ties
        with threadpool_limits(limits=1, user_api="blas"):
            for here in blocks(len(conditions), ROWS):
                pattern = pattern_of(self.origin, conditions[here])
                image = self._image(conditions[here], pattern, noise[here])
                drawn = to_response(self.origin, image)
                if ties is not None and pattern is not None:
                    drawn = complete(ties, drawn, pattern)
                response[here] = drawn
        return response

    def _image(self, conditions: Array, pattern: Array | None, noise: Array) -> Array:
        """Scaled responses (N, n)."""
        features, *others = inputs(self.origin, conditions, pattern)
        terms = self._basis(features, *others)
        count = self.components.shape[1]
        own = noise[:, :count] * np.exp(np.clip(terms @ self.scores, *self.score_limits) / 2)
        links = terms[:, : len(self.links)] @ self.links.reshape(len(self.links), -1)
        links = links.reshape(-1, count, count)
        counts = free_numbers(self.origin, pattern)
        score = np.zeros((len(terms), count))
        for j in range(count):
            score[:, j] = own[:, j] + np.einsum("bi,bi->b", links[:, j, :j], score[:, :j])
            if counts is not None:
                score[:, j] *= counts[:, j]
        image: Array = terms @ self.mean + score @ self.components.T
        if self.rest.size:
            spread = np.clip(terms @ self.rest, *self.rest_limits)
            image += noise[:, count:] * np.exp(spread / 2)
        return image
