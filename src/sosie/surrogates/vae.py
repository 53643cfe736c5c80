"""vae: the sum, then the cells given it, by a conditional variational autoencoder under fixed masks.

Kingma and Welling, arXiv:1312.6114; Sohn, Lee and Yan, NeurIPS 2015.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from sosie.surrogates.autoencoder import Autoencoder
from sosie.surrogates.base import Origin
from sosie.surrogates.flow_matching import FlowMatching, generator_of
from sosie.surrogates.flow_networks import Generator
from sosie.surrogates.splines import Splines

BINS = 8  # of the spline of the sum


class Vae(FlowMatching):
    """As flow_matching, with a code of the event in the place of velocities and mean correlations."""

    kind = "vae"

    @staticmethod
    def build(origin: Origin, settings: Mapping[str, Any]) -> Generator:
        """A generator, not yet trained."""
        how = {name: settings[name] for name in ("latent", "encoder_width")}
        of_total = partial(Splines, bins=BINS, couplings=1)
        return generator_of(origin, settings, partial(Autoencoder, **how), of_total)
