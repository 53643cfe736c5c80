"""The contract of a detector: all that the steps know of it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
DISTANCE = "distance"
"""The variable that every detector has: the distance to the domain of training."""


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
class Pairs:
    """Two events overlaid at a distance, and whether the reconstruction finds both.

    ``overlay(response, conditions, response, conditions, words, calibration)`` takes the first and
    the second events of M pairs, and uniform 64-bit words (M,) from which it draws what it needs.
    It returns the distance (M, B) at which each pair was put in each bin of ``edges`` (B+1,); found
    as two (M, B), 1 or 0; both NaN where a pair cannot be put into a bin; and ``results`` by name
    (M, B), NaN where the pair is not found as two.
    """

    variable: str
    axis: Quantity
    edges: tuple[float, ...]
    found: Quantity
    results: Mapping[str, Quantity]
    overlay: Callable[
        [Array, Array, Array, Array, Array, dict[str, Any]], tuple[Array, Array, dict[str, Array]]
    ]


@dataclass(frozen=True)
class Groups:
    """What the reconstruction makes of events that belong together, as the pad rows of a track.

    ``truth`` maps each true number of a group to its house unit; every event carries those of its
    group. ``variable(truth)`` takes them by name, (G,) each, and returns the ``variables`` for
    binning. ``reconstruct(response, conditions, group, aux, truth, calibration)`` takes all N
    events of a sample, the group of each as an index (N,) into the groups in order of appearance,
    the columns of identity by name (N,) and the truth (G,). It returns by name (G,): every one of
    ``results``, NaN where there is none, and every one of ``rates``, a share from 0 to 1.
    """

    truth: Mapping[str, str]
    variables: Mapping[str, Quantity]
    variable: Callable[[Mapping[str, Array]], dict[str, Array]]
    results: Mapping[str, Quantity]
    rates: Mapping[str, Quantity]
    reconstruct: Callable[
        [Array, Array, Array, Mapping[str, Array], Mapping[str, Array], dict[str, Any]],
        dict[str, Array],
    ]


@dataclass(frozen=True)
class Roc:
    """Two classes of events that one number tells apart.

    ``signal`` and ``background`` take conditions (N, C) and say which events belong to each (N,);
    ``score`` takes the response and returns a number (N,) that is larger for signal.
    """

    axis: Quantity
    signal: Callable[[Array], Array]
    background: Callable[[Array], Array]
    score: Callable[[Array], Array]


@dataclass(frozen=True)
class Ties:
    """Numbers of a response that are exactly equal or exactly zero, by pattern.

    ``find(response)`` (N,) tells which of ``patterns`` holds; ``impose(response, pattern)`` returns
    responses in which it holds exactly. ``variable`` names that one of the detector's variables
    which decides between patterns.
    """

    patterns: tuple[str, ...]
    variable: str
    find: Callable[[Array], Array]
    impose: Callable[[Array, Array], Array]


@dataclass(frozen=True)
class Frame:
    """Where the response of each event lies and how, so that moved and turned back all look alike.

    ``centre`` (N, 2) is the cell in the middle; ``mirrored`` (N, 2) tells which axes run the other
    way, ``turned`` (N,) whether they are exchanged after that; ``features`` (N, F) are the
    conditions as seen there.
    """

    centre: Array
    mirrored: Array
    turned: Array
    features: Array


@dataclass(frozen=True)
class Detector:
    """What a detector is to every step.

    ``conditions`` maps each physical condition to its house unit, in the order of the columns of
    the event table. All functions are pure and take response (N, *shape) and conditions (N, C);
    a value that is not defined for an event is NaN. ``calibrate`` takes pieces of a sample, each
    (response, conditions). ``minor`` names the observables that are drawn
    in the tables and maps of the report alone, not in a figure of their own. ``incident_energy``
    (N,) in MeV is given for a calorimeter, whose event tables bear the names of the CaloChallenge.

    ``signed``: numbers of the response may be negative, and nothing is suppressed. ``limits`` are
    the smallest and largest value of a condition that make sense, in house units. ``rates`` are
    further numbers of ``reconstruct``, each 0 or 1, NaN where not asked, whose mean is an efficiency
    or a probability to be taken for something else. ``rocs`` are drawn in terciles of the two
    variables of ``roc_grid``. ``pseudo_chi2`` names the observables that enter it. ``frame(conditions,
    mirrors)`` is given where a response keeps its form when the particle moves by a cell, and with
    ``mirrors`` when it comes from the mirrored side. ``averages(conditions)`` names observables that are
    averages over the cells, weighted by what is in them, and says what each cell counts (N, cells).
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
    calibrate: Callable[[Iterable[tuple[Array, Array]]], dict[str, Any]]
    results: Mapping[str, Quantity]
    reconstruct: Callable[[Array, Array, dict[str, Any]], dict[str, Array]]
    fits: Mapping[str, Fit] = field(default_factory=dict)
    pairs: Pairs | None = None
    minor: tuple[str, ...] = ()
    incident_energy: Callable[[Array], Array] | None = None
    signed: bool = False
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    ties: Ties | None = None
    rates: Mapping[str, Quantity] = field(default_factory=dict)
    rocs: Mapping[str, Roc] = field(default_factory=dict)
    roc_grid: tuple[str, ...] = ()
    groups: Groups | None = None
    pseudo_chi2: tuple[str, ...] = ()
    frame: Callable[[Array, bool], Frame] | None = None
    averages: Callable[[Array], dict[str, Array]] | None = None
