"""gan: losses and normalised critics, on cases with known answers."""

import math

import pytest
import torch
from torch import nn

from sosie.surrogates.gan_training import critic_losses, normalise
from sosie.surrogates.wgan_networks import Critic


def rng(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_critic_that_cannot_tell_loses_two_logarithms_of_two() -> None:
    none = torch.zeros(3)
    assert critic_losses(none, none).tolist() == pytest.approx([2 * math.log(2)] * 3)
    odds = torch.tensor([math.log(4.0)])
    assert float(critic_losses(odds, -odds)) == pytest.approx(2 * math.log(1.25))


def test_the_best_score_is_the_logarithm_of_the_ratio_of_densities() -> None:
    """Real events in one of two bins with 80 %, drawn ones with 40 %."""
    score = torch.zeros(2, requires_grad=True)
    optimiser = torch.optim.Adam([score], 0.05)
    real, fake = torch.tensor([0.8, 0.2]), torch.tensor([0.4, 0.6])
    for _ in range(300):
        optimiser.zero_grad()
        losses = real * nn.functional.softplus(-score) + fake * nn.functional.softplus(score)
        losses.sum().backward()
        optimiser.step()
    assert score.tolist() == pytest.approx([math.log(2), math.log(1 / 3)], abs=0.01)


def test_no_layer_of_a_critic_is_steeper_than_one() -> None:
    torch.manual_seed(1)
    critic = Critic(10, 2, 16)
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.mul_(30)
    normalise(critic)
    points, features = torch.randn(100, 10, generator=rng()), torch.randn(100, 2, generator=rng(2))
    for _ in range(50):
        critic(points, features)
    layers = [layer for layer in critic.modules() if isinstance(layer, nn.Linear)]
    assert len(layers) == 3
    for layer in layers:
        assert float(torch.linalg.matrix_norm(layer.weight.detach(), 2)) == pytest.approx(
            1, abs=0.02
        )
    points.requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(points, features).sum(), points)
    assert slope.norm(dim=1).max() < 1.05
