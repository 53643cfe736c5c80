"""diffusion: denoisers, scores and the way from noise to data, on cases with known answers."""

import math

import pytest
import torch
from torch import Tensor

from sosie.surrogates.denoiser import Denoiser, churned
from sosie.surrogates.network import draw_masks

MEAN, WIDTH = 0.5, 0.4


def rng(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Known(Denoiser):
    """What knows v of a normal law: y has mean cos(a) m and variance cos(a)^2 w^2 + sin(a)^2."""

    def slope(
        self, point: Tensor, angle: Tensor, inputs: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        pull = (point - cos * MEAN) / (cos**2 * WIDTH**2 + sin**2)
        return pull * cos * sin * (1 - WIDTH**2) - sin * MEAN


def known(steps: int = 8, churn: float = 0.0) -> Known:
    return Known(1, 1, 8, 1, steps=steps, churn=churn)


def test_the_score_is_the_gradient_of_the_density() -> None:
    point = torch.randn(100, 1, generator=rng()).double().requires_grad_(True)
    angle = 1.4 * torch.rand(100, generator=rng(2)).double() + 0.1
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    density = -((point - cos * MEAN) ** 2) / (2 * (cos**2 * WIDTH**2 + sin**2))
    (slope,) = torch.autograd.grad(density.sum(), point)
    found = known().score(point, angle, torch.zeros(100, 1))
    assert torch.allclose(found, slope)
    # Without noise the data are what is seen, with nothing but noise they have their mean.
    for at, wanted in ((1e-6, point.detach()), (math.pi / 2, torch.full_like(point, MEAN))):
        angles = torch.full((100,), at).double()
        found = known().denoised(point.detach(), angles, torch.zeros(100, 1))
        assert torch.allclose(found, wanted, atol=1e-5)


def test_the_error_of_the_way_falls_with_the_steps_at_second_order() -> None:
    """The flow of probability takes normal noise to a normal law along a line."""
    noise = torch.linspace(-2, 2, 9).double()[:, None]
    errors = [
        float((known(n).draw(noise, noise) - (MEAN + WIDTH * noise)).abs().max())
        for n in (8, 16, 32)
    ]
    assert errors[0] < 0.05
    assert errors[1] < errors[0] / 3
    assert errors[2] < errors[0] / 12


@pytest.mark.parametrize("churn", [0.3, 0.9])
def test_fresh_noise_keeps_the_law_and_forgets_where_it_began(churn: float) -> None:
    denoiser, count = known(16, churn), 20_000
    assert denoiser.more == 15
    noise = torch.randn(count, 16, generator=rng())
    drawn = denoiser.draw(noise, noise[:, :1])
    assert float(drawn.mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(drawn.std()) == pytest.approx(WIDTH, abs=0.02)
    together = float(torch.corrcoef(torch.stack([drawn[:, 0], noise[:, 0]]))[0, 1])
    assert together < 0.99


def test_churned_normal_variables_are_what_the_angle_says() -> None:
    """Data x = 2 at 0.3 rad: y = 2 cos(a) + sin(a) n, and at 0.8 rad the same law again."""
    first, second = torch.randn(2, 50_000, 1, generator=rng())
    raised = churned(2 * math.cos(0.3) + math.sin(0.3) * first, second, 0.3, 0.8)
    assert float(raised.mean()) == pytest.approx(2 * math.cos(0.8), abs=0.02)
    assert float(raised.std()) == pytest.approx(math.sin(0.8), abs=0.02)


def test_before_the_training_it_is_right_for_normal_variables() -> None:
    denoiser, inputs = Denoiser(3, 1, 8, 1, steps=3, churn=0.0), torch.zeros(4000, 1)
    noise, angle = torch.randn(4000, 3, generator=rng()), torch.full((4000,), 0.7)
    assert torch.equal(denoiser.draw(noise, inputs), noise)
    assert torch.allclose(denoiser.score(noise, angle, inputs), -noise, atol=1e-5)
    with torch.no_grad():
        found = denoiser.loss(noise, inputs, None, torch.rand(4000, generator=rng(2)), rng(3))
    assert float(found.mean()) == pytest.approx(1, abs=0.05)


def test_the_loss_is_least_for_what_knows_the_law() -> None:
    target, inputs = MEAN + WIDTH * torch.randn(50_000, 1, generator=rng()), torch.zeros(50_000, 1)
    time = torch.rand(50_000, generator=rng(2))

    class Scaled(Known):
        factor = 1.0

        def slope(
            self, point: Tensor, angle: Tensor, inputs: Tensor, mask: Tensor | None = None
        ) -> Tensor:
            return self.factor * super().slope(point, angle, inputs, mask)

    losses = []
    for factor in (0.9, 1.0, 1.1):
        denoiser = Scaled(1, 1, 8, 1, steps=2, churn=0.0)
        denoiser.factor = factor
        losses.append(float(denoiser.loss(target, inputs, None, time, rng(3)).mean()))
    assert losses[1] < min(losses[0], losses[2])


def test_the_score_of_a_normal_law_is_learnt() -> None:
    """The mean follows an input."""
    inputs = torch.randint(2, (4000, 1), generator=rng()).float()
    target = MEAN * inputs + WIDTH * torch.randn(4000, 1, generator=rng(2))
    torch.manual_seed(1)
    denoiser = Denoiser(1, 1, 32, 1, steps=12, churn=0.0)
    optimiser = torch.optim.Adam(denoiser.parameters(), 3e-3)
    for step in range(500):
        optimiser.param_groups[0]["lr"] = 3e-3 * (1 - step / 500)
        draws = rng(100 + step)
        rows = torch.randint(4000, (256,), generator=draws)
        time = torch.rand(256, generator=draws)
        optimiser.zero_grad()
        denoiser.loss(target[rows], inputs[rows], None, time, draws).mean().backward()
        optimiser.step()
    with torch.no_grad():
        for at in (0.0, 1.0):
            for angle in (0.3, 0.8, 1.2):
                mean = MEAN * at * math.cos(angle)
                variance = (WIDTH * math.cos(angle)) ** 2 + math.sin(angle) ** 2
                point = mean + variance**0.5 * torch.linspace(-1.5, 1.5, 7)[:, None]
                found = denoiser.score(point, torch.full((7,), angle), torch.full((7, 1), at))
                wanted = -(point - mean) / variance
                assert torch.allclose(found, wanted, atol=0.2 / variance**0.5), (at, angle)
        drawn = denoiser.draw(torch.randn(3000, 1, generator=rng(5)), torch.ones(3000, 1))
    assert float(drawn.mean()) == pytest.approx(MEAN, abs=0.05)
    assert float(drawn.std()) == pytest.approx(WIDTH, abs=0.05)


def test_a_member_is_the_network_under_its_mask() -> None:
    torch.manual_seed(3)
    denoiser, masks = Denoiser(3, 2, 16, 2, steps=4, churn=0.0), draw_masks(2, 2, 16, 0.5, rng())
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    noise, inputs = torch.randn(2, 20, 3, generator=rng(2))
    inputs = inputs[:, :2]
    with torch.no_grad():
        under, other = (denoiser.draw(noise, inputs, mask) for mask in masks)
        denoiser.fold_in(masks[0])
        own = denoiser.draw(noise, inputs)
    assert torch.allclose(own, under, atol=1e-4)
    assert not torch.allclose(own, other, atol=1e-2)
