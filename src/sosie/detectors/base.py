"""The contract of a detector: all that the steps know of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Quantity:
    """A number per event: its label in mathtext, its unit ('' for a pure number), plain words."""

    label: str
    unit: str = ""
    words: str = ""

    @property
    def axis(self) -> str:
        """The label of an axis, 'label [unit]'."""
        return f"{self.label} [{self.unit}]" if self.unit else self.label


@dataclass(frozen=True)
class Fit:
    """A curve through the resolution of one reconstructed quantity.

    ``solve(x, width)`` takes x (B,) and width (..., B) and returns the parameters (..., P);
    ``model(x, parameters)`` takes parameters (P,) and returns the curve at x.
    """

    result: str
    variable: str
    parameters: Mapping[str, Quantity]
    solve: Callable[[Array, Array], Array]
    model: Callable[[Array, Array], Array]
    formula: str


@dataclass(frozen=True)
class Detector:
    """What a detector is to every step.

    ``conditions`` maps each physical condition to its house unit, in the order of the columns of
    the event table. All functions are pure and take response (N, *shape) and conditions (N, C);
    a value that is not defined for an event is NaN. ``minor`` names the observables that are drawn
    in the tables and maps of the report alone, not in a figure of their own. ``incident_energy``
    (N,) in MeV is given for a calorimeter, whose event tables bear the names of the CaloChallenge.
    """

    name: str
    shape: tuple[int, ...]
    unit: str
    axes: tuple[Quantity, ...]
    centres: tuple[Array, ...]
    conditions: Mapping[str, str]
    feature_names: tuple[str, ...]
    features: Callable[[Array], Array]
    scale: Callable[[Array], Array]
    variables: Mapping[str, Quantity]
    variable: Callable[[Array], dict[str, Array]]
    observables: Mapping[str, Quantity]
    observe: Callable[[Array, Array], dict[str, Array]]
    calibrate: Callable[[Array, Array], dict[str, Any]]
    results: Mapping[str, Quantity]
    reconstruct: Callable[[Array, Array, dict[str, Any]], dict[str, Array]]
    fits: Mapping[str, Fit] = field(default_factory=dict)
    minor: tuple[str, ...] = ()
    incident_energy: Callable[[Array], Array] | None = None
