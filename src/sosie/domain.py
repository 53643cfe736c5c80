"""Where an event lies against the domain of training: a variable that every detector has."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sosie.detectors.base import DISTANCE, Detector, Quantity
from sosie.errors import IntermediateError
from sosie.transforms import Transform

Array = np.ndarray[Any, Any]
QUANTITY = Quantity(
    "distance to the training domain",
    words="distance to the training domain, standardised features",
)


def variables(detector: Detector) -> dict[str, Quantity]:
    """All that events can be binned in: the detector's variables and the distance."""
    return {**detector.variables, DISTANCE: QUANTITY}


def distance(detector: Detector, transform: Transform, conditions: Array) -> Array:
    """Distance (N,) of conditions (N, C) to the domain of training, in standardised features.

    That is to the same event with each condition moved to its nearest value between the smallest and
    the largest of the training sample: 0 inside. Raises IntermediateError for a transform of another
    detector.
    """
    domain = transform.domain
    if set(domain) != set(detector.conditions):
        raise IntermediateError(
            f"the transform is of conditions {', '.join(domain)}, the detector has "
            f"{', '.join(detector.conditions)}; give the transform of this study"
        )
    low, high = (
        np.array([domain[name][end] for name in detector.conditions]) for end in ("min", "max")
    )
    nearest = np.clip(conditions, low, high)
    scaled = [transform.features(detector.features(x)) for x in (conditions, nearest)]
    return np.asarray(np.linalg.norm(scaled[0] - scaled[1], axis=1))


def values(
    detector: Detector, conditions: Array, transform: Transform | None
) -> Mapping[str, Array]:
    """The variables (N,) by name, the distance among them where there is a transform."""
    found = detector.variable(conditions)
    if transform is not None:
        found = {**found, DISTANCE: distance(detector, transform, conditions)}
    return found
