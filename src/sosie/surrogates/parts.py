"""One surrogate for each value of a condition, as one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from sosie.errors import InputError, SettingsError
from sosie.events import Column
from sosie.surrogates.base import Array, Origin, Surrogate

PART = "part"


def values_of(origin: Origin, name: str, conditions: Array) -> Array:
    """The absolute value (N,) of a condition, as of a PDG code; raises SettingsError for its name."""
    from sosie.detectors import find

    names = list(find(origin.detector).conditions)
    if name not in names:
        raise SettingsError(
            f"train.surrogates: separate: '{name}' is no condition of the detector "
            f"'{origin.detector}'; take one of {', '.join(names)}"
        )
    return np.abs(conditions[:, names.index(name)].astype(np.float64))


class Parts(Surrogate):
    """Surrogates of one kind by the absolute value of the condition ``settings.separate``."""

    def __init__(
        self, origin: Origin, settings: Mapping[str, Any], parts: Mapping[float, Surrogate]
    ) -> None:
        super().__init__(origin, settings)
        self.parts = dict(parts)
        self.kind = settings["kind"]  # type: ignore[misc]
        self.anywhere = all(part.anywhere for part in parts.values())

    def sample(self, conditions: Array, rng: np.random.Generator) -> Array:
        """Responses (N, *shape); raises InputError for a value that no part was trained for."""
        return self._drawn(conditions, rng.spawn(len(self.parts)))

    def batches(
        self, conditions: Array | Column, size: int, rng: np.random.Generator
    ) -> Iterator[tuple[Array, Array]]:
        """The same, ``size`` events at a time, which changes nothing: each part draws by itself."""
        generators = rng.spawn(len(self.parts))
        for start in range(0, len(conditions), size):
            rows = np.arange(start, min(start + size, len(conditions)))
            yield rows, self._drawn(conditions[start : start + size], generators)

    def _drawn(self, conditions: Array, generators: Sequence[np.random.Generator]) -> Array:
        value = values_of(self.origin, self.settings["separate"], conditions)
        response = np.empty((len(conditions), *self.detector.shape), np.float32)
        if strange := set(np.unique(value)) - set(self.parts):
            raise InputError(
                f"{self.settings['separate']}: no surrogate was trained for {min(strange):g}, only for "
                f"{', '.join(f'{known:g}' for known in self.parts)}; leave such events out"
            )
        for (known, part), rng in zip(self.parts.items(), generators, strict=True):
            here = value == known
            if here.any():
                response[here] = part.sample(conditions[here], rng)
        return response

    def move(self, device: str) -> bool:
        """Move every part."""
        return all(part.move(device) for part in self.parts.values())

    def members(self, count: int) -> list[Self]:
        """The members of all parts, number by number."""
        each = {known: part.members(count) for known, part in self.parts.items()}
        return [
            type(self)(
                replace(self.origin, member=members[0].origin.member),
                self.settings,
                dict(zip(each, members, strict=True)),
            )
            for members in zip(*each.values(), strict=True)
        ]

    def arrays(self) -> dict[str, Array]:
        """The arrays of all parts."""
        return {
            f"{PART}/{known:g}/{name}": array
            for known, part in self.parts.items()
            for name, array in part.arrays().items()
        }

    @classmethod
    def from_arrays(
        cls, origin: Origin, settings: Mapping[str, Any], arrays: Mapping[str, Array]
    ) -> Self:
        """The parts from their file, of the kind in the settings; raises ValueError for no parts."""
        from sosie.surrogates import SURROGATES  # it imports this module

        kind = SURROGATES[settings["kind"]]()
        own: dict[str, dict[str, Array]] = {}
        for name, array in arrays.items():
            _, known, rest = name.split("/", 2)
            own.setdefault(known, {})[rest] = array
        if not own:
            raise ValueError("no part")
        return cls(
            origin,
            settings,
            {float(k): kind.from_arrays(origin, settings, own[k]) for k in sorted(own, key=float)},
        )
