"""flow: splines and couplings, on cases with known answers."""

import math

import pytest
import torch
from torch import Tensor

from sosie.surrogates.network import draw_masks
from sosie.surrogates.splines import BOUND, Splines

SIZES = {"bins": 5, "couplings": 4}


def rng(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def splines_of(size: int, spread: float = 0.3) -> Splines:
    """Couplings of random weights."""
    torch.manual_seed(3)
    splines = Splines(size, 2, 16, 2, **SIZES)
    for parameter in splines.parameters():
        torch.nn.init.normal_(parameter, std=spread)
    return splines


def no_noise(splines: Splines, target: Tensor, inputs: Tensor) -> Tensor:
    time = torch.zeros(len(target))
    return splines.loss(target, inputs, None, time, rng())


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_inverse_gives_back_what_was_moved(size: int) -> None:
    splines, inputs = splines_of(size), torch.randn(500, 2, generator=rng())
    target = 2 * torch.randn(500, size, generator=rng(2))
    with torch.no_grad():
        noise, _ = splines.to_noise(target, inputs)
        back = splines.draw(noise, inputs)
    assert (noise - target).abs().max() > 0.5
    assert torch.allclose(back, target, atol=2e-3)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_determinant_is_that_of_the_jacobian(size: int) -> None:
    splines, inputs = splines_of(size).double(), torch.randn(20, 2, generator=rng()).double()
    target = torch.randn(20, size, generator=rng(2)).double()
    _, logarithm = splines.to_noise(target, inputs)
    for point, given, found in zip(target, inputs, logarithm.detach(), strict=True):
        jacobian = torch.autograd.functional.jacobian(
            lambda x, c=given: splines.to_noise(x[None], c[None])[0][0], point
        )
        assert float(found) == pytest.approx(float(torch.linalg.slogdet(jacobian)[1]), abs=1e-6)


def test_before_the_training_noise_stays_as_it_is() -> None:
    splines, inputs = Splines(5, 2, 16, 2, **SIZES), torch.randn(100, 2, generator=rng())
    noise = torch.randn(100, 5, generator=rng(2))
    assert torch.allclose(splines.draw(noise, inputs), noise, atol=1e-5)
    wanted = noise.square().mean(dim=1) / 2
    assert torch.allclose(no_noise(splines, noise, inputs), wanted, atol=1e-5)


def test_beyond_the_bound_a_number_stays_as_it_is() -> None:
    splines, inputs = splines_of(1), torch.randn(4, 2, generator=rng())
    far = torch.tensor([[-9.0], [-BOUND - 0.01], [BOUND + 0.01], [30.0]])
    noise, logarithm = splines.to_noise(far, inputs)
    assert torch.equal(noise, far)
    assert not logarithm.any()


def test_the_density_integrates_to_one() -> None:
    splines = splines_of(2, 0.6)
    axis = torch.linspace(-8, 8, 401)
    grid = torch.cartesian_prod(axis, axis)
    inputs = torch.tensor([[0.5, -1.0]]).expand(len(grid), -1)
    with torch.no_grad():
        density = torch.exp(-2 * no_noise(splines, grid, inputs)) / (2 * math.pi)
    assert float(density.sum()) * 0.04**2 == pytest.approx(1, abs=0.01)


def test_a_law_is_learnt_up_to_its_entropy() -> None:
    """x normal, y of mean 1.5 c cos 2x and width 1/2: the best loss is known, and none is far from it."""
    inputs = 2 * torch.rand(4000, 1, generator=rng(1)) - 1
    first, second = torch.randn(2, 4000, generator=rng(2))
    mean = 1.5 * inputs[:, 0] * (2 * first).cos()
    target = torch.stack([first, mean + second / 2], dim=1)
    torch.manual_seed(1)
    splines = Splines(2, 1, 32, 1, **SIZES)
    optimiser = torch.optim.Adam(splines.parameters(), 5e-3)
    with torch.no_grad():
        start = float(no_noise(splines, target, inputs).mean())
    for step in range(300):
        optimiser.param_groups[0]["lr"] = 5e-3 * (1 - step / 300)
        rows = torch.randint(3000, (256,), generator=rng(step))
        optimiser.zero_grad()
        no_noise(splines, target[rows], inputs[rows]).mean().backward()
        optimiser.step()
    held = slice(3000, None)
    with torch.no_grad():
        found = float(no_noise(splines, target[held], inputs[held]).mean())
        drawn = splines.draw(torch.randn(1000, 2, generator=rng(5)), torch.ones(1000, 1))
    best = (1 + math.log(0.5)) / 2
    assert start > best + 0.2
    assert best - 0.06 < found < best + 0.06
    away = drawn[:, 1] - 1.5 * (2 * drawn[:, 0]).cos()
    assert float(away.mean()) == pytest.approx(0, abs=0.1)
    assert float(away.std()) == pytest.approx(0.5, abs=0.12)


def test_a_member_is_the_network_under_its_mask() -> None:
    splines, masks = splines_of(5), draw_masks(2, 2, 16, 0.5, rng())
    inputs, noise = torch.randn(50, 2, generator=rng(2)), torch.randn(50, 5, generator=rng(3))
    with torch.no_grad():
        under, other = (splines.draw(noise, inputs, mask) for mask in masks)
        splines.fold_in(masks[0])
        own = splines.draw(noise, inputs)
    assert torch.allclose(own, under, atol=1e-3)
    assert not torch.allclose(own, other, atol=1e-1)


def test_each_event_may_have_a_mask_of_its_own() -> None:
    splines, masks = splines_of(5), draw_masks(4, 2, 16, 0.5, rng())
    inputs, noise = torch.randn(4, 2, generator=rng(2)), torch.randn(4, 5, generator=rng(3))
    with torch.no_grad():
        together = splines.draw(noise, inputs, masks.transpose(0, 1))
        alone = [splines.draw(noise[k, None], inputs[k, None], masks[k]) for k in range(4)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-3)
