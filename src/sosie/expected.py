"""What observables are expected to be at given conditions, so that they can be taken less that."""

from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from sosie.detectors.base import Detector
from sosie.streams import key, mix, uniform

Array = np.ndarray[Any, Any]
TREES, LEAVES, RATE, STEPS = 50, 15, 0.15, 63


def inputs_of(detector: Detector, conditions: Array) -> Array:
    """All that the detector makes of conditions (N, C): features and variables, (N, I)."""
    return np.column_stack([detector.features(conditions), *detector.variable(conditions).values()])


def parts_of(groups: Array, seed: int) -> Array:
    """The half (N,), 0 or 1, to which the group of an event belongs."""
    half: Array = (uniform(mix(groups ^ np.uint64(key(seed, "expected")))) < 0.5).astype(np.int64)
    return half


class Expected:
    """Boosted regressions of Q values on the inputs, each of one half of a sample.

    What is asked of the one half is said by the regression of the other, and of another sample by
    either: so residuals are those of events that no fit has seen, in all samples alike.
    """

    def __init__(self, inputs: Array, values: Array, part: Array) -> None:
        """From inputs (N, I), values (N, Q), NaN where not defined, and the half (N,) of each."""
        self._models = [
            [self._fit(inputs[part != own], column[part != own]) for column in values.T]
            for own in (0, 1)
        ]

    @staticmethod
    def _fit(inputs: Array, column: Array) -> HistGradientBoostingRegressor | float:
        known = np.isfinite(column)
        if known.sum() < 2 or column[known].min() == column[known].max():
            return float(column[known][0]) if known.any() else 0.0
        model = HistGradientBoostingRegressor(
            max_iter=TREES,
            max_leaf_nodes=LEAVES,
            learning_rate=RATE,
            max_bins=STEPS,
            early_stopping=False,
            random_state=0,
        )
        with threadpool_limits(1):
            return model.fit(inputs[known], column[known])

    def of(self, inputs: Array, part: Array) -> Array:
        """The expectation (N, Q) for inputs (N, I) of events in these halves (N,)."""
        found = np.empty((len(inputs), len(self._models[0])))
        with threadpool_limits(1):
            for own, models in enumerate(self._models):
                here = part == own
                for q, model in enumerate(models if here.any() else ()):
                    found[here, q] = (
                        model if isinstance(model, float) else model.predict(inputs[here])
                    )
        return found
