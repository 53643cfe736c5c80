"""Networks of cramer_gan: a dense generator, and a critic that gives a vector."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from sosie.surrogates.encoding import Encoding
from sosie.surrogates.network import Masked

SLOPE = 0.2
PIECES = 16
LOCATION = 64  # hidden units of the mean and the width
WIDEST = 4.0  # logarithm of the largest width, and of the smallest
BATCH = 1024
LEAST = 1e-12  # keeps the gradient of a length finite where it is 0


class Location(nn.Module):
    """Mean and width (N, n) of the scaled response for encoded features (N, E).

    Fitted first and then kept, so that what the critic sees is of one size everywhere.
    """

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, LOCATION),
            nn.LeakyReLU(SLOPE),
            nn.Linear(LOCATION, LOCATION),
            nn.LeakyReLU(SLOPE),
            nn.Linear(LOCATION, 2 * size),
        )

    def forward(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and width."""
        mean, logarithm = self.layers(encoded).chunk(2, dim=1)
        return mean, (WIDEST * torch.tanh(logarithm / WIDEST)).exp()

    def fit(
        self, encoded: Tensor, image: Tensor, weight: Tensor, steps: int, rng: torch.Generator
    ) -> None:
        """Maximum likelihood of Gaussians on scaled responses (N, n), weights (N, n) of each number.

        Negative weights count as 0: the result is a unit, which biases nothing.
        """
        optimiser = torch.optim.Adam(self.parameters(), 2e-3, fused=True)
        weight = weight.clamp(min=0)
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = 2e-3 * (1 - step / steps)
            rows = torch.randint(len(image), (BATCH,), generator=rng)
            mean, width = self(encoded[rows])
            each = ((image[rows] - mean) / width).square() / 2 + width.log()
            optimiser.zero_grad()
            (weight[rows] * each).mean().backward()
            optimiser.step()
        self.requires_grad_(False)


class Generator(Masked):
    """Features (N, F) and noise (N, noise) to a scaled response (N, *shape).

    Residual layers; a direct path keeps what is linear out of them.
    """

    def __init__(
        self, shape: tuple[int, ...], features: int, *, latent: int, width: int, depth: int
    ) -> None:
        super().__init__()
        self.shape, self.noise = shape, latent
        self.encoding = Encoding(features, PIECES)
        self.location = Location(self.encoding.size, math.prod(shape))
        inputs = self.encoding.size + latent
        sizes = [inputs, *[width] * (depth - 1)]
        self.hidden = nn.ModuleList([nn.Linear(size, width) for size in sizes])
        self.direct = nn.Linear(inputs, math.prod(shape), bias=False)
        self.out = nn.Linear(width, math.prod(shape))

    def residual(self, encoded: Tensor, noise: Tensor, mask: Tensor | None = None) -> Tensor:
        """The response (N, n) from its mean in units of its width, for encoded features (N, E).

        ``mask`` (depth, width), or (depth, N, width) of each event; None once it is folded in.
        """
        seen = torch.cat([encoded, noise], dim=1)
        hidden = seen
        for k, layer in enumerate(self.hidden):
            step = functional.leaky_relu(layer(hidden), SLOPE)
            step = step if mask is None else step * mask[k]
            hidden = step if k == 0 else hidden + step
        residual: Tensor = self.out(hidden) + self.direct(seen)
        return residual

    def forward(self, features: Tensor, noise: Tensor, mask: Tensor | None = None) -> Tensor:
        """The scaled response (N, *shape); ``mask`` as in ``residual``."""
        encoded = self.encoding(features)
        mean, width = self.location(encoded)
        return (mean + width * self.residual(encoded, noise, mask)).view(-1, *self.shape)


class Critic(nn.Module):
    """D: a vector (N, n + vector) of a scaled response (N, n), given the features (N, F).

    The response itself is part of the vector: whatever the rest has learnt, the energy distance of
    the vectors is 0 for equal laws only.
    """

    def __init__(self, size: int, features: int, width: int, vector: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(size + features, width),
            nn.LeakyReLU(SLOPE),
            nn.Linear(width, width),
            nn.LeakyReLU(SLOPE),
            nn.Linear(width, vector),
        )

    def forward(self, response: Tensor, features: Tensor) -> Tensor:
        """The vectors (N, n + vector)."""
        learnt = self.layers(torch.cat([response, features], dim=1))
        return torch.cat([response, learnt], dim=1)


def length(vector: Tensor) -> Tensor:
    """Lengths (N,) of vectors (N, V), smooth at 0."""
    return (vector.square().sum(1) + LEAST).sqrt()


def gradient_penalty(
    critic: Critic, real: Tensor, fake: Tensor, other: Tensor, features: Tensor, mixing: Tensor
) -> Tensor:
    """Mean of (|gradient of f| - 1)^2 on lines between real and fake responses (N, n).

    f(y) = |D(y) - D(other)| - |D(y)|; mixing (N, 1) in [0, 1]. Bellemare et al.,
    arXiv:1705.10743, algorithm 1.
    """
    between = (mixing * real + (1 - mixing) * fake).requires_grad_(True)
    vector = critic(between, features)
    witness = length(vector - critic(other, features)) - length(vector)
    (slope,) = torch.autograd.grad(witness.sum(), between, create_graph=True)
    return (length(slope) - 1).square().mean()
