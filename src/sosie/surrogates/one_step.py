"""one_step: flow_matching in one call of each network, learnt from what many steps make of the same noise.

Luhman and Luhman, arXiv:2101.02388; Liu et al. (rectified flow), arXiv:2209.03003.
"""

from collections.abc import Mapping
from typing import Any

from sosie.surrogates.flow_matching import FlowMatching

TAKEN = ("reach", "window", "core", "mirrors", "law_width", "width", "depth", "dropout")


class OneStep(FlowMatching):
    """A generator of flow_matching whose velocities are whole displacements, with the teacher's masks."""

    kind = "one_step"


def settings_of(own: Mapping[str, Any], teacher: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the file: its own, and what its networks take from those of the teacher."""
    return {name: teacher[name] for name in TAKEN} | {**own, "solver": "euler"}
