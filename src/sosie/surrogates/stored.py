"""Surrogates that keep events and draw from them: no network, no ensemble."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from sosie.surrogates.base import Array, Origin, Surrogate


class Stored(Surrogate):
    """A surrogate made of the arrays ``kept``, its attributes and the last arguments of its class."""

    kept: ClassVar[tuple[str, ...]] = ("response", "conditions")

    def members(self, count: int) -> list[Self]:
        """The surrogate alone: it has no ensemble."""
        return [self]

    def arrays(self) -> dict[str, Array]:
        """The events that it keeps."""
        return {name: getattr(self, name) for name in self.kept}

    @classmethod
    def from_arrays(
        cls, origin: Origin, settings: Mapping[str, Any], arrays: Mapping[str, Array]
    ) -> Self:
        """The surrogate from its file."""
        return cls(origin, settings, *(arrays[name] for name in cls.kept))
