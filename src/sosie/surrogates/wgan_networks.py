"""Generator, critic and masks of wgan_gp, for a response of any shape."""

import math
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from sosie.surrogates.base import Origin

SLOPE = 0.2


class Generator(nn.Module):
    """Noise (N, noise) and scaled features (N, F) to a scaled response (N, *shape).

    Every hidden layer takes a mask of its units, 0 or 1/(1 - p).
    """

    def __init__(
        self, shape: tuple[int, ...], features: int, noise: int, width: int, depth: int
    ) -> None:
        super().__init__()
        self.shape, self.noise = shape, noise
        sizes = [features + noise, *[width] * depth]
        self.hidden = nn.ModuleList(
            [nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False)]
        )
        self.out = nn.Linear(width, math.prod(shape))
        self.direct = nn.Linear(features, math.prod(shape), bias=False)

    @classmethod
    def build(cls, origin: Origin, settings: Mapping[str, Any]) -> Self:
        from sosie.detectors import find

        features = int(origin.transform.features.used.sum())
        shape = find(origin.detector).shape
        return cls(shape, features, settings["latent"], settings["width"], settings["depth"])

    def forward(self, features: Tensor, noise: Tensor, mask: Tensor | None = None) -> Tensor:
        h = torch.cat([features, noise], dim=1)
        for index, layer in enumerate(self.hidden):
            h = functional.leaky_relu(layer(h), SLOPE)
            if mask is not None:
                h = h * mask[index]
        return (self.out(h) + self.direct(features)).reshape(-1, *self.shape)


class Critic(nn.Module):
    """Scores (N,) of scaled responses (N, *shape) given scaled features (N, F)."""

    def __init__(self, shape: tuple[int, ...], features: int, width: int, depth: int) -> None:
        super().__init__()
        sizes = [math.prod(shape) + features, *[width] * depth]
        self.hidden = nn.ModuleList(
            [nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False)]
        )
        self.out = nn.Linear(width, 1)

    @classmethod
    def build(cls, origin: Origin, settings: Mapping[str, Any]) -> Self:
        from sosie.detectors import find

        features = int(origin.transform.features.used.sum())
        return cls(find(origin.detector).shape, features, settings["width"], settings["depth"])

    def forward(self, image: Tensor, features: Tensor) -> Tensor:
        h = torch.cat([image.flatten(1), features], dim=1)
        for layer in self.hidden:
            h = functional.leaky_relu(layer(h), SLOPE)
        return self.out(h)[:, 0]


def draw_masks(count: int, depth: int, width: int, dropout: float, rng: torch.Generator) -> Tensor:
    """Fixed masks (count, depth, width): each unit is 0 with probability dropout, else 1/(1 - p)."""
    kept = torch.rand(count, depth, width, generator=rng) >= dropout
    return kept.float() / (1 - dropout)


def fold(generator: Generator, mask: Tensor) -> Generator:
    """The generator whose weights hold the mask (depth, width): equal to it under the mask."""
    folded = deepcopy(generator)
    with torch.no_grad():
        for layer, row in zip(folded.hidden, mask, strict=True):
            layer.weight.mul_(row[:, None])
            layer.bias.mul_(row)
    return folded


def gradient_penalty(
    critic: Critic, real: Tensor, fake: Tensor, features: Tensor, mixing: Tensor
) -> Tensor:
    """Mean of (|gradient of the critic| - 1)^2 on lines between real and fake (N, *shape).

    mixing (N,) in [0, 1]. Gulrajani et al., arXiv:1704.00028, equation 3.
    """
    share = mixing.reshape(-1, *[1] * (real.ndim - 1))
    between = (share * real + (1 - share) * fake).requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(between, features).sum(), between, create_graph=True)
    return ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()
