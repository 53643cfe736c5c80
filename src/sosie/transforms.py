"""Transforms of the response and scaling of the features, as frozen values with an exact inverse."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sosie.errors import IntermediateError
from sosie.files import read_json

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
    """Response in physical units to what a network sees, and back.

    A cell x >= floor becomes (box_cox(x) - shift) / scale; an empty cell lies ``gap`` below the
    image of the floor. The inverse sends all that lies below that image to 0, and all that lies
    above the image of ``cap`` to ``cap``: whatever a network emits comes back finite.
    ``power`` is one number or one a cell; log is power 0, none is power 1.
    """

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
        return {**self.__dict__, "power": np.asarray(self.power).tolist()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ResponseTransform":
        """The transform from JSON."""
        return cls(**{**values, "power": np.asarray(values["power"], np.float64)})


@dataclass(frozen=True)
class FeatureScaling:
    """Features (N, F) to those that vary, each with mean 0 and standard deviation 1."""

    names: tuple[str, ...]
    used: Array
    mean: Array
    std: Array

    @classmethod
    def fit(cls, names: tuple[str, ...], features: Array) -> "FeatureScaling":
        """The scaling of a training sample; what does not vary is left out."""
        mean, std = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
        used = std > 1e-6 * np.maximum(1e-3, np.abs(mean))
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
    """All that preprocess fits: response, features, and the domain of the conditions."""

    response: ResponseTransform
    features: FeatureScaling
    domain: Mapping[str, Mapping[str, float]]

    def as_dict(self) -> dict[str, Any]:
        """The transform as JSON."""
        return {
            "response": self.response.as_dict(),
            "features": self.features.as_dict(),
            "domain": {name: dict(limits) for name, limits in self.domain.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Transform":
        """The transform from JSON."""
        return cls(
            ResponseTransform.from_dict(values["response"]),
            FeatureScaling.from_dict(values["features"]),
            values["domain"],
        )


def read_transform(path: str) -> Transform:
    """The transform in transform.json; raises IntermediateError for anything else."""
    values = read_json(path, "preprocess")
    try:
        return Transform.from_dict(values["transform"])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise IntermediateError(
            f"{path}: not a transform ({error}); delete it and run preprocess again"
        ) from None
