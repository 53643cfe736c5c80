"""external: responses that another program made for these very conditions; no training."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sosie.errors import InputError
from sosie.surrogates.base import Array, Origin
from sosie.surrogates.stored import Stored


def _keys(conditions: Array) -> list[bytes]:
    # Minus zero equals zero, in other bytes.
    rows = np.ascontiguousarray(conditions, dtype=np.float32) + np.float32(0)
    return [row.tobytes() for row in rows]


class External(Stored):
    """The response of the file's event with exactly the same conditions.

    Of several events with the same conditions it is the first.
    """

    kind = "external"
    anywhere = False

    def __init__(
        self, origin: Origin, settings: Mapping[str, Any], response: Array, conditions: Array
    ) -> None:
        super().__init__(origin, settings)
        self.response = response
        self.conditions = conditions
        self._place = {key: i for i, key in reversed(list(enumerate(_keys(conditions))))}

    def sample(self, conditions: Array, rng: np.random.Generator) -> Array:
        """The responses of the file; ``rng`` is not used. Raises InputError for other conditions."""
        found = [self._place.get(key) for key in _keys(conditions)]
        if None in found:
            first = found.index(None)
            named = ", ".join(
                f"{name} {value:g}"
                for name, value in zip(self.detector.conditions, conditions[first], strict=True)
            )
            raise InputError(
                f"{', '.join(self.settings['files'])}: no event with the conditions of event {first} "
                f"({named}; {found.count(None)} of {len(found)} such events); give responses for "
                "the conditions of the sample"
            )
        return self.response[np.array(found, np.int64)]
