"""flow: the sum, then the cells given it, by normalising flows of neural splines under fixed masks.

Durkan et al., arXiv:1906.04032; for calorimeters, the sum first: Krause and Shih (CaloFlow),
arXiv:2106.05285.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from sosie.surrogates.base import Origin
from sosie.surrogates.flow_matching import FlowMatching, generator_of
from sosie.surrogates.flow_networks import Generator
from sosie.surrogates.splines import Splines


class Flow(FlowMatching):
    """As flow_matching, with splines in the place of its velocities: one pass draws an event."""

    kind = "flow"

    @staticmethod
    def build(origin: Origin, settings: Mapping[str, Any]) -> Generator:
        """A generator, not yet trained."""
        how = {name: settings[name] for name in ("bins", "couplings")}
        return generator_of(origin, settings, partial(Splines, **how))
