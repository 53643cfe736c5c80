"""Transforms of the response and scaling of the features, as frozen values with an exact inverse."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import stats

from sosie.errors import IntermediateError
from sosie.files import read_json
from sosie.signed import Quantile, YeoJohnson, weighted_moments
from sosie.ties import TieLaw

Array = np.ndarray[Any, Any]
POWERS = {"log": 0.0, "none": 1.0}
LARGE = 1e30


def box_cox(x: Array | float, power: Array | float) -> Array:
    """(x^lambda - 1) / lambda, the logarithm at lambda = 0, for x > 0.

    Box and Cox, J. R. Stat. Soc. B 26 (1964) 211, equation 1.
    """
    power = np.asarray(power, np.float64)
    safe = np.where(power == 0, 1.0, power)
    logarithm = np.log(x)
    return np.where(power == 0, logarithm, np.expm1(safe * logarithm) / safe)


def inverse_box_cox(y: Array, power: Array | float) -> Array:
    """The inverse of ``box_cox``, for y in its range."""
    power = np.asarray(power, np.float64)
    safe = np.where(power == 0, 1.0, power)
    return np.exp(np.where(power == 0, y, np.log1p(safe * np.where(power == 0, 0.0, y)) / safe))


@dataclass(frozen=True)
class ResponseTransform:
    """Box-Cox: response in physical units to what a network sees, and back.

    A cell x >= floor becomes (box_cox(x) - shift) / scale; an empty cell lies ``gap`` below the
    image of the floor. The inverse sends all that lies below that image to 0, and all that lies
    above the image of ``cap`` to ``cap``: whatever a network emits comes back finite.
    ``power`` is one number or one a cell; log is power 0, none is power 1.
    """

    kind: ClassVar[str] = "box_cox"
    power: Array
    floor: float
    cap: float
    gap: float
    shift: float = 0.0
    scale: float = 1.0

    @property
    def low(self) -> Array:
        """Image of the floor before scaling."""
        return box_cox(np.float64(self.floor), self.power)

    @property
    def high(self) -> Array:
        """Image of the cap before scaling."""
        return box_cox(np.float64(self.cap), self.power)

    def forward(self, x: Array) -> Array:
        """Responses (N, *shape) in physical units to scaled values, float64."""
        filled = x >= self.floor
        y = box_cox(np.where(filled, x, self.floor).astype(np.float64), self.power)
        return (np.where(filled, y, self.low - self.gap) - self.shift) / self.scale

    def inverse(self, z: Array) -> Array:
        """Scaled values (N, *shape) to responses in physical units, float64; not-a-number becomes 0."""
        emitted = np.nan_to_num(np.asarray(z, np.float64), nan=-LARGE)
        y = np.clip(emitted, -LARGE, LARGE) * self.scale + self.shift
        # A cell at the floor itself may come back a rounding error below its image.
        filled = y >= self.low - 1e-6 * self.gap
        # Most cells are empty; logarithms and exponentials are for the others.
        power, low, high = (
            np.broadcast_to(of_cells, y.shape)[filled] if np.ndim(of_cells) else of_cells
            for of_cells in (self.power, self.low, self.high)
        )
        x = np.zeros(y.shape)
        back = inverse_box_cox(np.clip(y[filled], low, high), power)
        x[filled] = np.clip(back, self.floor, self.cap)
        return x

    def as_dict(self) -> dict[str, Any]:
        """The transform as JSON."""
        return {"kind": self.kind, **self.__dict__, "power": np.asarray(self.power).tolist()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ResponseTransform":
        """The transform from JSON."""
        own = {name: value for name, value in values.items() if name != "kind"}
        return cls(**{**own, "power": np.asarray(values["power"], np.float64)})


AnyResponse = ResponseTransform | Quantile | YeoJohnson
KINDS: dict[str, type[ResponseTransform] | type[Quantile] | type[YeoJohnson]] = {
    kind.kind: kind for kind in (ResponseTransform, Quantile, YeoJohnson)
}


@dataclass(frozen=True)
class FeatureScaling:
    """Features (N, F) to those that vary, each with mean 0 and standard deviation 1."""

    names: tuple[str, ...]
    used: Array
    mean: Array
    std: Array

    @classmethod
    def fit(
        cls, names: tuple[str, ...], features: Array, weight: Array | None = None
    ) -> "FeatureScaling":
        """The scaling of a training sample, weights (N,); what does not vary is left out.

        Signed weights may leave a feature a variance of no use; it is then taken without them.
        """
        mean, std = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
        used = std > 1e-6 * np.maximum(1e-3, np.abs(mean))
        if weight is not None:
            share = weight / weight.sum()
            mean = share @ features.astype(np.float64)
            variance = share @ (features - mean) ** 2
            std = np.where(variance > (0.1 * std) ** 2, np.sqrt(np.abs(variance)), std)
        return cls(names, used, mean, np.where(used, std, 1.0))

    def __call__(self, features: Array) -> Array:
        """Scaled features (N, F used), float64."""
        return ((features - self.mean) / self.std)[:, self.used]

    def as_dict(self) -> dict[str, Any]:
        """The scaling as JSON."""
        return {
            "names": list(self.names),
            "used": self.used.tolist(),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "FeatureScaling":
        """The scaling from JSON."""
        return cls(
            tuple(values["names"]),
            np.asarray(values["used"], bool),
            np.asarray(values["mean"], np.float64),
            np.asarray(values["std"], np.float64),
        )


@dataclass(frozen=True)
class Transform:
    """All that preprocess fits: response, features, domain of the conditions, law of the ties."""

    response: AnyResponse
    features: FeatureScaling
    domain: Mapping[str, Mapping[str, float]]
    ties: TieLaw | None = None

    def as_dict(self) -> dict[str, Any]:
        """The transform as JSON."""
        plain = {
            "response": self.response.as_dict(),
            "features": self.features.as_dict(),
            "domain": {name: dict(limits) for name, limits in self.domain.items()},
        }
        return plain if self.ties is None else {**plain, "ties": self.ties.as_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Transform":
        """The transform from JSON."""
        return cls(
            # Files of version 0.1 do not name their kind, the only one there was.
            KINDS[values["response"].get("kind", "box_cox")].from_dict(values["response"]),
            FeatureScaling.from_dict(values["features"]),
            values["domain"],
            TieLaw.from_dict(values["ties"]) if "ties" in values else None,
        )


def shape_of(values: Array, weight: Array | None = None, bins: int = 60) -> dict[str, Any]:
    """Histogram, skewness and excess kurtosis of values (n,) with weights (n,).

    The last two are None where signed weights leave no variance.
    """
    counts, edges = np.histogram(values, bins=bins, weights=weight)
    skewness: float | None = None
    kurtosis: float | None = None
    if weight is None:
        skewness, kurtosis = float(stats.skew(values)), float(stats.kurtosis(values))
    else:
        mean, variance = weighted_moments(values, weight)
        if variance > 0:
            pulls = (values - mean) / variance**0.5
            skewness = float(np.average(pulls**3, weights=weight))
            kurtosis = float(np.average(pulls**4, weights=weight)) - 3
    return {"counts": counts, "edges": edges, "skewness": skewness, "kurtosis": kurtosis}


def read_transform(path: str) -> Transform:
    """The transform in transform.json; raises IntermediateError for anything else."""
    values = read_json(path, "preprocess")
    try:
        return Transform.from_dict(values["transform"])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise IntermediateError(
            f"{path}: not a transform ({error}); delete it and run preprocess again"
        ) from None
