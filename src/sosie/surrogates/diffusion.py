"""diffusion: the sum, then the cells given it, from noise that is taken away, under fixed masks.

Song et al., arXiv:2011.13456; Karras et al., arXiv:2206.00364. For calorimeters: Mikuni and Nachman
(CaloScore), arXiv:2206.11898.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from sosie.surrogates.base import Origin
from sosie.surrogates.denoiser import Denoiser
from sosie.surrogates.flow_matching import FlowMatching, generator_of
from sosie.surrogates.flow_networks import Generator


class Diffusion(FlowMatching):
    """As flow_matching, with denoisers in the place of its velocities."""

    kind = "diffusion"

    @staticmethod
    def build(origin: Origin, settings: Mapping[str, Any]) -> Generator:
        """A generator, not yet trained."""
        how = {name: settings[name] for name in ("steps", "churn")}
        return generator_of(origin, settings, partial(Denoiser, **how))
