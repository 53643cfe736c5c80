"""vae: divergences, likelihoods of cells that may be empty, and codes, on cases with known answers."""

import math

import pytest
import torch

from sosie.surrogates.autoencoder import Autoencoder, Normal, kl, log_likelihood
from sosie.surrogates.network import draw_masks


def rng(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def joined(one: Normal, other: Normal) -> Normal:
    return torch.cat([one[0], other[0]], dim=1), torch.cat([one[1], other[1]], dim=1)


def test_the_divergence_of_two_normal_laws() -> None:
    """ln(2 / 0.5) + (0.5^2 + 1.5^2) / (2 * 2^2) - 1/2 for N(1, 0.5) from N(-0.5, 2)."""
    first = torch.tensor([[1.0]]), torch.tensor([[0.5]]).log()
    second = torch.tensor([[-0.5]]), torch.tensor([[2.0]]).log()
    wanted = math.log(4) + (0.25 + 2.25) / 8 - 0.5
    assert float(kl(first, second)) == pytest.approx(wanted, abs=1e-6)
    assert float(kl(first, first)) == 0
    both = joined(first, second)
    other = joined(second, first)
    back = float(kl(second, first))
    assert float(kl(both, other)) == pytest.approx(wanted + back, rel=1e-6)


def test_the_divergence_is_the_mean_of_the_difference_of_logarithms() -> None:
    mean, other = torch.tensor([[0.3, -1.0]]), torch.tensor([[0.0, 0.5]])
    width, other_width = torch.tensor([[0.7, 1.5]]), torch.tensor([[1.2, 1.0]])
    drawn_ = mean + width * torch.randn(200_000, 2, generator=rng())
    one, two = (
        torch.distributions.Normal(mean, width),
        torch.distributions.Normal(other, other_width),
    )
    mean_difference = float((one.log_prob(drawn_) - two.log_prob(drawn_)).sum(dim=1).mean())
    found = float(kl((mean, width.log()), (other, other_width.log())))
    assert found == pytest.approx(mean_difference, rel=0.02)


def test_a_filled_cell_has_a_density_and_an_empty_one_a_probability() -> None:
    law = torch.tensor([[0.5, 0.5]]), torch.tensor([[2.0, 2.0]]).log()
    found = log_likelihood(torch.tensor([[1.5, 1.5]]), torch.tensor([[False, True]]), law)[0]
    density = math.exp(-0.125) / (2 * math.sqrt(2 * math.pi))
    below = 0.5 * math.erfc(-0.5 / math.sqrt(2))
    assert found.exp().tolist() == pytest.approx([density, below], rel=1e-5)
    # What is not there lies below a level of 20, which says nothing.
    none = log_likelihood(
        torch.tensor([[20.0]]), torch.tensor([[True]]), (law[0][:, :1], law[1][:, :1])
    )
    assert float(none) == pytest.approx(0, abs=1e-6)


def autoencoder_of(spread: float | None = None, latent: int = 3) -> Autoencoder:
    torch.manual_seed(5)
    made = Autoencoder(4, 2, 16, 2, latent=latent, encoder_width=16)
    if spread is not None:
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=spread)
    return made


def test_before_the_training_noise_stays_as_it_is_and_the_bound_is_the_entropy() -> None:
    made, inputs = autoencoder_of(), torch.randn(5000, 2, generator=rng())
    noise = torch.randn(5000, 7, generator=rng(2))
    with torch.no_grad():
        drawn = made.draw(noise, inputs)
        target = torch.cat([drawn, torch.zeros(5000, 4)], dim=1)
        loss = made.loss(target, inputs, None, inputs[:, 0], rng(3))
    assert torch.equal(drawn, noise[:, :4])
    assert float(loss.mean()) == pytest.approx(0.5 * (1 + math.log(2 * math.pi)), abs=0.03)


def test_the_code_of_an_event_does_not_depend_on_the_levels_of_its_empty_cells() -> None:
    made, inputs = autoencoder_of(0.3), torch.randn(10, 2, generator=rng())
    level, other = torch.randn(2, 10, 4, generator=rng(2))
    empty = (torch.rand(10, 4, generator=rng(3)) < 0.5).float()
    changed = torch.where(empty > 0, other, level)
    codes = [made.encode(torch.cat([x, empty], dim=1), inputs)[0] for x in (level, changed)]
    assert torch.equal(*codes)
    assert not torch.equal(level, changed)


def test_correlations_of_cells_that_are_often_empty_are_learnt() -> None:
    """One hidden number moves four cells alike, each known above its middle only: correlation 0.64."""
    count = 6000
    common, own = torch.randn(count, 1, generator=rng(1)), torch.randn(count, 4, generator=rng(2))
    normal = 0.8 * common + 0.6 * own
    empty = (normal < 0).float()
    target = torch.cat([normal.clamp_min(0), empty], dim=1)
    inputs = torch.randn(count, 2, generator=rng(3))
    made = autoencoder_of(latent=2)
    optimiser = torch.optim.Adam(made.parameters(), 3e-3)
    for step in range(500):
        optimiser.param_groups[0]["lr"] = 3e-3 * (1 - step / 500)
        made.share, draws = min(1.0, step / 150), rng(10 + step)
        rows = torch.randint(count, (256,), generator=draws)
        optimiser.zero_grad()
        made.loss(target[rows], inputs[rows], None, inputs[rows, 0], draws).mean().backward()
        optimiser.step()
    with torch.no_grad():
        drawn = made.draw(torch.randn(20_000, 6, generator=rng(4)), torch.randn(20_000, 2))
    correlation = torch.corrcoef(drawn.T)[torch.triu(torch.ones(4, 4), 1) > 0]
    assert correlation.tolist() == pytest.approx([0.64] * 6, abs=0.1)
    assert drawn.mean(dim=0).tolist() == pytest.approx([0] * 4, abs=0.1)
    assert drawn.std(dim=0).tolist() == pytest.approx([1] * 4, abs=0.12)


def test_a_member_is_the_network_under_its_mask() -> None:
    made, masks = autoencoder_of(0.3), draw_masks(2, 2, 16, 0.5, rng())
    inputs, noise = torch.randn(8, 2, generator=rng(1)), torch.randn(8, 7, generator=rng(2))
    with torch.no_grad():
        under, other = (made.draw(noise, inputs, mask) for mask in masks)
        made.fold_in(masks[0])
        own = made.draw(noise, inputs)
    assert torch.allclose(own, under, atol=1e-4)
    assert not torch.allclose(own, other, atol=1e-2)
