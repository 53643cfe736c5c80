"""wgan_gp: Wasserstein GAN with gradient penalty; the generator under fixed dropout masks.

Gulrajani et al., NeurIPS 2017, arXiv:1704.00028.
"""

import math
from collections.abc import Mapping
from typing import Any

from sosie.detectors import find
from sosie.errors import SettingsError
from sosie.surrogates.base import Origin
from sosie.surrogates.network import Network, input_count
from sosie.surrogates.wgan_networks import Generator
from sosie.transforms import ResponseTransform

CELLS = 230_400


class WganGp(Network):
    """A trained generator with its masks, or a member: a generator with one mask folded in."""

    kind = "wgan_gp"

    @property
    def block(self) -> int:
        """Events at a time, as many as have so many cells together."""
        return max(1, CELLS // math.prod(self.detector.shape))

    @staticmethod
    def build(origin: Origin, settings: Mapping[str, Any]) -> Generator:
        """A generator, not yet trained; raises SettingsError for responses that may be negative."""
        detector, transform = find(origin.detector), origin.transform.response
        if detector.signed or not isinstance(transform, ResponseTransform):
            raise SettingsError(
                f"train.surrogates: kind '{settings['kind']}' draws shares of a sum and does not serve the "
                f"detector '{detector.name}', whose numbers may be negative; take cramer_gan"
            )
        return Generator(
            detector.shape,
            input_count(origin),
            transform,
            **{name: settings[name] for name in ("latent", "width", "depth", "sources")},
        )
