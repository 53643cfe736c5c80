"""cramer_gan: Cramér GAN, whose critic measures an energy distance; the generator under fixed masks.

Bellemare et al., arXiv:1705.10743; for the RICH: Maevskiy et al., arXiv:1905.11825.
"""

from collections.abc import Mapping
from typing import Any

from sosie.detectors import find
from sosie.surrogates.base import Origin
from sosie.surrogates.cramer_networks import Generator
from sosie.surrogates.network import Network, input_count


class CramerGan(Network):
    """A trained generator with its masks, or a member: a generator with one mask folded in."""

    kind = "cramer_gan"

    @property
    def block(self) -> int:
        """Events at a time."""
        return 512

    @staticmethod
    def build(origin: Origin, settings: Mapping[str, Any]) -> Generator:
        """A generator, not yet trained."""
        sizes = {name: settings[name] for name in ("latent", "width", "depth")}
        return Generator(find(origin.detector).shape, input_count(origin), **sizes)
