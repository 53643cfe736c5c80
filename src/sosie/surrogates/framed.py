"""What surrogates share that see each event in its frame, where the detector gives one."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from sosie.detectors import find
from sosie.surrogates.base import Array, Origin
from sosie.surrogates.canvas import Canvas
from sosie.surrogates.network import Network, inputs

FULL = 80.0  # logarithm of a sum that no response has


class Framed(Network):
    """A trained generator with its masks, or a member: a generator with one mask folded in."""

    @property
    def block(self) -> int:
        """Events at a time."""
        return 128

    @staticmethod
    def inputs(
        origin: Origin, settings: Mapping[str, Any], conditions: Array, pattern: Array | None
    ) -> Array:
        """Features (N, F) in the frame of each event, where the detector gives one."""
        frame = find(origin.detector).frame
        if frame is None:
            return inputs(origin, conditions, pattern)
        return frame(conditions, settings["mirrors"]).features.astype(np.float32)

    @staticmethod
    def canvas(origin: Origin, settings: Mapping[str, Any]) -> Canvas:
        """The cells that can be filled."""
        return Canvas(find(origin.detector).shape, settings["reach"])


def brought_to(response: Array, total: Tensor) -> Array:
    """Responses (N, *shape) scaled to the logarithms of their sums (N,); an empty one stays empty."""
    there = response.sum(axis=tuple(range(1, response.ndim)), keepdims=True)
    wanted = np.exp(total.double().clamp(max=FULL).numpy()).reshape(there.shape)
    return response * (wanted / np.where(there > 0, there, 1.0))
