"""What takes noise to a law: the contract of velocities, splines and denoisers."""

from abc import abstractmethod

import torch
from torch import Tensor, nn


class Transport(nn.Module):
    """Takes independent normal variables (N, n) to those of a law, given inputs (N, C).

    Before it is trained it leaves them as they are. ``mask``: (depth, width), (depth, N, width) of
    each event, or None once it is folded in. ``more``: how many normal variables ``draw`` wants of each
    event after the n.
    """

    more: int = 0

    @abstractmethod
    def draw(self, noise: Tensor, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """What becomes of the noise (N, n + more)."""

    @abstractmethod
    def loss(
        self,
        target: Tensor,
        inputs: Tensor,
        mask: Tensor | None,
        time: Tensor,
        rng: torch.Generator,
    ) -> Tensor:
        """Loss (N,) for each number of a target (N, n); ``time`` (N,), uniform from 0 to 1, is where
        on its way a path is looked at, and ``rng`` draws the noise that it starts from."""

    @abstractmethod
    def fold_in(self, mask: Tensor) -> None:
        """Put the mask (depth, width) into the weights."""
