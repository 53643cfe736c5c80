"""Ties of a response as a surrogate reproduces them: which pattern holds where."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from sosie.detectors.base import Array, Detector, Ties

MOST = 2000  # changes kept; sharp thresholds need a handful


@dataclass(frozen=True)
class TieLaw:
    """The pattern as a step function of one variable: ``pattern[k]`` holds below ``change[k]``.

    ``change`` (C,) rises, ``pattern`` (C + 1,) are indices into the detector's patterns; ``count`` is
    the number of these.
    """

    variable: str
    change: Array
    pattern: Array
    count: int

    @classmethod
    def fit(
        cls, ties: Ties, value: Array, pattern: Array, weight: Array, most: int = MOST
    ) -> "TieLaw":
        """The law of the nearest event in ``value`` (N,), given patterns and weights (N,).

        Events of negative weight are left out. Where more than ``most`` changes are found, the
        pattern is no function of the variable; then every second event is left out, and again,
        which keeps the rates at less detail.
        """
        kept = (weight > 0) & np.isfinite(value)
        order = np.argsort(value[kept], kind="stable")
        value, pattern = value[kept][order].astype(np.float64), pattern[kept][order]
        while True:
            last = np.flatnonzero(np.diff(pattern))
            if len(last) <= most:
                break
            value, pattern = value[::2], pattern[::2]
        change = (value[last] + value[last + 1]) / 2
        held = pattern[np.append(last, len(pattern) - 1)]
        return cls(ties.variable, change, held.astype(np.int64), len(ties.patterns))

    def draw(self, value: Array) -> Array:
        """The pattern (N,) of the nearest event, for values (N,) of the variable."""
        return self.pattern[np.searchsorted(self.change, value, side="right")]

    def one_hot(self, pattern: Array) -> Array:
        """Patterns (N,) as inputs of a network (N, count)."""
        return np.eye(self.count)[pattern]

    def of(self, detector: Detector, conditions: Array) -> Array:
        """The pattern (N,) for conditions (N, C)."""
        return self.draw(detector.variable(conditions.astype(np.float64))[self.variable])

    def as_dict(self) -> dict[str, Any]:
        """The law as JSON."""
        return {**self.__dict__, "change": self.change.tolist(), "pattern": self.pattern.tolist()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TieLaw":
        """The law from JSON; raises ValueError for patterns that there are not."""
        change = np.asarray(values["change"], np.float64)
        pattern, count = np.asarray(values["pattern"], np.int64), int(values["count"])
        if pattern.shape != (len(change) + 1,) or not ((pattern >= 0) & (pattern < count)).all():
            raise ValueError("the law of the ties does not fit its patterns")
        return cls(str(values["variable"]), change, pattern, count)


@cache
def sources(ties: Ties, shape: tuple[int, ...]) -> Array:
    """Which number of a response each number takes its value from under each pattern (patterns, n).

    Its own index where it is free, the first of those that it equals, -1 where it is a constant: only
    what is free does a network have to learn.
    """
    size = int(np.prod(shape))
    probe = np.random.Generator(np.random.Philox(1)).uniform(1, 2, (4, size))
    found = np.empty((len(ties.patterns), size), np.int64)
    for pattern in range(len(ties.patterns)):
        shown = probe.reshape(-1, *shape)
        imposed = ties.impose(shown, np.full(len(shown), pattern)).reshape(-1, size)
        equal = (imposed[:, :, None] == imposed[:, None, :]).all(axis=0)
        found[pattern] = np.where((imposed == imposed[0]).all(axis=0), -1, equal.argmax(axis=1))
    return found


def free(ties: Ties, shape: tuple[int, ...]) -> Array:
    """Which numbers of a response are free under each pattern (patterns, n)."""
    taken = sources(ties, shape)
    return taken == np.arange(taken.shape[1])


def complete(ties: Ties, response: Array, pattern: Array) -> Array:
    """Responses (N, *shape) of which only the free numbers count, with all their ties exact."""
    flat = response.reshape(len(response), -1)
    taken = sources(ties, response.shape[1:])[pattern]
    filled = np.take_along_axis(flat, np.maximum(taken, 0), axis=1)
    return ties.impose(filled.reshape(response.shape), pattern)
