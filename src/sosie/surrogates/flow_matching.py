"""flow_matching: the sum, then the cells given it, along the velocities of two flows, under fixed masks.

Lipman et al., arXiv:2210.02747; for calorimeters: Favaro et al. (CaloDREAM), arXiv:2405.09629. The sum as
a model of its own: Krause and Shih (CaloFlow), arXiv:2106.05285.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sosie.detectors import find
from sosie.surrogates.base import Array, Origin
from sosie.surrogates.canvas import Canvas
from sosie.surrogates.flow_networks import Factory, Generator, Velocity
from sosie.surrogates.network import Network, input_count, inputs, to_response
from sosie.transforms import ResponseTransform

FULL = 80.0  # logarithm of a sum that no response has


class FlowMatching(Network):
    """A trained generator with its masks, or a member: a generator with one mask folded in."""

    kind = "flow_matching"
    generator: Generator

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

    @staticmethod
    def build(origin: Origin, settings: Mapping[str, Any]) -> Generator:
        """A generator, not yet trained."""
        how = {name: settings[name] for name in ("solver", "steps")}
        return generator_of(origin, settings, partial(Velocity, **how))

    def respond(
        self, features: Tensor, noise: Tensor, conditions: Array, pattern: Array | None
    ) -> Array:
        """Responses (N, *shape) in house units for features and noise."""
        values, total = (x if x is None else x.cpu() for x in self.generator(features, noise))
        known = self.origin.transform.response
        assert values is not None
        if total is None or not isinstance(known, ResponseTransform):
            image = values.numpy().reshape(-1, *self.detector.shape)
            return to_response(self.origin, image, pattern)
        highest = np.log(known.cap / known.floor)
        response = known.floor * np.exp(np.minimum(values.double().numpy(), highest))
        if self.detector.frame is None:
            response = response.reshape(-1, *self.detector.shape)
        else:
            frame = self.detector.frame(conditions, self.settings["mirrors"])
            canvas = self.canvas(self.origin, self.settings)
            response = canvas.put(response, canvas.cells(frame))
        return brought_to(response, total)


def generator_of(
    origin: Origin,
    settings: Mapping[str, Any],
    transport: Factory,
    of_total: Factory | None = None,
) -> Generator:
    """A generator of sum and cells, not yet trained, whose flows are made as ``Generator`` has it."""
    detector = find(origin.detector)
    features, cells = input_count(origin), int(np.prod(detector.shape))
    window = near = groups = torch.arange(cells)
    places = torch.zeros(cells, 0)
    if detector.frame is not None:
        canvas = FlowMatching.canvas(origin, settings)
        places = torch.from_numpy(canvas.places.astype(np.float32))
        away = np.abs(canvas.offsets).max(axis=0)
        window, near = (
            torch.from_numpy(np.flatnonzero(away <= settings[name])) for name in ("window", "core")
        )
        # Cells near the middle are corrected each by itself, the others with those as far away.
        groups = len(near) + torch.from_numpy(np.hypot(*canvas.offsets).round().astype(np.int64))
        groups[near] = torch.arange(len(near))
        groups = groups.unique(return_inverse=True)[1]
        features = len(detector.feature_names)
    sizes = {name: settings[name] for name in ("width", "depth", "law_width")}
    censored = not detector.signed
    flows = transport, of_total
    return Generator(features, places, window, near, groups, censored, *flows, **sizes)


def brought_to(response: Array, total: Tensor) -> Array:
    """Responses (N, *shape) scaled to the logarithms of their sums (N,); an empty one stays empty."""
    there = response.sum(axis=tuple(range(1, response.ndim)), keepdims=True)
    wanted = np.exp(total.double().clamp(max=FULL).numpy()).reshape(there.shape)
    return response * (wanted / np.where(there > 0, there, 1.0))
