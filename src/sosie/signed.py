"""Transforms of vectors whose numbers may be negative, each number by itself: frozen, with inverses."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import optimize, special

Array = np.ndarray[Any, Any]
LEVELS = 500  # knots of the quantile transform, before those at atoms
POWER_RANGE = (-1.0, 3.0)  # of lambda of Yeo-Johnson; 1 is the identity
TAIL = 20  # knots at an end whose slope goes on beyond it
STEP = 1e-6  # least distance of knots in normal scores


def monotone(sums: Array) -> Array:
    """Cumulative sums (n,) of weights, some negative, as a distribution function up to its scale.

    Midway between the largest sum before and the smallest one behind: for weights that are not
    negative these are the sums themselves.
    """
    above = np.maximum.accumulate(sums)
    below = np.minimum.accumulate(sums[::-1])[::-1]
    return np.clip((above + below) / 2, 0.0, sums[-1])


def scores(values: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Distinct values (m,), their normal scores (m,) and their shares (m,).

    The score of a value is that of the middle of its share, so that an atom lies in the middle of
    the gap that it fills. Raises ValueError where the sum of the weights is not positive.
    """
    distinct, inverse = np.unique(values, return_inverse=True)
    sums = np.cumsum(np.bincount(inverse, weight, len(distinct)))
    if not sums[-1] > 0:
        raise ValueError(f"the weights sum to {sums[-1]:g}, which is not positive")
    upper = monotone(sums) / sums[-1]
    lower = np.concatenate([[0.0], upper[:-1]])
    # No level lies closer to 0 or 1 than half an event does.
    edge = 0.5 / len(values)
    middle = np.clip((lower + upper) / 2, edge, 1 - edge)
    return distinct, special.ndtri(middle), upper - lower


def knots(values: Array, weight: Array, levels: int = LEVELS) -> tuple[Array, Array]:
    """Knots (k,) of the quantile transform of values (n,): values and normal scores, both rising.

    Evenly spread in normal score, with the ends and, for each atom, the atom and its neighbours.
    """
    distinct, score, share = scores(values, weight)
    if len(distinct) < 2:
        raise ValueError("fewer than two different values")
    at = np.searchsorted(score, np.linspace(score[0], score[-1], levels))
    # Enough in the middle too, where most of the events are.
    quantile = special.ndtri((np.arange(levels) + 0.5) / levels)
    at = np.concatenate([at, np.searchsorted(score, quantile)])
    atoms = np.flatnonzero(share > 2 / levels)
    at = np.concatenate([at, atoms - 1, atoms, atoms + 1, [0, len(score) - 1]])
    x, z = _apart(distinct, score, np.unique(at.clip(0, len(score) - 1)))
    return (x, z) if len(x) > 1 else (distinct[[0, -1]], np.array([-1.0, 1.0]))


def _apart(value: Array, score: Array, at: Array) -> tuple[Array, Array]:
    """The knots whose scores are so far apart that both ways can be gone."""
    kept = [at[0]]
    for k in at[1:]:
        if score[k] - score[kept[-1]] > STEP:
            kept.append(k)
    return value[kept], score[kept]


def _lines(at: Array, source: Array, target: Array) -> Array:
    """Straight lines between knots; beyond the ends they go on as the last TAIL knots do."""
    result = np.interp(at, source, target)
    reach = min(TAIL, len(source) - 1)
    for end, inner, outside in (
        (0, reach, at < source[0]),
        (-1, -1 - reach, at > source[-1]),
    ):
        slope = (target[inner] - target[end]) / (source[inner] - source[end])
        result[outside] = target[end] + slope * (at[outside] - source[end])
    return result


class _Signed(ABC):
    """What both transforms share: numbers one by one, bounds on what comes back."""

    low: Array
    high: Array

    @abstractmethod
    def _one(self, number: int, values: Array, back: bool) -> Array:
        """One number of the responses, there or ``back``."""

    def _all(self, values: Array, back: bool) -> Array:
        flat = np.asarray(values, np.float64).reshape(len(values), -1)
        moved = [self._one(number, column, back) for number, column in enumerate(flat.T)]
        return np.stack(moved, axis=1).reshape(np.shape(values))

    def forward(self, x: Array) -> Array:
        """Responses (N, *shape) in physical units to scaled values, float64."""
        return self._all(x, back=False)

    def inverse(self, z: Array) -> Array:
        """Scaled values (N, *shape) to responses, float64, within the bounds; not-a-number is 0."""
        size = len(self.low)
        back = self._all(np.clip(np.nan_to_num(np.asarray(z, np.float64)), -1e6, 1e6), back=True)
        bounded = np.clip(back.reshape(len(back), size), self.low, self.high)
        return bounded.reshape(np.shape(z))

    def as_dict(self) -> dict[str, Any]:
        """The transform as JSON."""
        plain = {
            name: [part.tolist() for part in value] if isinstance(value, tuple) else value.tolist()
            for name, value in self.__dict__.items()
        }
        return {"kind": self.kind, **plain}  # type: ignore[attr-defined]


def bounds(columns: Sequence[Array]) -> tuple[Array, Array]:
    """Smallest and largest number that a surrogate may give: the range of each, widened by itself."""
    low, high = (np.array([f(c) for c in columns], np.float64) for f in (np.min, np.max))
    return low - (high - low), high + (high - low)


@dataclass(frozen=True)
class Quantile(_Signed):
    """Each number to its normal score; ``value`` and ``score`` are the knots, one pair a number."""

    kind: ClassVar[str] = "quantile"
    value: tuple[Array, ...]
    score: tuple[Array, ...]
    low: Array
    high: Array

    @classmethod
    def fit(cls, columns: Sequence[Array], weights: Sequence[Array]) -> "Quantile":
        """The transform of numbers with their weights, (n,) each, one pair a number.

        Raises ValueError for a number that does not vary, or weights whose sum is not positive.
        """
        found = [knots(c.astype(np.float64), w) for c, w in zip(columns, weights, strict=True)]
        value, score = zip(*found, strict=True)
        return cls(value, score, *bounds(columns))

    def _one(self, number: int, values: Array, back: bool) -> Array:
        x, z = self.value[number], self.score[number]
        return _lines(values, z, x) if back else _lines(values, x, z)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Quantile":
        """The transform from JSON; raises ValueError for knots that do not rise."""
        value, score = (
            tuple(np.asarray(part, np.float64) for part in values[name])
            for name in ("value", "score")
        )
        for x, z in zip(value, score, strict=True):
            if len(x) < 2 or len(x) != len(z) or (np.diff(x) <= 0).any() or (np.diff(z) <= 0).any():
                raise ValueError("knots of the quantile transform do not rise")
        return cls(value, score, *(np.asarray(values[n], np.float64) for n in ("low", "high")))


def yeo_johnson(x: Array, power: float) -> Array:
    """The power transform of signed numbers; lambda = 1 is the identity.

    Yeo and Johnson, Biometrika 87 (2000) 954, equation 3.
    """
    size = np.log1p(np.abs(x))
    of_sign = np.where(x >= 0, power, 2 - power)
    safe = np.where(of_sign == 0, 1.0, of_sign)
    moved = np.where(of_sign == 0, size, np.expm1(safe * size) / safe)
    return np.where(x >= 0, moved, -moved)


def inverse_yeo_johnson(y: Array, power: float) -> Array:
    """The inverse of ``yeo_johnson``, for y in its range."""
    of_sign = np.where(y >= 0, power, 2 - power)
    safe = np.where(of_sign == 0, 1.0, of_sign)
    size = np.where(of_sign == 0, np.abs(y), np.log1p(safe * np.abs(y)) / safe)
    return np.where(y >= 0, np.expm1(size), -np.expm1(size))


def weighted_moments(values: Array, weight: Array) -> tuple[float, float]:
    """Mean and variance of values (n,); the variance is not positive where weights leave none."""
    mean = np.average(values, weights=weight)
    return float(mean), float(np.average((values - mean) ** 2, weights=weight))


def fit_yeo_johnson(x: Array, weight: Array) -> float:
    """Lambda by maximum of the weighted likelihood on values (n,), within POWER_RANGE."""
    total, logarithm = weight.sum(), np.sign(x) * np.log1p(np.abs(x))
    slope = float((weight * logarithm).sum())

    def loss(power: float) -> float:
        variance = weighted_moments(yeo_johnson(x, power), weight)[1]
        if not variance > 0:
            return np.inf
        return float(total / 2 * np.log(variance) - (power - 1) * slope)

    found = optimize.minimize_scalar(loss, bounds=POWER_RANGE, method="bounded")
    return float(found.x)


@dataclass(frozen=True)
class YeoJohnson(_Signed):
    """Each number over its ``unit``, to a power, then to mean 0 and deviation 1; each array (n,)."""

    kind: ClassVar[str] = "yeo_johnson"
    power: Array
    unit: Array
    shift: Array
    scale: Array
    low: Array
    high: Array

    @classmethod
    def fit(
        cls, columns: Sequence[Array], weights: Sequence[Array], fixed: float | None = None
    ) -> "YeoJohnson":
        """The transform of numbers with their weights, (n,) each, one pair a number.

        The power is fitted where it is not ``fixed``. Raises ValueError for a number that does not vary,
        or weights whose sum is not positive.
        """
        rows = []
        for column, weight in zip(columns, weights, strict=True):
            if not weight.sum() > 0:
                raise ValueError(f"the weights sum to {weight.sum():g}, which is not positive")
            unit = float(column.std(dtype=np.float64))
            if not unit > 0:
                raise ValueError("fewer than two different values")
            x = column.astype(np.float64) / unit
            own = fit_yeo_johnson(x, weight) if fixed is None else fixed
            shift, variance = weighted_moments(yeo_johnson(x, own), weight)
            if not variance > 0:
                raise ValueError("the weights leave no variance")
            rows.append((own, unit, shift, variance**0.5))
        power, unit, shift, scale = np.array(rows).T
        return cls(power, unit, shift, scale, *bounds(columns))

    def _one(self, number: int, values: Array, back: bool) -> Array:
        power, unit = self.power[number], self.unit[number]
        shift, scale = self.shift[number], self.scale[number]
        if not back:
            return (yeo_johnson(values / unit, power) - shift) / scale
        ends = np.array([self.low[number], self.high[number]]) / unit
        y = np.clip(values * scale + shift, *yeo_johnson(ends, power))
        return inverse_yeo_johnson(y, power) * unit

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "YeoJohnson":
        """The transform from JSON."""
        return cls(**{n: np.asarray(v, np.float64) for n, v in values.items() if n != "kind"})
