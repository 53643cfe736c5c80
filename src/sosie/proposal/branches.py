"""A branch as ``sosie init`` sees it, and the unit that is found for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sosie.ntuples import Column, Ragged
from sosie.units import UNITS

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Branch:
    """A branch: its name, its title, and some of its entries."""

    name: str
    title: str
    column: Column

    @property
    def numbers(self) -> Array:
        """All numbers of these entries in a row."""
        return self.column.content if isinstance(self.column, Ragged) else self.column.ravel()

    @property
    def scalar(self) -> bool:
        """Whether it is one number an entry."""
        return not isinstance(self.column, Ragged) and self.column.ndim == 1

    @property
    def integer(self) -> bool:
        """Whether it holds whole numbers by type."""
        return self.numbers.dtype.kind in "iu"


@dataclass(frozen=True)
class Unit:
    """A unit and where it is from; ``guessed`` where neither a name nor a title gives it."""

    symbol: str
    source: str
    guessed: bool


def finite(values: Array) -> Array:
    """Those of the values that are finite numbers, in double precision."""
    values = values.astype(np.float64).ravel()
    return values[np.isfinite(values)]


def constant(values: Array) -> bool:
    """Whether all finite values are one."""
    seen = finite(values)
    return len(seen) > 0 and bool(seen.min() == seen.max())


def known_units(house: str) -> Mapping[str, float]:
    """The units that measure the same as a house unit."""
    return next((known for known in UNITS.values() if house in known), {house: 1.0})
