"""The domain of training: how far an event lies from the training sample, and in which zone."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from sosie.arrays import read_arrays, write_arrays
from sosie.detectors import find
from sosie.detectors.base import DISTANCE, Detector, Quantity
from sosie.errors import IntermediateError
from sosie.hdf5 import one_line
from sosie.streams import key, mix
from sosie.transforms import FeatureScaling

Array = np.ndarray[Any, Any]
KIND = "domain"
MOST = 20_000
"""Training events, at most, whose features are kept."""
NEAR = 99
"""Per cent of the training events whose nearest other one is nearer than the unit of the distance."""
BEYOND = 1.5
"""An event is outside from so many times the loneliest training event's distance on."""
TINY = 1e-6
"""Unit of the distance where all training events have the same features."""
INSIDE, EDGE, OUTSIDE = 0, 1, 2
ZONE, AWAY = "sosie_zone", "sosie_distance"
"""The columns and branches that generate writes."""
QUANTITY = Quantity(
    "distance D to the training sample",
    words="distance D to the training sample, 1 at the edge of its domain",
)


def variables(detector: Detector) -> dict[str, Quantity]:
    """All that events can be binned in: the detector's variables and the distance."""
    return {**detector.variables, DISTANCE: QUANTITY}


@dataclass(frozen=True)
class Domain:
    """The training sample as far as it tells where a surrogate holds.

    low, high (C,): ranges of the conditions, house units. points (n, F) float32: used standardised
    features of at most 20 000 training events, each once. quantiles (101,): of the distance of a
    point to its nearest other point, in steps of 1 %.
    """

    detector: str
    scaling: FeatureScaling
    low: Array
    high: Array
    points: Array
    quantiles: Array

    @classmethod
    def fit(
        cls,
        detector: Detector,
        scaling: FeatureScaling,
        conditions: Array,
        event_id: Array,
        seed: int,
    ) -> "Domain":
        """The domain of training events with conditions (N, C) and event_id (N,) uint64.

        Which events are kept is a function of seed and event, whatever their order. Events with the
        same features count once: the distance is that to the nearest other condition.
        """
        order = np.argsort(mix(event_id ^ np.uint64(key(seed, KIND))), kind="stable")[:MOST]
        features = scaling(detector.features(conditions[order].astype(np.float64)))
        points = np.unique(features.astype(np.float32), axis=0)
        apart = cKDTree(points).query(points, k=2)[0][:, 1] if len(points) > 1 else np.zeros(1)
        return cls(
            detector.name,
            scaling,
            conditions.min(axis=0).astype(np.float64),
            conditions.max(axis=0).astype(np.float64),
            points,
            np.quantile(apart, np.linspace(0, 1, 101)),
        )

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.points)

    @property
    def near(self) -> float:
        """The unit of the distance: 99 % of the points have another one nearer than that."""
        return max(float(self.quantiles[NEAR]), TINY)

    @property
    def far_limit(self) -> float:
        """The distance from which on an event is outside."""
        return BEYOND * max(float(self.quantiles[-1]) / self.near, 1.0)

    def distance(self, conditions: Array) -> Array:
        """Distance D (N,) float32 of finite conditions (N, C): that to the nearest point over ``near``.

        Beyond the range of a condition it is 1 + b at least, b the norm in standardised features of
        the event less itself moved to the nearest value in range; infinite where a condition differs
        that did not vary in training.
        """
        where = conditions.astype(np.float64)
        features = self._features(where)
        # Rounded as the points are, so that the distance to one's own is 0.
        found = np.asarray(self._tree.query(features.astype(np.float32))[0]) / self.near
        nearest = np.clip(where, self.low, self.high)
        moved = nearest != where
        beyond = moved.any(axis=1)
        off = np.linalg.norm(features[beyond] - self._features(nearest[beyond]), axis=1)
        # So much above 1 that single precision tells it from 1.
        found[beyond] = np.maximum(found[beyond], 1 + np.maximum(off, TINY))
        found[(moved & (self.low == self.high)).any(axis=1)] = np.inf
        return found.astype(np.float32)

    def zone(self, distance: Array) -> Array:
        """Zone (N,) uint8 of distances (N,): 0 inside, 1 at the edge, 2 outside."""
        outer = np.where(distance <= self.far_limit, EDGE, OUTSIDE)
        return np.where(distance <= 1, INSIDE, outer).astype(np.uint8)

    def _features(self, conditions: Array) -> Array:
        return self.scaling(find(self.detector).features(conditions))

    def arrays(self) -> dict[str, Array]:
        """All arrays by name, as ``from_arrays`` takes them."""
        return {name: getattr(self, name) for name in ("low", "high", "points", "quantiles")}

    @classmethod
    def from_arrays(
        cls, detector: str, scaling: FeatureScaling, arrays: Mapping[str, Array]
    ) -> "Domain":
        """The domain from its arrays; raises ValueError for others."""
        names = ("low", "high", "points", "quantiles")
        if set(arrays) != set(names):
            raise ValueError(f"a domain with arrays {', '.join(arrays) or 'none'}")
        return cls(detector, scaling, *(arrays[name] for name in names))

    def same(self, other: "Domain") -> bool:
        """Whether distances to the two are the same."""
        return (
            self.detector == other.detector
            and self.scaling.as_dict() == other.scaling.as_dict()
            and all(np.array_equal(a, other.arrays()[name]) for name, a in self.arrays().items())
        )


def write_domain(path: str, domain: Domain) -> None:
    """Write a domain; raises SosieError where the place cannot be written."""
    about = {"detector": domain.detector, "scaling": domain.scaling.as_dict()}
    write_arrays(path, KIND, domain.arrays(), about)


def read_domain(path: str) -> Domain:
    """The domain that preprocess wrote; raises IntermediateError for anything else."""
    arrays, about = read_arrays(path, KIND, "preprocess")
    try:
        scaling = FeatureScaling.from_dict(about["scaling"])
        return Domain.from_arrays(about["detector"], scaling, arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise IntermediateError(
            f"{path}: not a domain ({one_line(error)}); run preprocess again"
        ) from None
