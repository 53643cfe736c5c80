"""Fits of small networks to whole samples, stopped where other events are described best."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

RATE = 2e-3
BATCH = 256
AVERAGING = 0.99
STEPS = 1500  # at least, also where events are few


@dataclass(frozen=True)
class Known:
    """Events that laws are fitted to: inputs (N, C), target (N,) or (N, n), weight (N,) not negative."""

    inputs: Tensor
    target: Tensor
    weight: Tensor

    def of(self, cells: Tensor) -> "Known":
        """With some columns of the target."""
        return Known(self.inputs, self.target[:, cells], self.weight)


@dataclass(frozen=True)
class Descent:
    """How a network is fitted: a loss of rows (n,) of N events, and one of the whole of other events."""

    network: nn.Module
    loss_of: Callable[[Tensor], Tensor]
    held: Callable[[], float]
    events: int

    def run(
        self,
        epochs: int,
        rng: torch.Generator,
        tell: Callable[[int, int, float], None] = lambda *_: None,
    ) -> None:
        """Adam, its rate falling as a cosine; keeps the averaged weights of the epoch of least held loss.

        As many epochs as are asked for, or as make STEPS steps. ``tell`` gets the number of an
        epoch and of all, and the held loss.
        """
        network, size = self.network, min(BATCH, self.events)
        batches = self.events // size
        epochs = max(epochs, math.ceil(STEPS / batches))
        optimiser = torch.optim.Adam(network.parameters(), RATE)
        mean = [parameter.detach().clone() for parameter in network.parameters()]
        best, least = [value.clone() for value in mean], math.inf
        for epoch in range(epochs):
            order = torch.randperm(self.events, generator=rng)
            for batch in range(batches):
                progress = (epoch + batch / batches) / epochs
                optimiser.param_groups[0]["lr"] = RATE * (0.5 + 0.5 * math.cos(math.pi * progress))
                loss = self.loss_of(order[batch * size : (batch + 1) * size])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                with torch.no_grad():
                    for old, new in zip(mean, network.parameters(), strict=True):
                        old.lerp_(new, 1 - AVERAGING)
            own = _exchange(network, mean)
            with torch.no_grad():
                found = self.held()
            _exchange(network, own)
            tell(epoch + 1, epochs, found)
            if found < least:
                best, least = [value.clone() for value in mean], found
        _exchange(network, best)


@torch.no_grad()
def _exchange(network: nn.Module, values: list[Tensor]) -> list[Tensor]:
    """Put values into the parameters; those that were there."""
    before = [parameter.detach().clone() for parameter in network.parameters()]
    for parameter, value in zip(network.parameters(), values, strict=True):
        parameter.copy_(value)
    return before
