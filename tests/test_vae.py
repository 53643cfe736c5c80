"""vae: divergences and laws of cells, on cases with known answers, and what it refuses."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sosie.surrogates.gaussians import drawn, kl, log_likelihood
from sosie.surrogates.network import draw_masks, fold
from sosie.surrogates.vae_networks import Generator

LOW = -0.5


def rng(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_divergence_of_two_normal_laws() -> None:
    """ln(2 / 0.5) + (0.5^2 + 1.5^2) / (2 * 2^2) - 1/2 for N(1, 0.5) from N(-0.5, 2)."""
    first = torch.tensor([[1.0]]), torch.tensor([[0.5]]).log()
    second = torch.tensor([[-0.5]]), torch.tensor([[2.0]]).log()
    wanted = math.log(4) + (0.25 + 2.25) / 8 - 0.5
    assert float(kl(*first, *second)) == pytest.approx(wanted, abs=1e-6)
    assert float(kl(*first, *first)) == 0
    both = [torch.cat(pair, dim=1) for pair in zip(first, second, strict=True)]
    other = [torch.cat(pair, dim=1) for pair in zip(second, first, strict=True)]
    back = float(kl(*second, *first))
    assert float(kl(*both, *other)) == pytest.approx(wanted + back, rel=1e-6)


def test_the_divergence_is_the_mean_of_the_difference_of_logarithms() -> None:
    mean, other = torch.tensor([[0.3, -1.0]]), torch.tensor([[0.0, 0.5]])
    width, other_width = torch.tensor([[0.7, 1.5]]), torch.tensor([[1.2, 1.0]])
    drawn_ = mean + width * torch.randn(200_000, 2, generator=rng())
    one, two = (
        torch.distributions.Normal(mean, width),
        torch.distributions.Normal(other, other_width),
    )
    mean_difference = float((one.log_prob(drawn_) - two.log_prob(drawn_)).sum(dim=1).mean())
    found = float(kl(mean, width.log(), other, other_width.log()))
    assert found == pytest.approx(mean_difference, rel=0.02)


def law(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Odds, means and widths of three cells: often empty, far above and mostly below the threshold."""
    odds, mean, width = torch.tensor([[-1.0, 2.0, 0.5], [0.0, 3.0, -1.0], [1.0, 0.5, 0.7]])
    return odds.expand(count, -1), mean.expand(count, -1), width.expand(count, -1)


def test_the_likelihood_of_a_cell_is_normalised() -> None:
    grid = torch.linspace(LOW, 9, 4001)[:, None].expand(-1, 3)
    full, threshold = torch.ones_like(grid, dtype=torch.bool), torch.tensor(LOW)
    density = log_likelihood(grid, full, threshold, *law(4001)).exp()
    empty = log_likelihood(grid, ~full, threshold, *law(4001)).exp()[0]
    inside = torch.trapezoid(density, grid, dim=0)
    assert torch.allclose(inside, torch.sigmoid(law(1)[0][0]), atol=1e-3)
    assert torch.allclose(inside + empty, torch.ones(3), atol=1e-3)


def test_cells_are_drawn_by_that_law() -> None:
    count, threshold = 100_000, torch.tensor(LOW)
    values = drawn(torch.randn(count, 3, generator=rng()), threshold, *law(count))
    odds, mean, width = (part[0] for part in law(1))
    for cell in range(3):
        there = values[:, cell].isfinite()
        assert float(there.float().mean()) == pytest.approx(
            float(torch.sigmoid(odds[cell])), abs=0.01
        )
        assert values[there, cell].min() >= LOW
        # A normal law cut below: Johnson, Kotz and Balakrishnan, section 10.1.
        start = float((LOW - mean[cell]) / width[cell])
        ratio = (
            math.exp(-(start**2) / 2) / math.sqrt(2 * math.pi) / (0.5 * math.erfc(start / 2**0.5))
        )
        wanted = float(mean[cell]) + float(width[cell]) * ratio
        assert float(values[there, cell].mean()) == pytest.approx(wanted, abs=0.02)


def test_numbers_that_may_be_negative_are_never_empty() -> None:
    values = drawn(
        torch.randn(5000, 1, generator=rng()),
        torch.tensor(-1e6),
        torch.tensor(30.0),
        torch.tensor(-2.0),
        torch.tensor(0.5),
    )
    assert values.isfinite().all()
    assert float(values.mean()) == pytest.approx(-2, abs=0.03)
    assert float(values.std()) == pytest.approx(0.5, abs=0.02)


def generator_of(censored: bool) -> Generator:
    torch.manual_seed(5)
    generator = Generator(2, torch.full((6,), LOW), censored, latent=3, width=16, depth=2)
    for parameter in generator.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return generator.eval()


@pytest.mark.parametrize("censored", [True, False])
def test_a_member_is_the_network_under_its_mask(censored: bool) -> None:
    generator, masks = generator_of(censored), draw_masks(2, 2, 16, 0.5, rng())
    features, noise = (
        torch.randn(8, 2, generator=rng(1)),
        torch.randn(8, 9 + censored, generator=rng(2)),
    )
    assert noise.shape[1] == generator.noise
    with torch.no_grad():
        (under, total), (other, _) = (generator(features, noise, mask) for mask in masks)
        own, own_total = fold(generator, masks[0])(features, noise)
    assert torch.allclose(under.nan_to_num(neginf=-9), own.nan_to_num(neginf=-9), atol=1e-4)
    assert not torch.allclose(under.nan_to_num(neginf=-9), other.nan_to_num(neginf=-9), atol=1e-2)
    assert (total is None) == (own_total is None) == (not censored)
    assert bool(own.isinf().any()) == censored


def test_a_decoder_may_leave_all_cells_empty() -> None:
    generator = generator_of(True)
    with torch.no_grad():
        generator.decoder.leave.bias[-6:] = -40
        generator.decoder.leave.weight[-6:] = 0
    features, noise = torch.randn(50, 2, generator=rng(1)), torch.randn(50, 10, generator=rng(2))
    with torch.no_grad():
        values, total = generator(features, noise)
    assert np.isneginf(values.numpy()).all()
    assert total is not None
    assert total.isfinite().all()
