"""vae: the sum, then a code and the cells given it, by a conditional variational autoencoder.

Kingma and Welling, arXiv:1312.6114; given conditions: Sohn, Lee and Yan, NeurIPS 2015.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sosie.detectors import find
from sosie.errors import SettingsError
from sosie.surrogates.base import Array, Origin
from sosie.surrogates.framed import Framed, brought_to
from sosie.surrogates.network import input_count, to_response
from sosie.surrogates.vae_networks import Generator
from sosie.transforms import ResponseTransform

FAR = -1e6  # below all scaled numbers of a response of either sign


class Vae(Framed):
    """A trained decoder with its masks, or a member: a decoder with one mask folded in."""

    kind = "vae"
    generator: Generator

    @staticmethod
    def build(origin: Origin, settings: Mapping[str, Any]) -> Generator:
        """A generator, not yet trained; raises SettingsError for cells that move, each with a lambda."""
        detector, transform = find(origin.detector), origin.transform.response
        features, cells = input_count(origin), int(np.prod(detector.shape))
        if detector.frame is not None:
            features = len(detector.feature_names)
            cells = len(Vae.canvas(origin, settings).offsets[0])
        low = np.full(cells, FAR)
        if isinstance(transform, ResponseTransform):
            if detector.frame is not None and np.ndim(transform.power):
                raise SettingsError(
                    "train.surrogates: kind 'vae' moves the cells of an event to the middle and needs one "
                    "lambda for all of them; set preprocess.per_cell to false"
                )
            image = (transform.low - transform.shift) / transform.scale
            low = (
                np.broadcast_to(image, detector.shape).ravel()
                if np.ndim(image)
                else low * 0 + image
            )
        sizes = {name: settings[name] for name in ("latent", "width", "depth")}
        threshold = torch.from_numpy(low.astype(np.float32))
        return Generator(features, threshold, not detector.signed, **sizes)

    def respond(
        self, features: Tensor, noise: Tensor, conditions: Array, pattern: Array | None
    ) -> Array:
        """Responses (N, *shape) in house units for features and noise."""
        image, total = (x if x is None else x.cpu() for x in self.generator(features, noise))
        assert image is not None
        if self.detector.frame is None:
            shaped = image.numpy().reshape(-1, *self.detector.shape)
            response = to_response(self.origin, shaped, pattern)
        else:
            frame = self.detector.frame(conditions, self.settings["mirrors"])
            canvas = self.canvas(self.origin, self.settings)
            cells = self.origin.transform.response.inverse(image.numpy())
            response = canvas.put(cells, canvas.cells(frame))
        return response if total is None else brought_to(response, total)
