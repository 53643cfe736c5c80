"""The contract of a surrogate, and the file that holds one."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from sosie.detectors import find
from sosie.detectors.base import Detector
from sosie.domain import Domain
from sosie.events import Column
from sosie.transforms import Transform

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Origin:
    """What a surrogate was made from: detector, zero suppression, layout of the ntuple, transform,
    provenance, and its place in the ensemble."""

    detector: str
    threshold: float
    layout: Mapping[str, Any]
    transform: Transform
    provenance: Mapping[str, Any]
    member: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The origin as JSON."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**plain, "transform": self.transform.as_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Origin":
        """The origin from JSON."""
        return cls(**{**values, "transform": Transform.from_dict(values["transform"])})


def pattern_of(origin: Origin, conditions: Array) -> Array | None:
    """The pattern of the ties (N,) for conditions (N, C); None for a detector without any."""
    ties = origin.transform.ties
    return ties.of(find(origin.detector), conditions) if ties else None


class Surrogate(ABC):
    """Draws responses for conditions; with a network or without, alike to every later step."""

    kind: ClassVar[str]
    anywhere: bool = True
    """Whether it draws for any conditions, and not only for those of its file."""
    domain: Domain | None = None
    """Where it was trained; none until ensemble gives it."""

    def __init__(self, origin: Origin, settings: Mapping[str, Any]) -> None:
        self.origin = origin
        self.settings = settings

    @property
    def detector(self) -> Detector:
        """The detector whose responses this surrogate draws."""
        return find(self.origin.detector)

    def features(self, conditions: Array) -> Array:
        """Scaled features (N, F) of conditions (N, C)."""
        return self.origin.transform.features(self.detector.features(conditions.astype(np.float64)))

    @abstractmethod
    def sample(self, conditions: Array, rng: np.random.Generator) -> Array:
        """Responses (N, *shape) float32 for conditions (N, C), both in house units."""

    def batches(
        self, conditions: Array | Column, size: int, rng: np.random.Generator
    ) -> Iterator[tuple[Array, Array]]:
        """Rows of a whole sample with conditions (N, C), ``size`` at a time, and their responses."""
        for start in range(0, len(conditions), size):
            rows = np.arange(start, min(start + size, len(conditions)))
            yield rows, self.sample(conditions[start : start + size], rng)

    def move(self, device: str) -> bool:
        """Compute on a torch device from now on; False where there is no network to move."""
        return False

    @abstractmethod
    def members(self, count: int) -> list[Self]:
        """The first ``count`` members of the ensemble; the surrogate itself where there is none."""

    @abstractmethod
    def arrays(self) -> dict[str, Array]:
        """All arrays that ``from_arrays`` needs."""

    @classmethod
    @abstractmethod
    def from_arrays(
        cls, origin: Origin, settings: Mapping[str, Any], arrays: Mapping[str, Array]
    ) -> Self:
        """The surrogate from what its file holds."""
