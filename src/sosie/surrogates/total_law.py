"""The law of the sum of a response, as a function of the conditions."""

import numpy as np
import torch
from torch import Tensor, nn

from sosie.surrogates.base import Array
from sosie.surrogates.dense import FAR, Dense
from sosie.surrogates.descent import Descent, Known
from sosie.surrogates.quadratics import quadratic, regression, terms

EPOCHS = 15
TINY = 1e-6
RESIDUAL = 6.0  # standard deviations of the sum that are told apart


def unit(weight: Array) -> Tensor:
    """Weights (N,) of mean one."""
    return torch.from_numpy((weight / weight.mean()).astype(np.float32))


def log_sum(response: Array) -> Tensor:
    """Logarithm of the sum (N,) of responses (N, *shape)."""
    total = response.reshape(len(response), -1).sum(axis=1, dtype=np.float64)
    return torch.from_numpy(np.log(np.maximum(total, 1e-30)).astype(np.float32))


class Total(nn.Module):
    """Mean and width of the logarithm of the sum for inputs (N, C): a quadratic and a network."""

    base: Tensor
    start: Tensor

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.register_buffer("base", torch.zeros(terms(inputs)))
        self.register_buffer("start", torch.zeros(()))
        self.network = Dense(inputs, 2, 64, 2)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and width (N,)."""
        shift, width = self.network(inputs).unbind(1)
        scale = self.start.exp()
        return quadratic(inputs, FAR) @ self.base + scale * shift, (self.start + width).exp()

    @torch.no_grad()
    def changes(self, known: Known, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """What a fit to samples drawn again would add to ``base`` (K, terms) and ``start`` (K,).

        drawn (K, N): how often each event is in each sample. One step from the fit to the whole one.
        """
        mean, width = self(known.inputs)
        pull = ((known.target - mean) / width).clamp(-RESIDUAL, RESIDUAL).double()
        more, weight = drawn.double() - 1, known.weight.double()
        basis = quadratic(known.inputs, FAR).double()
        solver = regression(basis, weight / width.double() ** 2)
        assert solver is not None  # no weight is negative
        base = more @ (solver * (pull * width)).T
        start = (more * weight) @ (pull**2 - 1) / (2 * weight.sum())
        return base.float(), start.float()

    def fit(self, known: Known, held: Known, rng: torch.Generator) -> None:
        """Least squares, then the likelihood of a normal law with its tails cut."""
        basis = quadratic(known.inputs, FAR)
        solver = regression(basis.double(), known.weight.double())
        assert solver is not None  # no weight is negative
        with torch.no_grad():
            self.base.copy_(solver @ known.target.double())
            off = known.target - basis @ self.base
            width = ((known.weight * off**2).sum() / known.weight.sum()).sqrt()
            self.start.copy_(width.clamp_min(TINY).log())

        def loss_of(events: Known) -> Tensor:
            mean, width = self(events.inputs)
            pull = ((events.target - mean) / width).clamp(-RESIDUAL, RESIDUAL)
            loss: Tensor = (events.weight * (0.5 * pull**2 + width.log())).mean()
            return loss

        def of_rows(rows: Tensor) -> Tensor:
            return loss_of(Known(known.inputs[rows], known.target[rows], known.weight[rows]))

        Descent(self, of_rows, lambda: float(loss_of(held)), len(known.inputs)).run(EPOCHS, rng)
